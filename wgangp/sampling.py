"""The one way to draw samples: in chunks, shared by the ranks. Shapes: n samples, nz latent, * one sample's."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from wgangp.data import Dataset
from wgangp.data.text import decode
from wgangp.machine import distributed
from wgangp.machine.distributed import gather
from wgangp.machine.seeds import seed_step
from wgangp.models import Generator
from wgangp.models.layers import batch_norms, couples_samples
from wgangp.units import axes_of_file, quantised

CHUNK = 100  # samples that share BatchNorm's statistics, as in the official evaluation
STANDING = 10  # chunks of which standing statistics are the means

Made = TypeVar("Made")


def latents(generator: Generator, n: int) -> tuple[Tensor, Tensor]:
    """Returns z (m, nz) and y (m,) from torch's generator, m >= n in whole chunks.

    Conditions y (m, *) are the recorded ones, again and again. With whole chunks, sample i is the same whatever n is:
    cut off what is beyond n after generating.
    """
    z, y = (torch.cat(parts) for parts in zip(*islice(chunks(generator), -(-n // CHUNK)), strict=True))
    return z, y if generator.data_conditions is None else generator.data_conditions.of(torch.arange(len(z)))


def chunks(generator: Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields z (CHUNK, nz) and y (CHUNK,) from torch's generator, without end."""
    while True:
        yield torch.randn(CHUNK, generator.nz), torch.randint(max(1, generator.num_classes), (CHUNK,))


def latents_of(generator: Generator, samples: list[int]) -> tuple[Tensor, Tensor]:
    """Returns z (m, nz) of the chunks with these samples, as `latents` draws them, and the samples' numbers (m,)."""
    wanted = {i // CHUNK for i in samples}
    kept = [z for i, (z, _) in enumerate(islice(chunks(generator), max(wanted) + 1)) if i in wanted]
    return torch.cat(kept), torch.cat([CHUNK * i + torch.arange(CHUNK) for i in sorted(wanted)])


def slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Returns points (n, k, nz) at t (k,) on the great circles from a to b, both (n, nz) (White 2016).

    They are on the straight line where a and b have the same direction, or opposite ones, as always if nz is 1.
    """
    cosine = (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))
    angle = cosine.clamp(-1, 1).acos()[:, None, None]  # (n, 1, 1)
    t, sine = t[None, :, None], angle.sin()
    straight = sine < 1e-4  # the same direction, or opposite ones, as of nz=1: no circle, or many
    of_a, of_b = (torch.where(straight, share, (share * angle).sin() / sine) for share in (1 - t, t))
    return of_a * a[:, None] + of_b * b[:, None]


def generate(generator: Generator, z: Tensor, y: Tensor, finish: Callable[[Tensor], Made]) -> list[Made]:
    """Returns finish(samples) of each chunk of latents z (n, nz) and labels or conditions y (n, *), on every rank.

    Each rank makes some of the chunks. `finish` takes samples (k, *) on the generator's device, and returns what is
    kept of them, such as pixels on the CPU.
    """
    device, mine = next(generator.parameters()).device, {}
    with torch.no_grad():
        for i, (a, b) in enumerate(zip(z.split(CHUNK), y.split(CHUNK), strict=True)):
            if i % distributed.WORLD_SIZE == distributed.RANK:
                mine[i] = finish(generate_chunk(generator, a.to(device), b.to(device)))
    made: dict[int, Made] = gather(mine)
    return [made[i] for i in sorted(made)]


def draw_samples(
    generator: Generator, dataset: Dataset, n: int, finish: Callable[[Tensor], Made]
) -> tuple[list[Made], Tensor | None]:
    """Returns finish(samples) of chunks of n or more samples, and the labels (m,) or conditions (m, *) asked for.

    They are those of the training samples, each as often as there; None if the generator takes none.
    """
    z, y = latents(generator, n)
    conditional = generator.num_classes or generator.data_conditions is not None
    if conditional and (given := dataset.training_conditions(len(z))) is not None:
        y = given
    return generate(generator, z, y, finish), y if conditional else None


def draw_for_metrics(generator: Generator, dataset: Dataset, n: int, seed: int) -> tuple[Any, Tensor | None]:
    """Returns n samples as metrics take them, and the labels (n,) or conditions (n, *) asked for, if any."""
    seed_step(seed, 0, "evaluate")
    parts, asked = draw_samples(generator, dataset, n, dataset.to_metric_input)
    x = torch.cat(parts) if isinstance(parts[0], Tensor) else [line for part in parts for line in part]
    return x[:n], None if asked is None else asked[:n]


def to_data(generator: Generator) -> Callable[[Tensor], Tensor]:
    """Returns the function that takes samples to the CPU, and to the data's units if they have some."""
    return Tensor.cpu if generator.data_units is None else generator.data_units.invert


def class_rows(generator: Generator, z: Tensor) -> Tensor:
    """Returns samples (num_classes * k, *): a row for each class, of the same latents z (k, nz).

    The classes of one latent share their chunks, so that an image is the same whatever k is.
    """
    y = torch.arange(generator.num_classes)
    columns = [torch.cat(generate(generator, one.expand(len(y), -1), y, to_data(generator))) for one in z]
    return torch.stack(columns, dim=1).flatten(0, 1)


def as_array(x: Tensor, generator: Generator) -> np.ndarray:
    """Returns samples of to_data as an array for a file, in the units and axes of the data.

    Images and clips become uint8 (n, c, h, w) and (n, c, t, h, w), and text n strings.
    """
    if generator.vocabulary:
        return np.array(decode(x, generator.vocabulary))
    if generator.data_units is not None:
        x = axes_of_file(x, generator.data_units.axes)
        return np.ascontiguousarray(x.numpy())
    return quantised(x).contiguous().numpy() if x.ndim == 4 or generator.is_video else x.numpy()


def generate_chunk(generator: Generator, z: Tensor, y: Tensor) -> Tensor:
    """Returns samples (k, *) of latents (k, nz), k <= CHUNK.

    A smaller chunk is filled with other latents, whose samples are cut off: BatchNorm then has as many samples as ever,
    and a single one can be drawn.
    """
    k = len(z)
    if k == CHUNK or not couples_samples(generator):
        return generator(z, y)
    more_z, more_y = filling(generator, CHUNK - k)
    return generator(torch.cat([z, more_z.to(z)]), torch.cat([y, more_y.to(y)]))[:k]


def filling(generator: Generator, n: int) -> tuple[Tensor, Tensor]:
    """Returns z (n, nz) and y (n,) or (n, *) that are the same every time."""
    given, fixed = generator.data_conditions, torch.Generator().manual_seed(0)
    numbers = torch.arange(n)
    y = numbers % max(1, generator.num_classes) if given is None else given.of(numbers)
    return torch.randn(n, generator.nz, generator=fixed), y


@torch.no_grad()
def use_standing_statistics(generator: Generator) -> None:
    """Sets BatchNorm's averages to the means over STANDING chunks of fixed latents (Brock et al. 2019, section 3).

    A sample then depends on its own latent alone, and looks as in a batch. The generator is in eval mode afterwards.
    """
    norms = [norm for norm in batch_norms(generator) if norm.training]  # not those that are frozen
    device = next(generator.parameters()).device
    generator.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean of all batches
        norm.train()
    if norms:
        z, y = filling(generator, STANDING * CHUNK)
        for a, b in zip(z.split(CHUNK), y.split(CHUNK), strict=True):
            generator(a.to(device), b.to(device))
    generator.eval()
