"""wgangp-resume run=DIR [key=value]: goes on from the newest checkpoint of DIR, as it was started."""

import sys
from pathlib import Path

from wgangp.app.trust import overrides_in, recorded_overrides
from wgangp.train import main as train

USAGE = """wgangp-resume run=DIR [key=value ...]

Goes on from the newest checkpoint of the run directory DIR, with the overrides it was started with and those given
here, which win. Example: wgangp-resume run=outputs/mnist/2026-01-31_12-00-00 steps=200000"""


def main() -> None:
    """Starts wgangp-train again in DIR: it finds the checkpoint there."""
    given = sys.argv[1:]
    run = next((Path(a.removeprefix("run=")) for a in given if a.startswith("run=")), None)
    if {"--help", "-h"} & set(given):
        print(USAGE)
        return
    if run is None:
        sys.exit(f"say which run: run=DIR\n\n{USAGE}")
    overrides = run / ".hydra" / "overrides.yaml"
    if not overrides.is_file() or not any((run / "checkpoints").glob("step_*.pt")):
        sys.exit(f"run={run}: no run with a checkpoint is there (looked for .hydra/overrides.yaml and checkpoints/)")
    extra = [a for a in given if not a.startswith("run=")]
    try:
        before = recorded_overrides(overrides_in(overrides))
    except ValueError as error:
        sys.exit(str(error))
    sys.argv[1:] = [*before, *extra, f"hydra.run.dir={run.resolve()}", "hydra.mode=RUN"]  # also a job of sweep=NAME
    train()


if __name__ == "__main__":
    main()
