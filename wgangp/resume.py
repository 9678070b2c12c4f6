"""wgangp-resume run=DIR [key=value]: continues from the newest checkpoint of DIR, as it was started."""

import sys
from collections.abc import Sequence

from wgangp.app.ranks import joined
from wgangp.machine.paths import local_path
from wgangp.machine.signals import ignore_save_requests
from wgangp.run_dir.claim import has_checkpoint, no_checkpoint
from wgangp.run_dir.log import console

USAGE = """wgangp-resume run=DIR [key=value ...]

Continues from the newest checkpoint of the run directory DIR, or from the checkpoint that run= names, with the
configuration that it was started with and the changes given here.
Example: wgangp-resume run=outputs/mnist/2026-01-31_12-00-00 steps=200000"""


def main() -> None:
    ignore_save_requests()  # before Hydra is imported, which takes half a second
    from wgangp.app.command_line import answered, one_line_errors

    arguments = sys.argv[1:]
    if answered(arguments, lambda: USAGE):
        return
    with one_line_errors(arguments), joined(), console():
        resume(arguments)


def resume(arguments: Sequence[str]) -> None:
    """Raises ValueError or OSError if the run cannot be resumed."""
    given = [a.removeprefix("run=") for a in arguments if a.startswith("run=")]
    if len(given) != 1 or not given[0]:
        raise ValueError("give one run: wgangp-resume run=DIR [key=value ...]")
    path = local_path(given[0])
    if not has_checkpoint(path):
        raise no_checkpoint(path)
    from wgangp.app.hydra_run import resume as resume_run  # torch takes seconds to import

    resume_run(path, [a for a in arguments if not a.startswith("run=")])


if __name__ == "__main__":
    main()
