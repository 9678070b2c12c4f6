"""The one way to draw samples: in chunks, shared by the ranks. Shapes: n samples, nz latent, * one sample's."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor

from wgangp.machine import distributed
from wgangp.machine.distributed import gather
from wgangp.models.layers import Generator

CHUNK = 100  # samples that share BatchNorm's statistics, as in the official evaluation

Made = TypeVar("Made")


def chunks(z: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Splits latents (n, nz) and labels (n,) into chunks of CHUNK."""
    yield from zip(z.split(CHUNK), y.split(CHUNK), strict=True)


def generate(
    generator: Generator, latents: Iterable[tuple[Tensor, Tensor]], finish: Callable[[Tensor], Made]
) -> list[Made]:
    """Returns finish(samples) of each chunk of (z, y), on every rank; each rank makes some of the chunks.

    `finish` takes samples (k, *) on the generator's device, and gives what is kept of them, such as pixels on the CPU.
    """
    device, mine = next(generator.parameters()).device, {}
    with torch.no_grad():
        for i, (z, y) in enumerate(latents):
            if i % distributed.WORLD_SIZE == distributed.RANK:
                mine[i] = finish(generate_chunk(generator, z.to(device), y.to(device)))
    made: dict[int, Any] = gather(mine)
    return [made[i] for i in sorted(made)]


def generate_chunk(generator: Generator, z: Tensor, y: Tensor) -> Tensor:
    """Returns samples (k, *) of latents (k, nz), k <= CHUNK.

    A smaller chunk is filled with other latents, whose samples are cut off, so that BatchNorm's statistics always come
    from CHUNK latents: a sample then hardly depends on how many are drawn with it, and a single one can be drawn.
    """
    k = len(z)
    if k == CHUNK or not uses_batch_statistics(generator):
        return generator(z, y)
    fill = torch.Generator().manual_seed(0)
    z = torch.cat([z, torch.randn(CHUNK - k, z.shape[1], generator=fill).to(z)])
    y = torch.cat([y, torch.arange(CHUNK - k).to(y) % max(1, generator.num_classes)])
    return generator(z, y)[:k]


def uses_batch_statistics(generator: torch.nn.Module) -> bool:
    """Whether a sample depends on the others of its batch."""
    norms = (m for m in generator.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm))
    return any(m.training or m.running_mean is None for m in norms)
