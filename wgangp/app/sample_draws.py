"""Which samples a command line asks for: their latents, classes and conditions, and the samples themselves."""

import torch
from omegaconf import DictConfig
from torch import Tensor

from wgangp.app.sample_conditions import STEPS, conditions_for, swept_conditions
from wgangp.models import Generator
from wgangp.sampling import class_rows, generate, latents_of, slerp, to_data

GOLDEN = (5**0.5 - 1) / 2


def numbers_of(cfg: DictConfig) -> list[int]:
    """Returns the numbers of the samples that are asked for."""
    return list(range(cfg.n)) if cfg.seeds is None else list(cfg.seeds)


def wanted_latents(cfg: DictConfig, generator: Generator, label: int | None) -> tuple[Tensor, Tensor, Tensor]:
    """Returns z (m, nz) and labels or conditions y (m, *) in whole chunks, and the rows (n,) of the wanted samples."""
    wanted = numbers_of(cfg)
    z, numbers = latents_of(generator, wanted)
    z = z if cfg.truncation is None else cfg.truncation * z  # fewer odd samples; StyleGAN does so in w, here it is in z
    rows = torch.searchsorted(numbers, torch.tensor(wanted))
    if (given := conditions_for(cfg, generator, numbers)) is not None:
        return z, given, rows
    if label is not None:
        return z, torch.full((len(z),), label), rows
    return z, classes_of(cfg, generator, numbers), rows


def in_steps(cfg: DictConfig) -> bool:
    return cfg.interpolate or cfg.sweep_condition is not None


def stepped(cfg: DictConfig, generator: Generator, z: Tensor, y: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns z, y and rows of `wanted_latents`; of an interpolation or a sweep, STEPS for each wanted sample."""
    if not in_steps(cfg):
        return z, y, rows
    first, of_row, known = z[rows], y[rows], generator.data_conditions
    z, y = first.repeat_interleave(STEPS, dim=0), of_row.repeat_interleave(STEPS, dim=0)
    if cfg.interpolate:
        z = slerp(first, first.roll(-1, 0), torch.linspace(0, 1, STEPS)).flatten(0, 1)
    elif known is not None:
        y = swept_conditions(cfg.sweep_condition, of_row, known)
    return z, y, torch.arange(len(z))


def classes_of(cfg: DictConfig, generator: Generator, numbers: Tensor) -> Tensor:
    """Returns the classes (m,) of the samples of these numbers (m,).

    In the data's proportions sample i has the class whose share holds i times the golden ratio, modulo 1: the shares
    are then exact to a few samples, and sample i is the same whatever n is.
    """
    if cfg.proportions == "equal":
        return numbers % max(1, generator.num_classes)
    shares = torch.tensor(generator.class_counts, dtype=torch.float64).cumsum(0)
    return torch.searchsorted(shares / shares[-1], (numbers.double() + 0.5) * GOLDEN % 1, right=True)


def samples_of(generator: Generator, z: Tensor, y: Tensor, rows: Tensor) -> Tensor:
    """Returns the samples of rows (n,) as (n, *), on the CPU; arrays that are no pictures in the data's units."""
    return torch.cat(generate(generator, z, y, to_data(generator)))[rows]


def in_rows(
    cfg: DictConfig, generator: Generator, label: int | None
) -> tuple[Tensor, int | None, Tensor | None, list[int]]:
    """Returns samples of a grid, the columns of its rows and their labels if they have names, and the samples' numbers.

    The steps of a row have the number of the sample that it begins with.
    """
    z, y, rows = stepped(cfg, generator, *wanted_latents(cfg, generator, label))
    if in_steps(cfg):
        numbers = [number for number in numbers_of(cfg) for _ in range(STEPS)]
        return samples_of(generator, z, y, rows), STEPS, None, numbers
    if generator.num_classes > 1 and label is None and not cfg.seeds and cfg.proportions == "equal":
        columns = max(1, cfg.n // generator.num_classes)
        labels = torch.arange(generator.num_classes).repeat_interleave(columns)
        numbers = list(range(columns)) * generator.num_classes
        return class_rows(generator, z[:columns]), columns, labels if generator.class_names else None, numbers
    return samples_of(generator, z, y, rows), None, None, numbers_of(cfg)
