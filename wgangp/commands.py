"""The commands' entry points. They import nothing at first, so that a Ctrl-C during the imports is one line, too."""

import importlib
import io
import os
import sys
from functools import partial


def run(name: str) -> None:
    for stream in (sys.stdout, sys.stderr):  # a name that the terminal has no letters for is no reason to be silent
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if not os.environ.get("WGANGP_DATA"):  # an empty path would be the working directory
        os.environ.pop("WGANGP_DATA", None)
    try:
        importlib.import_module(f"wgangp.{name}").main()
    except KeyboardInterrupt:
        importlib.import_module("wgangp.machine.signals").interrupted()


train = partial(run, "train")
resume = partial(run, "resume")
sample = partial(run, "sample")
evaluate = partial(run, "evaluate")
summarize = partial(run, "summarize")
