"""Where the configuration is, and where runs go."""

import re
import time
from collections.abc import Sequence
from pathlib import Path

VERSION_BASE = "1.3"  # of Hydra's behaviour
PACKAGE = Path(__file__).parents[1]
CONF = PACKAGE / "conf"  # in a wheel
if not CONF.is_dir():
    CONF = PACKAGE.parent / "conf"  # in a checkout
PLUGINS = PACKAGE / "sweeps" / "plugins"  # where Hydra finds hydra_plugins/wgangp_sweeper.py
NOW = "%Y-%m-%d_%H-%M-%S"


def config_folders(arguments: Sequence[str]) -> list[Path]:
    """Returns conf/, and the folder that --config-dir names, if one does."""
    own = re.search(r"(?:^|\0)(?:--config-dir|-cd)[=\0]([^\0]+)", "\0".join(arguments))
    return [CONF, Path(own[1])] if own else [CONF]


def default_directory(choices: dict[str, str]) -> Path:
    return Path("outputs") / choices.get("dataset", "run") / time.strftime(NOW)


def with_run_name(wanted: Path, name: str | None) -> Path:
    """Adds the run's name, if it has one. Raises ValueError if no file can have it."""
    if name is None:
        return wanted
    if not re.fullmatch(r"[\w.+=,@-]{1,100}", str(name)):
        raise ValueError(f"name={name}: give letters, digits and . + = , @ - _, since directories are named so")
    return wanted.with_name(f"{wanted.name}_{name}")
