"""What the paper reports of a preset, beside what a run of it measured."""

import inspect
import re
from collections.abc import Collection
from typing import Any

from wgangp.app.compose import load_config
from wgangp.app.defaults import with_defaults
from wgangp.app.plain import plain
from wgangp.run_dir.record import flatten

PLACES = {"dataset.root", "dataset.download", "dataset.cache"}
MOST, LONGEST = 8, 60  # differences in a line, and letters of a value: a record may be anybody's


def reported(config: dict[str, Any]) -> dict[str, str]:
    """Returns the scores that the paper reports of a recorded configuration's preset, by name."""
    scores = paper["scores"] if isinstance(paper := config.get("paper"), dict) and "scores" in paper else None
    return {str(name): short(value) for name, value in scores.items()} if isinstance(scores, dict) else {}


def beside_the_paper(config: dict[str, Any], step: int, measured: Collection[str]) -> list[str]:
    """Returns lines that say which reported scores were not measured, and what differs from the preset."""
    if not (found := reported(config)):
        return []
    missing = [f"{name} {value}" for name, value in found.items() if name not in measured]
    lines = [f"the paper reports {', '.join(missing)}: not measured here"] if missing else []
    preset = str(config["paper"].get("preset"))
    if differs := differences(config, preset, step):
        more = f", and {len(differs) - MOST} more" if len(differs) > MOST else ""
        lines.append(f"this run differs from experiment={preset}: {', '.join(differs[:MOST])}{more}")
    return lines


def differences(config: dict[str, Any], preset: str, step: int) -> list[str]:
    """Returns `key=value (the preset's value)` of what differs; nothing if there is no such preset."""
    if not re.fullmatch(r"[\w/]+", preset):
        return []
    try:
        theirs = plain(load_config(f"experiment={preset}"))
    except ValueError:
        return []
    config = with_defaults(config)  # keys that conf/ has got since are no difference
    found = [f"step={step:,} ({theirs['steps']:,})"] if step != theirs["steps"] else []
    for part in compared():
        ours, preset_s = (flatten({part: c.get(part)}) for c in (config, theirs))
        if ours.get(target := f"{part}._target_") != preset_s.get(target):  # another option has other keys
            ours, preset_s = ({target: flat.get(target)} for flat in (ours, preset_s))
        keys = [key for key in preset_s if key not in PLACES and ours.get(key) != preset_s[key]]
        found += [f"{key}={short(ours.get(key))} ({short(preset_s[key])})" for key in keys]
    return found


def compared() -> list[str]:
    """Returns the keys that a sample depends on, beside the steps, the seed and the machine."""
    from wgangp.trainer import Trainer  # torch takes seconds to import

    return ["conditional", *(k for k in inspect.signature(Trainer).parameters if k not in ("device", "seed", "steps"))]


def short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
