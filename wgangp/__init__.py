"""Wasserstein GANs with gradient penalty (Gulrajani et al. 2017): train, resume, sample, evaluate.

run = wgangp.train("dataset=mnist", "steps=1000")
images = run.samples(16)

help(wgangp.train), and so on, for: train, make_trainer and Trainer; Run and load_generator; load_config;
gradient_penalty.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wgangp.api import make_trainer
    from wgangp.api import train as train
    from wgangp.app.compose import load_config
    from wgangp.penalties import gradient_penalty
    from wgangp.run import Run, load_generator
    from wgangp.trainer import Trainer

__all__ = ["Run", "Trainer", "gradient_penalty", "load_config", "load_generator", "make_trainer", "train"]

HOMES = {
    "Run": "run",
    "Trainer": "trainer",
    "gradient_penalty": "penalties",
    "load_config": "app.compose",
    "load_generator": "run",
    "make_trainer": "api",
}


def __getattr__(name: str) -> Any:
    """Imports a public name on first use: the commands answer `--help` without torch."""
    if name == "__version__":
        from importlib.metadata import version

        return version("wgangp")
    if name == "train":  # the command's module, which can be called
        return importlib.import_module("wgangp.train")
    if name in HOMES:
        return getattr(importlib.import_module(f"wgangp.{HOMES[name]}"), name)
    raise AttributeError(f"module 'wgangp' has no attribute {name!r}")
