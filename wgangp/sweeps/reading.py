"""Reads the files of a job as data. Whatever a file holds, one bad job never stops the table of all."""

import json
import math
from pathlib import Path

import yaml

YAML_BYTES = 200_000  # a recorded configuration has about 5,000


def read_yaml(file: Path) -> object:
    """The content as plain data; interpolations stay text. Raises ValueError if it cannot be read as such."""
    try:
        if not file.is_file() or file.stat().st_size > YAML_BYTES:
            raise ValueError(f"no file of at most {YAML_BYTES:,} bytes")
        content = file.read_bytes()
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(content)):
            raise ValueError("it has aliases")  # wgangp writes none, and ten lines of them can expand to gigabytes
        return yaml.safe_load(content)
    except (OSError, ValueError, TypeError, RecursionError, yaml.YAMLError) as error:
        raise ValueError(f"{file.name} cannot be read: {str(error).splitlines()[0][:200]}") from error


def read_overrides(run: Path) -> list[str]:
    """The overrides that the run was started with. Raises ValueError if the file is no list of them."""
    found = read_yaml(run / ".hydra" / "overrides.yaml")
    if not (isinstance(found, list) and all(isinstance(override, str) for override in found)):
        raise ValueError("overrides.yaml is no list of overrides")
    return found


def read_config(run: Path) -> dict[str, object]:
    """The recorded configuration; empty if the run has none. Raises ValueError if it is no mapping."""
    file = run / ".hydra" / "config.yaml"
    found = read_yaml(file) if file.exists() else {}
    if not isinstance(found, dict):
        raise ValueError("config.yaml is no configuration")
    return {str(key): value for key, value in found.items()}


def read_rows(file: Path) -> list[dict[str, float]]:
    """The scalars of metrics.jsonl, one mapping with "step" a line; lines that a crash cut are left out."""
    try:
        if not file.is_file():
            return []
        with open(file, "rb") as lines:
            return [row for line in lines if (row := _row(line))]
    except OSError:
        return []


def _row(line: bytes) -> dict[str, float] | None:
    try:
        found = json.loads(line)
        row = {str(name): float(value) for name, value in found.items() if isinstance(value, int | float)}
    except (ValueError, OverflowError, AttributeError, RecursionError):
        return None
    return row if math.isfinite(row.get("step", math.nan)) else None
