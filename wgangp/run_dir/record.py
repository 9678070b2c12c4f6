"""What a run was started with, as plain data: .hydra/config.yaml, overrides.yaml and hydra.yaml.

The files may come from a stranger, so they are read as data: no interpolation is resolved, no alias expanded.
"""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from wgangp.run_dir.files import not_regular, replace_text

MOST_BYTES, DEEPEST = 2**18, 50  # of a YAML file; the program's own ones have some 5 kB and 5 levels
LONGEST = 10_000  # characters of a value: numbers to the base 60, 1:1:1..., take time by the square of their length


class _Loader(yaml.SafeLoader):
    """YAML 1.2's numbers: 1e-3 is a float, as OmegaConf reads it too."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d[\d_]*\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


@dataclass(frozen=True)
class Record:
    """The resolved configuration, the overrides of the command line, and the chosen option of each group."""

    config: dict[str, Any]
    overrides: list[str] = field(default_factory=list)
    choices: dict[str, str] = field(default_factory=dict)


def parse_yaml(text: str, where: str) -> Any:
    """Returns the plain content. Raises ValueError, naming `where`, if it is no YAML, too large, deep or aliased."""
    try:
        if len(text) > MOST_BYTES:
            raise ValueError(f"it has more than {MOST_BYTES:,} characters")
        depth = 0
        for event in yaml.parse(text, yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                raise ValueError("it has aliases, which wgangp never writes")
            if isinstance(event, yaml.ScalarEvent) and len(event.value) > LONGEST:
                raise ValueError(f"it has a value of more than {LONGEST:,} characters")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:
                raise ValueError(f"it is nested more than {DEEPEST} levels deep")
        return yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError, RecursionError, TypeError) as error:
        raise ValueError(f"{where} cannot be read: {str(error).splitlines()[0] if str(error) else error!r}") from error


def dump_yaml(content: Any) -> str:
    return str(yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=1000))


def read_yaml(file: Path) -> Any:
    """As `parse_yaml`, of a file. Raises FileNotFoundError if it does not exist."""
    try:
        if file.exists() and not file.is_file():
            raise not_regular(file)
        with open(file, "rb") as opened:
            text = opened.read(MOST_BYTES + 1).decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} cannot be read: it is no UTF-8 text") from error
    return parse_yaml(text, str(file))


def flatten(node: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns {"penalty.weight": 10.0, ...} of a nested configuration."""
    flat: dict[str, Any] = {}
    for key, value in node.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def has_record(run: Path) -> bool:
    return os.path.exists(run / ".hydra" / "overrides.yaml")  # False, and no error, in a folder of another user


def write_record(run: Path, record: Record) -> None:
    """Replaces the three files, each as a whole; the overrides come last, since they say that a record is there."""
    (run / ".hydra").mkdir(parents=True, exist_ok=True)
    replace_text(run / ".hydra" / "config.yaml", dump_yaml(record.config))
    replace_text(run / ".hydra" / "hydra.yaml", dump_yaml({"hydra": {"runtime": {"choices": record.choices}}}))
    replace_text(run / ".hydra" / "overrides.yaml", dump_yaml(record.overrides))


def read_record(run: Path) -> Record:
    """Returns the record. Raises FileNotFoundError if the run has none, ValueError if a file is damaged."""
    folder = run / ".hydra"
    overrides = read_yaml(folder / "overrides.yaml")
    if overrides is None:
        overrides = []
    if not (isinstance(overrides, list) and all(isinstance(override, str) for override in overrides)):
        raise ValueError(f"{folder / 'overrides.yaml'} is no list of overrides")
    config = read_yaml(folder / "config.yaml") if (folder / "config.yaml").exists() else {}
    if not isinstance(config, dict):
        raise ValueError(f"{folder / 'config.yaml'} is no configuration")
    return Record(config, overrides, _choices(folder / "hydra.yaml"))


def _choices(file: Path) -> dict[str, str]:
    """Returns the options of the groups outside hydra/; none if the file is absent or of another form."""
    try:
        found = read_yaml(file)["hydra"]["runtime"]["choices"]
        return {str(k): str(v) for k, v in found.items() if v is not None and not str(k).startswith("hydra")}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}
