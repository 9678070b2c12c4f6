"""Fills a recorded configuration with the keys that conf/ has got since, so that old runs go on, sample and score."""

from typing import Any

from wgangp.app.compose import load_config
from wgangp.app.help import bases
from wgangp.app.paths import CONF
from wgangp.app.records import plain
from wgangp.run_dir.record import read_yaml

PARTS = {  # the parts of a configuration, and the groups that their options are in
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
    parts = {part: part_with_defaults(part, config[part]) for part in PARTS if isinstance(config.get(part), dict)}
    return plain(load_config()) | config | parts


def part_with_defaults(part: str, node: dict[str, Any]) -> dict[str, Any]:
    """Returns a recorded part with the keys that it lacks of an option of conf/ with the same `_target_`.

    Ours have no defaults in the code, so a key that is not recorded is new. torch's optimizers have: a key may be left
    out on purpose, and stays so.
    """
    if not str(node.get("_target_")).startswith("wgangp."):
        return node
    for file in sorted((CONF / PARTS[part]).glob("*.yaml")):
        option: dict[str, Any] = {}
        for source in (*reversed(bases(file)), file):
            content = read_yaml(source)
            option |= content.get(part, content)
        if option.get("_target_") == node.get("_target_"):
            usable = {k: v for k, v in option.items() if k != "defaults" and not _is_open(v)}
            return usable | node
    return node


def _is_open(value: Any) -> bool:
    """Whether a value is to be given, or refers to others: what is recorded has it."""
    return isinstance(value, str) and ("${" in value or value == "???")
