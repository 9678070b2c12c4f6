"""Where the configuration is."""

from pathlib import Path

VERSION_BASE = "1.3"  # of Hydra's behaviour
PACKAGE = Path(__file__).parents[1]
CONF = PACKAGE / "conf"  # in a wheel
if not CONF.is_dir():
    CONF = PACKAGE.parent / "conf"  # in a checkout
PLUGINS = PACKAGE / "sweeps" / "plugins"  # where Hydra finds hydra_plugins/wgangp_sweeper.py
