"""wgangp-train: one run, or a sweep with -m. The module can be called: wgangp.train("dataset=mnist")."""

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from wgangp.app.ranks import joined, world_size
from wgangp.machine.signals import ignore_save_requests

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from wgangp.run import Run


def main() -> None:
    ignore_save_requests()  # before Hydra is imported, which takes half a second
    from wgangp.app.command_line import command, lazily
    from wgangp.app.errors import MULTIRUN

    if world_size() > 1 and MULTIRUN & set(sys.argv):
        sys.exit("torchrun trains one run: start a sweep without it, or choose a launcher")
    with joined():
        command(lazily("wgangp.app.hydra_run", "train_composed"), "train")


class CallableModule(ModuleType):
    """`python -m wgangp.train` needs a module of this name, and Python users a function: this is both."""

    def __call__(self, *config: "str | DictConfig", **options: Any) -> "Run":
        from wgangp import api

        return api.train(*config, **options)


sys.modules[__name__].__class__ = CallableModule

if __name__ == "__main__":
    main()
