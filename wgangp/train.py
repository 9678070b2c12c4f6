"""wgangp-train: one run, or a sweep with -m. The module can be called: wgangp.train("dataset=mnist")."""

import logging
import os
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from wgangp.app.compose import command, lazily

if TYPE_CHECKING:
    from wgangp.run import Run


def main() -> None:
    if int(os.environ.get("WORLD_SIZE") or 1) == 1:
        command(lazily("wgangp.app.hydra_run", "train_composed"), "train")
    else:
        train_on_all_ranks()


def train_on_all_ranks() -> None:
    """One run by the processes that torchrun started: the main rank writes, the others log errors only."""
    if {"-m", "--multirun"} & set(sys.argv):
        sys.exit("torchrun trains one run: start a sweep without it, or choose a launcher")
    from wgangp.machine import distributed

    distributed.join()
    if not distributed.is_main():
        logging.disable(logging.WARNING)
    try:
        command(lazily("wgangp.app.hydra_run", "train_composed"), "train")
    finally:
        distributed.leave()


class CallableModule(ModuleType):
    """`python -m wgangp.train` needs a module of this name, and Python users a function: this is both."""

    def __call__(self, *config: str | DictConfig, **options: Any) -> "Run":
        from wgangp.app import api

        return api.train(*config, **options)


sys.modules[__name__].__class__ = CallableModule

if __name__ == "__main__":
    main()
