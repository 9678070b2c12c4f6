"""What the paper reports of a preset, beside what a run of it measured."""

from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

from wgangp.run_dir.record import Record, read_record

# Keys that change no sample: what is logged and kept, and where the run computes and writes.
SILENT = (
    *("hydra", "experiment=", "name=", "monitor=", "evaluat", "log_every=", "sample_every=", "checkpoint_every="),
    *("keep_checkpoints=", "device=", "threads=", "profile", "debug=", "allow=", "dataset.root=", "dataset.download="),
)


def reported(config: dict[str, Any]) -> dict[str, str]:
    """Returns the scores that the paper reports of this configuration's preset, by name."""
    scores = config.get("paper_scores")
    return {str(name): str(value) for name, value in scores.items()} if isinstance(scores, dict) else {}


def beside_the_paper(run: Path, config: dict[str, Any], step: int, measured: Collection[str]) -> list[str]:
    """Returns lines that say which reported scores were not measured, and what differs from the preset."""
    record, found = Record(config), reported(config)
    with suppress(OSError, ValueError):  # of a checkpoint alone, or damaged
        record = read_record(run)
    missing = [f"{name} {value}" for name, value in found.items() if name not in measured]
    steps = record.config.get("steps", step)
    differs = [f"step {step} of {steps}"] if step != steps else []
    last = {override.split("=")[0]: override for override in record.overrides}  # a resumed run may have a key twice
    differs += [override for override in last.values() if not override.startswith(SILENT)]
    lines = [f"the paper reports {', '.join(missing)}: not measured here"] if missing else []
    if found and differs:
        lines.append(f"this run differs from its preset: {', '.join(differs)}")
    return lines
