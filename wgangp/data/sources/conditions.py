"""Conditions of your own arrays: numbers or pictures that the samples come with, scaled by the training part."""

import logging

import numpy as np
import torch
from torch import Tensor

from wgangp.data import draw_positions
from wgangp.data.sources.content import Content, as_tensor, check_numbers, named_for
from wgangp.data.sources.files import Keys, read_arrays
from wgangp.data.sources.source import DARK
from wgangp.data.splits import Split
from wgangp.data.statistics import fit_units, limits_of
from wgangp.machine.paths import local_path
from wgangp.units import Conditions, Units, channels_first

log = logging.getLogger(__name__)

EXAMPLES, NUMBERS = 100, 2**20  # conditions that a checkpoint records, and numbers of all of them, at most
CONSTANT = "dataset.condition: %s is constant, so it decides nothing"


def is_file(condition: object) -> bool:
    """Whether dataset.condition names a file of its own, and no array or column of the data."""
    return isinstance(condition, str) and condition.lower().endswith(".npy")


def read_conditions(path: str) -> Content:
    """Returns the array of a .npy file. Raises ValueError if it is damaged, FileNotFoundError if there is none."""
    file = local_path(path)
    if not file.is_file():
        raise FileNotFoundError(f"dataset.condition={path}: there is no such file")
    with named_for("condition"):
        return read_arrays(file, Keys())


def axes_beside(where: str, shape: tuple[int, ...], axes: str, samples: tuple[int, ...]) -> str:
    """Returns the axes of conditions of this shape beside samples of these axes and that shape.

    Two axes are numbers (n, k). Pictures have the axes of the samples; one of channels may be missing in either, and
    comes first after n, or last. Of several readings the first one is taken that makes them smaller samples, with all
    sides divided by the same number; else the first. Raises ValueError if they have other axes.
    """
    if len(shape) < 3:
        return "nd"[: len(shape)]
    plain = axes.replace("c", "")
    choices = (axes, plain, plain.replace("n", "nc"), plain + "c")
    found = [choice for choice in choices if len(choice) == len(shape) and plain[-1] != "d"]
    if not found:
        raise ValueError(
            f"{where} has shape {shape}: give numbers (n, k), or pictures with the axes of the samples, {axes}"
        )
    sides = dict(zip(axes, samples, strict=True))

    def is_smaller(choice: str) -> bool:
        ratios = {sides[axis] / side for axis, side in zip(choice, shape, strict=True) if axis not in "nc" and side}
        return len(ratios) == 1 and ratios.pop().is_integer()

    return next(filter(is_smaller, found), found[0])


def beside(where: str, content: Content, axes: str) -> Tensor | None:
    """Returns the conditions (n, k) or (n, c, *size) of samples with these axes; None if there are none.

    Raises ValueError if they are no real numbers, some are missing, or their number is another.
    """
    if content.condition is None:
        return None
    x, names = content.condition.x, content.condition.names
    own, n = axes_beside(where, x.shape, axes, content.x.shape), content.x.shape[axes.index("n")]
    if not x.ndim or x.shape[own.index("n")] != n:
        count = f"{x.shape[own.index('n')]:,} entries" if x.ndim else "no axis"
        raise ValueError(f"{where} has {count}, and there are {n:,} samples: give one for each")
    if x.dtype.kind not in "biufc":
        raise ValueError(f"{where} has type {x.dtype}: give numbers, or make classes of them by dataset.labels")
    check_numbers(where, x, names)
    x = x.astype(np.float32) if x.dtype.kind == "b" else x  # masks: pictures of whole bytes go to 255
    return channels_first(as_tensor(x), own)


def fitted(split: Split, axes: str, names: tuple[str, ...]) -> Conditions | None:
    """Returns what is known of the conditions of a training part: their scaling, their range and some of them.

    Numbers, masks and pictures of floats are scaled to mean 0 and standard deviation 1, by column or channel, and
    pictures of uint8 to [-1, 1].
    """
    if split.conditions is None:
        return None
    training = Split(split.conditions, split.labels, split.where).to(torch.device("cpu"))
    limits, shape = limits_of(training), training.samples.shape[1:]
    if training.samples.dtype == torch.uint8 and len(shape) > 1:
        if (highest := int(limits.high.max())) < DARK:
            log.warning("dataset.condition: no pixel is above %d of 255: of a map of numbers make floats", highest)
        half = torch.full((shape[0],), 127.5, dtype=torch.float64)
        units = Units("minmax", torch.stack([half, half, torch.zeros_like(half)]), axes)
    else:
        units = fit_units("standard", training, limits, axes, names, CONSTANT)
    examples = draw_positions(len(training), max(1, min(EXAMPLES, NUMBERS // shape.numel())), seed=0)
    return Conditions(units, limits.low, limits.high, units.apply(training.pick(examples)[0]))
