"""Fills a recorded configuration with the keys that conf/ has got since, so that old runs go on, sample and score."""

from pathlib import Path
from typing import Any

from wgangp.app.compose import load_config
from wgangp.app.help import bases
from wgangp.app.paths import CONF
from wgangp.app.plain import plain
from wgangp.run_dir.record import read_yaml

GROUP_OF = {  # the parts of a configuration, and the groups that their options are in
    "dataset": "dataset",
    "generator": "generator",
    "critic": "critic",
    "penalty": "penalty",
    "loss": "loss",
    "generator_optimizer": "optimizer",
    "critic_optimizer": "optimizer",
}


def with_defaults(config: dict[str, Any]) -> dict[str, Any]:
    """Returns the recorded configuration with today's keys that it lacks; recorded values stay."""
    parts = {part: part_with_defaults(part, config[part]) for part in GROUP_OF if isinstance(config.get(part), dict)}
    today, train = plain(load_config()), read_yaml(CONF / "train.yaml")
    own = {
        key: value for key, value in train.items() if key in today and not (isinstance(value, dict) or _is_open(value))
    }
    return today | own | config | parts  # `own` before the schedule of the default dataset


def part_with_defaults(part: str, node: dict[str, Any]) -> dict[str, Any]:
    """Returns a recorded part with the keys that it lacks of the option of conf/ that it has most values of.

    Ours have no defaults in the code, so a key that is not recorded is new. torch's optimizers have: a key may be left
    out on purpose, and stays so.
    """
    if not str(node.get("_target_")).startswith("wgangp."):
        return node
    files = sorted((CONF / GROUP_OF[part]).glob("*.yaml"), key=lambda file: (len(bases(file)), file.name))
    options = [option_of(part, file) for file in files]
    alike = [option for option in options if option.get("_target_") == node["_target_"]]
    nearest = max(alike, key=lambda option: len([k for k in node if option.get(k) == node[k]]), default={})
    return {k: v for k, v in nearest.items() if k != "defaults" and not _is_open(v)} | node


def option_of(part: str, file: Path) -> dict[str, Any]:
    """Returns what a file of conf/ sets of a part, with what it takes from others."""
    option: dict[str, Any] = {}
    for source in (*reversed(bases(file)), file):
        content = read_yaml(source)
        option |= content.get(part, content)
    return option


def _is_open(value: Any) -> bool:
    """Whether a value is to be given, or refers to others: what is recorded has it."""
    return isinstance(value, str) and ("${" in value or value == "???")
