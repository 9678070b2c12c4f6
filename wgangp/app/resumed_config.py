"""The configuration of a run that is resumed: the recorded one, as data, with the changes of the command line."""

from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from wgangp.app.checks import check
from wgangp.app.compose import load_config, refuse_overrides
from wgangp.app.defaults import with_defaults
from wgangp.app.errors import groups, near, options
from wgangp.app.plain import plain, to_record
from wgangp.app.quoting import with_quoted_path
from wgangp.run_dir.record import Record, flatten

FIXED = ("dataset", "experiment", "sweep")  # groups that set keys everywhere; another dataset is another run


def changed(record: Record, changes: Sequence[str]) -> tuple[DictConfig, Record]:
    """Returns the checked configuration of a recorded run with `changes`, and its new record.

    Nothing of the record is composed or resolved again. Keys that today's conf/ has beyond the recorded ones get their
    defaults. Raises ValueError if a change is wrong.
    """
    parsed = [parse(with_quoted_path(change)) for change in changes]
    of_groups = [override for override in parsed if override.key_or_group in groups()]
    chosen = {group_of(o): str(o.value()) for o in of_groups}
    for group, option in chosen.items():
        if group.partition("@")[0] in FIXED:
            raise ValueError(f"{group}={option}: a resumed run keeps its {group}; start another run")
    cfg = OmegaConf.create(with_defaults(record.config))
    choices = [
        f"{group}={option}"
        for group, option in record.choices.items()
        if is_option(group, option) and not any(group.startswith(f"{other}/") for other in chosen)  # a part of another
    ]
    today = load_config(*choices, *(o.input_line for o in of_groups if o.input_line)) if chosen else OmegaConf.create()
    for override in parsed:
        apply(cfg, override, today)
    if not any(o.key_or_group == "allow" for o in parsed):
        cfg.allow = []  # never from a file
    refuse_overrides(cfg, changes, dict.fromkeys(groups()), "train")
    check(cfg)
    return cfg, Record(to_record(cfg), [*record.overrides, *changes], record.choices | chosen)


def parse(change: str) -> Override:
    """Raises ValueError if it is no `key=value` with one value."""
    try:
        override = OverridesParser.create().parse_override(change)
    except Exception as error:
        raise ValueError(f"{change}: give key=value, with quotes around special characters") from error
    if override.is_sweep_override() or override.key_or_group.startswith("hydra"):
        raise ValueError(f"{change}: a resumed run takes keys of its configuration with one value each")
    return override


def group_of(override: Override) -> str:
    """Returns the group with its package, as in optimizer@critic_optimizer."""
    return override.key_or_group + (f"@{override.package}" if override.package else "")


def is_option(group: str, option: str) -> bool:
    """Whether conf/ has this option; names from a file are not used otherwise."""
    group = group.partition("@")[0]
    return group in groups() and group not in ("experiment", "sweep") and option in options(group)


def apply(cfg: DictConfig, override: Override, today: DictConfig) -> None:
    """Sets a key, or replaces the node of a group by today's option. Raises ValueError if there is no such key."""
    if override.key_or_group in groups():
        package = override.package or override.key_or_group.replace("/", ".")
        OmegaConf.update(cfg, package, OmegaConf.select(today, package), merge=False)
        return
    key = override.key_or_group
    known = list(flatten(plain(cfg)))
    if not override.is_add() and key not in known:
        raise ValueError(f"{key}: there is no such key.{near(key, known)}")
    try:
        OmegaConf.update(cfg, key, override.value(), merge=False, force_add=True)
    except OmegaConfBaseException as error:
        raise ValueError(f"{override.input_line}: {str(error).splitlines()[0]}") from error
