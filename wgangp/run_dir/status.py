"""How a run stands: status.json, which is replaced as a whole at each change."""

from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import get_type_hints

from wgangp.run_dir.files import read_json, replace_json
from wgangp.run_dir.lock import is_locked

STATES = ("done", "pruned", "stopped", "running", "failed")


@dataclass(frozen=True)
class Status:
    """One state of `STATES`, with the step that the newest checkpoint holds and the step that ends the run.

    `reason` is one line and `error` the exception's class, both empty unless the run failed. `monitor` is the scalar
    that judges the run, `value` its last value (None: not measured), `seconds` the time of all its processes.
    """

    state: str
    step: int = 0
    steps: int = 0
    reason: str = ""
    error: str = ""
    monitor: str = ""
    higher_is_better: bool = False
    value: float | int | None = None
    seconds: float | int = 0.0


TYPES = get_type_hints(Status)


def write_status(run: Path, status: Status) -> None:
    """Replaces RUN/status.json."""
    replace_json(run / "status.json", asdict(status))


def read_status(run: Path) -> Status | None:
    """The run's status; None if it has no readable status.json, or one of other types: a file may be forged.

    A run that claims to be running, while no process holds its lock, has failed: its process died.
    """
    try:
        found = read_json(run / "status.json")
        status = Status(**{field.name: found[field.name] for field in fields(Status) if field.name in found})
    except (OSError, ValueError, TypeError):
        return None
    if status.state not in STATES or not all(isinstance(getattr(status, name), kind) for name, kind in TYPES.items()):
        return None
    if status.state == "running" and not is_locked(run):
        reason = f"its process died; the newest checkpoint is of step {status.step}"
        return replace(status, state="failed", reason=reason)
    return status
