"""evaluation.json of a run: its scores, and how each was measured."""

from pathlib import Path
from typing import Any

from wgangp.metrics import Result
from wgangp.run_dir.files import later_name, read_json, replace_json
from wgangp.run_dir.lock import in_turn


def write_scores(run: Path, step: int, measured_with: dict[str, Any], results: list[Result]) -> Path:
    """Writes each score and how it was measured; scores of the same step that were there stay. Returns the file.

    Those of another step are in evaluation_step_N.json from then on.
    Raises OSError if the file cannot be written.
    """
    file = run / "evaluation.json"
    with in_turn(run):  # training writes scores, too, and holds the run's own lock
        found = _sound(file)
        if found is not None and found["step"] != step:
            replace_json(kept(run, found["step"]), found)
            found = _sound(kept(run, step))
        content = found or {"step": step, "metrics": {}, "measured_with": {}}
        for result in results:
            for name, value in result.values.items():
                content["metrics"][f"eval/{name}"] = value
                content["measured_with"][f"eval/{name}"] = measured_with | result.how(name)
        replace_json(file, content)
    return file


def set_aside_later(run: Path, step: int) -> None:
    """Renames the scores of steps after this one, of a future that is given up, to .later."""
    for file in (run / "evaluation.json", *run.glob("evaluation_step_*.json")):
        if (found := _sound(file)) is not None and found["step"] > step:
            file.rename(later_name(file))


def kept(run: Path, step: int) -> Path:
    return run / f"evaluation_step_{step:08d}.json"


def _sound(file: Path) -> dict[str, Any] | None:
    """Returns the file's content; None if it is absent, cut off or foreign."""
    try:
        content = read_json(file)
    except (OSError, ValueError):
        return None
    sound = isinstance(content, dict) and all(isinstance(content.get(k), dict) for k in ("metrics", "measured_with"))
    return content if sound and type(content.get("step")) is int else None
