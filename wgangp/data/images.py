"""Labelled images and clips, uint8, and resizing."""

import torch
from torch import Tensor
from torch.nn import functional as F

from wgangp.data.splits import Labelled, Split
from wgangp.units import quantised


class Images(Labelled):
    """Images (c, h, w) or clips (c, t, h, w): batches are made on the device.

    They are gathered, scaled to [-1, 1], dequantised and flipped.

    num_classes is 0 if the images have no labels. `dequantise` is the official 2 (x / 256 - 1/2) + U[0, 1/128) of
    gan_cifar_resnet.py; without it x / 127.5 - 1.
    """

    def __init__(
        self,
        train: Split,
        held_out: Split | None,
        num_classes: int,
        *,
        class_names: tuple[str, ...] = (),
        flip: bool,
        dequantise: bool,
        seed: int,
        device: torch.device,
    ) -> None:
        super().__init__(train, held_out, num_classes, class_names=class_names, seed=seed, device=device)
        self.flip, self.dequantise = flip, dequantise
        self.bounded = True
        self.noun = "clips" if self.is_video else "images"

    def make(self, *fetched: Tensor) -> tuple[Tensor, Tensor]:
        x, y = super().make(*fetched)  # (n, *shape), (n,)
        if self.flip:
            flipped = torch.rand(len(x), *[1] * (x.ndim - 1), device=x.device) < 0.5
            x = torch.where(flipped, x.flip(-1), x)
            y = torch.where(flipped, y.flip(-1), y) if y.ndim == x.ndim else y  # pictures that go with them
        return x, y

    def scale(self, x: Tensor) -> Tensor:
        """Returns pixels (uint8) as the networks see them."""
        if not self.dequantise:
            return self.comparable(x)
        x = x.float()
        return (x + torch.rand_like(x)) / 128 - 1

    def to_metric_input(self, x: Tensor) -> Tensor:
        """Returns x (n, *shape) in [-1, 1] as uint8 on the CPU."""
        return quantised(x).cpu()

    def comparable(self, x: Tensor) -> Tensor:
        return x.float() / 127.5 - 1

    def describe(self) -> str:
        return f"{len(self):,} {self.noun} of {'x'.join(map(str, self.shape))}{self._details()}"


def brightest(images: Tensor, enough: int) -> int:
    """Returns the largest pixel value, or the first found that is at least `enough`."""
    brightest = 0
    for part in torch.split(images, 1024):
        brightest = max(brightest, int(part.max()))
        if brightest >= enough:
            break
    return brightest


def resize(images: Tensor, size: int | None, channels: int | None, chunk: int = 4096) -> Tensor:
    """Returns images (N, c, h, w) or clips (N, c, t, h, w) uint8, grey or RGB, their central squares resized.

    `size` or `channels` None keeps them as they are. Raises ValueError if the channels cannot be converted.
    """
    if size is not None and size < 1:
        raise ValueError(f"dataset.size={size}: give a whole number of at least 1")
    if (size is None or images.shape[-2:] == (size, size)) and channels in (None, images.shape[1]):
        return images  # perhaps mapped from a file, and larger than the memory
    if images.ndim == 5:
        frames = resize(images.transpose(1, 2).flatten(0, 1), size, channels, chunk)
        return frames.view(len(images), -1, *frames.shape[1:]).transpose(1, 2)
    return torch.cat([_resize(part, size, channels) for part in torch.split(images, chunk)])


def _resize(x: Tensor, size: int | None, channels: int | None) -> Tensor:
    if channels == 1 and x.shape[1] == 3:
        weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)  # ITU-R 601, as PIL
        x = (x * weights).sum(1, keepdim=True).round().to(torch.uint8)
    elif channels == 3 and x.shape[1] == 1:
        x = x.expand(-1, 3, -1, -1)
    elif channels not in (None, x.shape[1]):
        raise ValueError(f"dataset.channels={channels}: images of {x.shape[1]} channels can only become 1 or 3")
    if size is not None and x.shape[2:] != (size, size):
        side = min(x.shape[2:])
        top, left = (x.shape[2] - side) // 2, (x.shape[3] - side) // 2
        x = x[:, :, top : top + side, left : left + side].float()
        x = F.interpolate(x, (size, size), mode="bicubic", antialias=True).round().clamp(0, 255).to(torch.uint8)
    return x
