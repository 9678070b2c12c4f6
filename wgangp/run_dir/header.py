"""The header of a checkpoint: configuration, shape, classes and units. The file may be forged, so all is checked."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wgangp.run_dir.record import Record, flatten, parse_yaml
from wgangp.units import LARGEST_SAMPLE, MOST_CLASSES, Conditions, Units, conditions_of, units_of

MOST_ROLLBACKS = 2**16
LARGEST_OPTION = 2**16  # of a network's numbers: a depth makes lists before modules


@dataclass(frozen=True)
class Header:
    """What a generator needs besides its weights: the configuration, and what the data decided."""

    config: dict[str, Any]
    shape: tuple[int, ...]
    num_classes: int
    vocabulary: str | None = None
    class_names: tuple[str, ...] = ()
    bounded: bool | None = None  # whether the data lie in [-1, 1]; None of older checkpoints, where images do
    units: Units | None = None  # of arrays that are no pictures
    conditions: Conditions | None = None  # of a generator that is given numbers or pictures
    precision: str | None = None  # in which it trains: "auto" is decided once for a run
    rollbacks: int = 0  # so far: each changes the random numbers
    class_counts: tuple[int, ...] = ()  # training samples of each class; none in older checkpoints
    data: str = ""  # what the dataset says of itself; nothing in older checkpoints
    record: Record | None = None  # how the run was started and resumed so far; None of older checkpoints

    @property
    def network_arguments(self) -> dict[str, Any]:
        """The arguments of the networks that the data decide."""
        arguments: dict[str, Any] = {"shape": list(self.shape), "num_classes": self.num_classes}
        return arguments if self.conditions is None else arguments | {"condition_shape": list(self.conditions.shape)}

    def __post_init__(self) -> None:
        """Raises ValueError if a field has another type or range than training writes: a file may be forged."""
        sizes_fit = 1 <= len(self.shape) <= 4 and all(is_int(n, 1, LARGEST_SAMPLE) for n in self.shape)
        if not (sizes_fit and math.prod(self.shape) <= LARGEST_SAMPLE):
            raise ValueError(f"its samples are of {self.shape}; the most is 4 axes and {LARGEST_SAMPLE:,} numbers")
        names_fit = all(isinstance(name, str) for name in self.class_names) and len(self.class_names) <= MOST_CLASSES
        vocabulary_fits = self.vocabulary is None or isinstance(self.vocabulary, str)
        units_fit = self.units is None or self.units.table.shape[1] == self.shape[0]
        fits = names_fit and vocabulary_fits and units_fit and isinstance(self.bounded, bool | None)
        counts_fit = all(is_int(count, 0, 2**53) for count in self.class_counts)
        fits = fits and isinstance(self.data, str) and counts_fit and len(self.class_counts) in (0, self.num_classes)
        if not (fits and is_int(self.num_classes, 0, MOST_CLASSES)):
            raise ValueError("its header has a number of classes, names, a vocabulary or units that no dataset has")
        if not (isinstance(self.precision, str | None) and is_int(self.rollbacks, 0, MOST_ROLLBACKS)):
            raise ValueError("its header has a precision or a number of rollbacks that no run has")


def header_of(state: Mapping[str, Any]) -> Header:
    """Returns the header of a loaded checkpoint. Raises ValueError if it is none."""
    shape, names = state.get("shape"), state.get("class_names", ())
    config = parse_yaml(text, "its configuration") if isinstance(text := state.get("config"), str) else None
    if not (isinstance(config, dict) and isinstance(config.get("generator"), dict)):
        raise ValueError("its configuration has no generator")
    for key, value in flatten({part: config.get(part) for part in ("generator", "critic")}).items():
        if type(value) is int and value > LARGEST_OPTION and not key.endswith("seed"):
            raise ValueError(f"{key}={value} is above {LARGEST_OPTION:,}: no network is so large")
    counts = state.get("class_counts", ())
    if not (isinstance(shape, list | tuple) and isinstance(names, list | tuple) and isinstance(counts, list | tuple)):
        raise ValueError("its header is incomplete")
    if any("${" in f"{key}={value}" for key, value in flatten(config).items()):
        raise ValueError("its configuration has interpolations, ${...}, and wgangp writes none")
    return Header(
        config=config,
        shape=tuple(shape),
        num_classes=state.get("num_classes", -1),
        vocabulary=state.get("vocabulary"),
        class_names=tuple(names),
        bounded=state.get("bounded"),
        units=None if state.get("units") is None else units_of(state["units"]),
        conditions=None if state.get("conditions") is None else conditions_of(state["conditions"]),
        precision=state.get("precision"),
        rollbacks=state.get("rollbacks", 0),
        class_counts=tuple(counts),
        data=state.get("data", ""),
        record=record_in(state, config),
    )


def record_in(state: Mapping[str, Any], config: dict[str, Any]) -> Record | None:
    """Returns the record of a checkpoint; None if it is an older one."""
    overrides, choices = state.get("overrides"), state.get("choices")
    if overrides is None or choices is None:
        return None
    if not (isinstance(overrides, list) and isinstance(choices, dict)):
        raise ValueError("its overrides are no list, or its choices no mapping")
    if not all(isinstance(text, str) for text in (*overrides, *choices, *choices.values())):
        raise ValueError("its overrides or choices are no text")
    return Record(config, overrides, choices)


def is_int(value: object, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most
