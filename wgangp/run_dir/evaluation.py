"""evaluation.json of a run: its scores, and how each was measured."""

from pathlib import Path
from typing import Any

from wgangp.metrics import Result
from wgangp.run_dir.files import read_json, replace_json
from wgangp.run_dir.lock import in_turn


def record(run: Path, step: int, measured_with: dict[str, Any], results: list[Result]) -> Path:
    """Writes each score and how it was measured; scores of the same step that were there stay. Returns the file.

    Raises OSError if the file cannot be written.
    """
    file = run / "evaluation.json"
    with in_turn(run):  # training writes scores, too, and holds the run's own lock
        content = _of_step(file, step) or {"step": step, "metrics": {}, "measured_with": {}}
        for result in results:
            for name, value in result.values.items():
                content["metrics"][f"eval/{name}"] = value
                content["measured_with"][f"eval/{name}"] = measured_with | result.how(name)
        replace_json(file, content)
    return file


def _of_step(file: Path, step: int) -> dict[str, Any] | None:
    """Returns the file's content if it is of this step; None if it is of another one, absent, cut off or foreign."""
    try:
        content = read_json(file)
    except (OSError, ValueError):
        return None
    sound = isinstance(content, dict) and all(isinstance(content.get(k), dict) for k in ("metrics", "measured_with"))
    return content if sound and content.get("step") == step else None
