"""wgangp-train: one run, or a sweep with -m. The module can be called: wgangp.train("dataset=mnist")."""

import logging
import os
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from wgangp.app.compose import command

if TYPE_CHECKING:
    from wgangp.metrics.objective import Trial
    from wgangp.run import Run

# torch takes seconds to import, and --help and configuration errors need none of it: hence the imports inside.


def main() -> None:
    if int(os.environ.get("WORLD_SIZE") or 1) == 1:
        command(train, "train")
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
        command(train, "train")
    finally:
        distributed.leave()


def train(cfg: DictConfig, trial: "Trial | None" = None) -> float:
    """Trains the run or the sweep's job that Hydra composed; returns the objective to Hydra's sweeper."""
    from wgangp.app.hydra_run import train_composed

    return train_composed(cfg, trial)


class CallableModule(ModuleType):
    """`python -m wgangp.train` needs a module of this name, and Python users a function: this is both."""

    def __call__(self, *config: str | DictConfig, **options: Any) -> "Run":
        from wgangp.app import api

        return api.train(*config, **options)


sys.modules[__name__].__class__ = CallableModule

if __name__ == "__main__":
    main()
