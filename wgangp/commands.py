"""The commands' entry points. They import nothing at first, so that a Ctrl-C during the imports is one line, too."""

import importlib


def train() -> None:
    run("train")


def resume() -> None:
    run("resume")


def sample() -> None:
    run("sample")


def evaluate() -> None:
    run("evaluate")


def summarize() -> None:
    run("summarize")


def run(name: str) -> None:
    try:
        importlib.import_module(f"wgangp.{name}").main()
    except KeyboardInterrupt:
        importlib.import_module("wgangp.machine.signals").interrupted()
