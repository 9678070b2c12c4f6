"""The sliced Wasserstein distance of image patches (Karras et al. 2018, section 5): it needs no network."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from wgangp.data import Dataset
from wgangp.metrics import Metric, Result
from wgangp.metrics.reference import Once, comparable_number, random_rows, separate_draws
from wgangp.metrics.toy import sliced_wasserstein

PATCH = 7  # pixels of a side
SMALLEST = 14  # pixels of the pyramid's last level: 16 in the paper, which has no images of 28


class Patches(Metric):
    """`swd`, the mean over the levels of a Laplacian pyramid of the distance between 7x7 patches, times 1,000.

    It compares textures at each scale, and no whole objects: two eyes at the wrong places count little. The levels'
    own distances, the finest first, and the floor, the distance of other training images, are in evaluation.json.
    Unlike in the paper, both sets are normalised by the training images, so that wrong colours and contrast count.
    """

    higher_is_better: ClassVar = {"swd": False}

    def __init__(self, samples: int, patches: int, projections: int) -> None:
        self.samples, self.patches, self.projections = samples, patches, projections
        self.floor: Once[list[float]] = Once()

    def suits(self, dataset: Dataset) -> bool:
        return len(dataset.shape) == 3 and dataset.units is None and min(dataset.shape[1:]) >= SMALLEST

    def __call__(self, samples: Tensor, asked: Tensor | None, dataset: Dataset, device: torch.device) -> Result:
        n = comparable_number(dataset, self.samples, len(samples))
        real, *others = separate_draws(dataset, n, 2)
        levels = self.distances(random_rows(samples, n), real)
        details: dict[str, object] = {"levels": [round(level, 2) for level in levels]}
        if others:
            floor = self.floor(dataset, n, lambda: self.distances(others[0], real))
            details["floor"] = {"mean": sum(floor) / len(floor), "draws": 1}
        return Result(
            {"swd": sum(levels) / len(levels)},
            {"samples": n, "reference": f"{n} training images"},
            {"swd": details},
        )

    def distances(self, fake: Tensor, real: Tensor) -> list[float]:
        """Returns 1,000 times the distance at each level of images (n, c, h, w) uint8, the finest first.

        Channels that are constant in the real ones, such as an opaque alpha, are left out.
        """
        channels = real.movedim(1, 0).flatten(1)
        varies = channels.amin(1) < channels.amax(1)
        if not varies.any():
            raise ValueError("swd: the training images are constant")
        fake, real = fake[:, varies], real[:, varies]
        return [
            1000 * sliced_wasserstein(*normalised(*(random_patches(x, self.patches) for x in level)), self.projections)
            for level in zip(laplacian_pyramid(fake), laplacian_pyramid(real), strict=True)
        ]


def laplacian_pyramid(images: Tensor) -> list[Tensor]:
    """Returns the levels of images (n, c, h, w): what the next one lacks, and the last one (Burt & Adelson 1983)."""
    levels: list[Tensor] = []
    image = images.float()
    kernel = torch.tensor([1.0, 4, 6, 4, 1], device=image.device) / 16
    kernel = kernel.outer(kernel).expand(image.shape[1], 1, 5, 5)
    while min(image.shape[2:]) >= 2 * SMALLEST:
        smaller = F.conv2d(F.pad(image, (2, 2, 2, 2), "reflect"), kernel, stride=2, groups=image.shape[1])
        levels.append(image - F.interpolate(smaller, image.shape[2:], mode="bilinear"))
        image = smaller
    return [*levels, image]


def random_patches(images: Tensor, n: int) -> Tensor:
    """Returns n patches of each image (m, c, h, w), of seeded places, as (m n, c, 49)."""
    m, c, h, w = images.shape
    generator = torch.Generator().manual_seed(0)
    top, left = (torch.randint(length - PATCH + 1, (m, n), generator=generator) for length in (h, w))
    windows = images.unfold(2, PATCH, 1).unfold(3, PATCH, 1)  # (m, c, h - 6, w - 6, 7, 7), a view
    return windows[torch.arange(m)[:, None], :, top, left].reshape(m * n, c, PATCH**2)


def normalised(fake: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """Returns patches (k, c, 49) as rows (k, c 49), each channel by its mean and deviation in the real ones."""
    centre, scale = real.mean((0, 2), keepdim=True), real.std((0, 2), keepdim=True).clamp(min=1e-6)
    return ((fake - centre) / scale).flatten(1), ((real - centre) / scale).flatten(1)
