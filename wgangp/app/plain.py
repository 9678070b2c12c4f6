"""Configurations as plain containers, and the part of them that a run records."""

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from wgangp.machine.paths import local_path

DATASET_PATHS = ("path", "root", "cache")  # keys of a dataset; path may be a list


def plain(cfg: DictConfig) -> dict[str, Any]:
    """Returns the resolved configuration as plain containers."""
    return OmegaConf.to_container(cfg, resolve=True)  # type: ignore[return-value]


def to_record(cfg: DictConfig) -> dict[str, Any]:
    """Returns what a run records: plain, with absolute paths, since runs are read from other folders, too."""
    config = plain(cfg)
    dataset = config.get("dataset", {})
    named = {key: dataset[key] for key in (*DATASET_PATHS, "held_out") if isinstance(dataset.get(key), str | list)}
    absolute = {key: _absolute(path) for key, path in named.items()}
    if isinstance(given := dataset.get("condition"), str) and given.lower().endswith(".npy"):
        absolute["condition"] = _absolute(given)
    if is_of_hub(dataset) and local_path(dataset["name"]).is_dir():
        absolute["name"] = _absolute(str(dataset["name"]))
    return config | {"dataset": dataset | absolute}


def is_of_hub(dataset: Mapping[Any, Any]) -> bool:
    """Whether a dataset's name is one of the Hugging Face Hub, or a folder."""
    return dataset.get("_target_") == "wgangp.data.sources.huggingface"


def _absolute(path: str | list[Any]) -> str | list[str]:
    if isinstance(path, list):
        return [str(_absolute(str(part))) for part in path]
    return str(local_path(path).absolute())
