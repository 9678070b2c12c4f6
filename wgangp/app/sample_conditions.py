"""The classes and conditions of samples, as a command line asks for them, in the data's own units."""

import logging
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from wgangp.app.checks import is_number
from wgangp.app.recorded_data import recorded_dataset
from wgangp.data.labels import has_numbers, position_of
from wgangp.machine.paths import local_path
from wgangp.machine.text import typed
from wgangp.models import Generator
from wgangp.run_dir.checkpoint import load_newest, run_of
from wgangp.run_dir.header import header_of
from wgangp.units import Conditions, axes_of_file, channels_first

log = logging.getLogger(__name__)

STEPS = 8  # of a sweep, or of an interpolation
SPREAD = 2  # standard deviations on both sides of the mean, where most of the training part is
HELD_OUT = "held_out"


def class_number(label: Any, generator: Generator) -> int | None:
    """Returns the number of a class, which may be given by its name. Raises ValueError if there is no such class."""
    names = generator.class_names
    if label is None:
        return None
    if not generator.num_classes:
        raise ValueError(f"label={label}: this generator has no classes: leave it out, or train with conditional=true")
    if (position := position_of(label, names)) is not None:
        return position
    if type(label) is int and 0 <= label < generator.num_classes and not has_numbers(names):
        return label
    raise ValueError(
        f"label={typed(label)}: this generator has {generator.num_classes} classes: {', '.join(names[:20])}"
    )


def are_numbers(names: Sequence[str]) -> bool:
    """Whether the classes are whole numbers in the data, and not text such as 007."""
    return bool(names) and all(re.fullmatch(r"0|-?[1-9]\d{0,17}", name) for name in names)


def as_in_data(y: Tensor, generator: Generator) -> np.ndarray:
    """Returns labels y (n,) as the data have them: their numbers or their names."""
    names = generator.class_names or [str(i) for i in range(generator.num_classes)]
    listed = np.array([int(name) for name in names] if are_numbers(names) else names)
    return listed[y.numpy()]  # type: ignore[no-any-return]


def conditions_for(cfg: DictConfig, generator: Generator, numbers: Tensor) -> Tensor | None:
    """Returns the conditions (m, *shape) of the samples of these numbers (m,), as the networks see them.

    cfg.condition is one list of numbers, a .npy file, or held_out, whose conditions are given in turn; null: some of
    the training part. Returns None if the generator has none. Raises ValueError if they do not suit it.
    """
    known, asked = generator.data_conditions, cfg.condition
    if known is None:
        if asked is not None or cfg.sweep_condition is not None:
            raise ValueError(
                "this run has no condition of numbers or pictures: leave out condition and sweep_condition"
            )
        return None
    if asked is None:
        return known.of(numbers)
    if asked == HELD_OUT:
        return held_out_conditions(cfg, int(numbers.max()) + 1)[numbers]
    y = conditions_from_file(asked, known) if isinstance(asked, str) else condition_from_numbers(asked, known)
    warn_of_range(y, known)
    return known.units.apply(y)[numbers % len(y)]


def condition_from_numbers(asked: Any, known: Conditions) -> Tensor:
    """Returns one condition of numbers, (1, k)."""
    values = list(asked) if OmegaConf.is_list(asked) else [asked]
    numbers = all(is_number(value) for value in values)
    if len(known.shape) > 1:
        raise ValueError(f"condition={asked}: this generator is given {known}: give a .npy file of them, or held_out")
    if not numbers or len(values) != known.shape[0]:
        example = ",".join(f"{x:.3g}" for x in (known.low / 2 + known.high / 2).tolist())
        raise ValueError(f"condition={asked}: this generator is given {known}: give as many, as in [{example}]")
    return torch.tensor([values], dtype=torch.float64)


def conditions_from_file(path: str, known: Conditions) -> Tensor:
    """Returns the conditions (m, *shape) of a .npy file, or the one that it holds, in the data's units."""
    try:
        x: np.ndarray = np.lib.format.open_memmap(local_path(path), mode="r")
    except (OSError, ValueError, EOFError) as error:
        reason = f" ({error.strerror})" if isinstance(error, OSError) and error.strerror else ""
        raise ValueError(
            f"condition={path} is no .npy file of numbers{reason}: write one by np.save, or give numbers, as in [0.5]"
        ) from error
    axes = known.units.axes
    plain = isinstance(x, np.ndarray) and x.dtype.kind in "biuf"
    if plain and known.shape == (1,) and axes == "n" and (x.ndim < 2 or x.shape[1:] == (1,)):  # one for each sample
        x = x.reshape(-1)
    if plain and x.ndim == len(axes) - 1:  # one condition alone; of single numbers one for each sample
        x = x[:, None] if known.shape == (1,) and len(x) > 1 else x[None]
    if not plain or x.ndim != len(axes) or tuple(channels_first(torch.empty(x.shape), axes).shape[1:]) != known.shape:
        raise ValueError(f"condition={path} of shape {x.shape} holds no conditions as this generator has, {known}")
    if not len(x) or not np.isfinite(x).all():
        raise ValueError(f"condition={path} is empty, or has numbers that are missing (NaN) or infinite")
    return channels_first(torch.from_numpy(np.array(x, np.float64)), axes)


def warn_of_range(y: Tensor, known: Conditions) -> None:
    """Logs one line if a number is outside the range that the networks were trained on."""
    flat = y.double().transpose(0, 1).flatten(1)
    outside = ((flat.amin(1) < known.low) | (flat.amax(1) > known.high)).nonzero().flatten().tolist()
    if outside:
        i = outside[0]
        name = known.units.names[i] if known.units.names else f"number {i}" if y.ndim == 2 else f"channel {i}"
        log.warning(
            "the condition is outside the range seen in training: %s was from %.6g to %.6g, so samples may be wrong",
            *(name, known.low[i], known.high[i]),
        )


def held_out_conditions(cfg: DictConfig, n: int) -> Tensor:
    """Returns the conditions of the run's held-out samples, in their order. The data must still be there."""
    checkpoint, state = load_newest(local_path(cfg.run))
    dataset = recorded_dataset(header_of(state), cfg, run_of(checkpoint), torch.device("cpu"))
    part = dataset.held_out(0, n)
    if part is None:
        raise ValueError("condition=held_out: the run has no held-out samples: it needs dataset.held_out")
    return part[1]


def swept_conditions(asked: Any, y: Tensor, known: Conditions) -> Tensor:
    """Returns 8 conditions (8, k) for each of y (n, k): one number goes through most of its range, (8 n, k).

    Raises ValueError if there is no number of this name or position.
    """
    if len(known.shape) > 1:
        raise ValueError(f"sweep_condition={asked}: this generator is given {known}, which are no single numbers")
    names = known.units.names or tuple(map(str, range(known.shape[0])))
    if str(asked) not in (*names, *map(str, range(len(names)))):
        raise ValueError(
            f"sweep_condition={asked}: this generator is given {known}: choose one of its numbers, {', '.join(names)}"
        )
    i = names.index(str(asked)) if str(asked) in names else int(asked)
    low, high = known.units.apply(torch.stack([known.low, known.high]))[:, i].clamp(-SPREAD, SPREAD).tolist()
    ends = torch.zeros(2, len(names))
    ends[:, i] = torch.tensor([low, high])
    log.info("%s from left to right: %.4g to %.4g", names[i], *known.units.invert(ends)[:, i].tolist())
    swept = y.repeat_interleave(STEPS, dim=0)
    swept[:, i] = torch.linspace(low, high, STEPS).repeat(len(y))
    return swept


def in_units(y: Tensor, known: Conditions) -> np.ndarray:
    """Returns conditions (n, *) in the units and axes of the data; those in [-1, 1] are pictures of uint8."""
    x = axes_of_file(known.units.invert(y), known.units.axes)
    if known.units.bounded:
        return np.ascontiguousarray(x.round().clamp(0, 255).to(torch.uint8).numpy())
    if len(known.shape) == 1:  # the networks' float32 knows seven digits of each number's spread
        centre, width, _ = known.units.table.abs()
        spread = torch.where(width > 0, width, torch.where(centre > 0, centre, 1))  # a constant has none
        power = 10 ** (6 - spread.log10().floor())
        x = ((x.double() * power).round() / power).to(x.dtype)
    return np.ascontiguousarray(x.numpy())
