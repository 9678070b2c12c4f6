"""The dataset of a run that is read: as its checkpoint records it, where it is now."""

import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf

from wgangp.app.build import build
from wgangp.app.defaults import part_with_defaults
from wgangp.app.plain import is_of_hub
from wgangp.data import Dataset
from wgangp.data.labels import listed
from wgangp.machine.paths import local_path
from wgangp.machine.text import shown
from wgangp.run_dir.header import Header
from wgangp.units import Units

log = logging.getLogger(__name__)


def recorded_dataset(header: Header, cfg: DictConfig, run: Path, device: torch.device) -> Dataset:
    """Returns the dataset of a run, in the units that its networks were trained with.

    `cfg.dataset` says where it is now. Raises ValueError or OSError if it is not there.
    """
    config = header.config
    recorded = OmegaConf.create(part_with_defaults("dataset", config["dataset"]))
    dataset: Dataset = build(
        located(recorded, cfg.dataset, run), part="dataset", allow=cfg.allow, seed=config["seed"], device=device
    )
    use_as_recorded(dataset, header)
    return dataset


def use_as_recorded(dataset: Dataset, header: Header) -> None:
    """Gives the dataset the units that a run's networks were trained with, and warns if the data are others.

    Raises ValueError if its samples, columns, conditions, classes or characters differ from those of the run.
    """
    kinds: dict[str, tuple[Sequence[str], Sequence[str]]] = {}
    if (dataset.units is None) != (header.units is None):
        ours, theirs = kind_of(dataset.units), kind_of(header.units)
        raise ValueError(f"the data are {ours}, and the run was trained with {theirs}: give such data")
    if dataset.units is not None and header.units is not None:
        kinds["scaling"] = ([dataset.units.scaling], [header.units.scaling])
        kinds["columns"] = (dataset.units.names, header.units.names)
    if header.conditions is not None:
        given = () if dataset.conditions is None else dataset.conditions.units.names
        kinds["conditions"] = (given, header.conditions.units.names)
    if header.num_classes and header.class_names:  # which the oldest checkpoints lack
        kinds["classes"] = (dataset.class_names, header.class_names)
    if header.vocabulary is not None:
        kinds["characters"] = (dataset.vocabulary or "", header.vocabulary)
    kinds["samples of"] = ["x".join(map(str, dataset.shape))], ["x".join(map(str, header.shape))]
    for what, (here, there) in kinds.items():
        if tuple(here) != tuple(there):
            raise ValueError(
                f"the data have {what} {listed(here) or 'without names'}, and the run was trained with "
                f"{listed(there) or 'none that have names'}: give data with the same, in the same order"
            )
    if header.data and header.data != str(dataset.describe()):
        log.warning("the data differ from those that the run was trained with, which were: %s", shown(header.data))
    dataset.use(header.units, header.conditions)


def kind_of(units: Units | None) -> str:
    return "pixels, points or text" if units is None else "arrays of numbers, which are scaled"


def located(recorded_dataset: DictConfig, given: DictConfig, run: Path) -> DictConfig:
    """Returns the recorded dataset where it is now.

    Nothing is written into a folder that only the record names: nothing is downloaded, and decoded images are kept in
    the run directory.
    """
    for key in ("path", "root", "held_out", "condition"):
        if given.get(key) is not None and key in recorded_dataset:
            name = isinstance(given[key], str)  # and no list of them, no share and no number of samples
            recorded_dataset[key] = str(local_path(given[key])) if name else given[key]
    if given.path is not None and is_of_hub(recorded_dataset):
        recorded_dataset.name = str(given.path)
    elif given.path is not None and "path" not in recorded_dataset:
        raise ValueError(f"dataset.path={given.path}: this run's dataset has no path; try dataset.root=FOLDER")
    moved = given.path is not None or (given.root is not None and "root" in recorded_dataset)
    if not moved and "download" in recorded_dataset:
        recorded_dataset.download = False
    if not moved and "cache" in recorded_dataset:
        recorded_dataset.cache = str(run / "cache")
    return recorded_dataset
