"""The options that all sources share, and how files or arrays become a dataset."""

import functools
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from wgangp.data import Dataset
from wgangp.data.images import Images, brightest, resize
from wgangp.data.labels import choose, renumbered
from wgangp.data.splits import Split, hold_out
from wgangp.units import LARGEST_SAMPLE

log = logging.getLogger(__name__)

DARK = 64  # of 255: images without a brighter pixel are likely stored with another value for white
Load = Callable[[Tensor], tuple[Tensor, Tensor]]  # positions -> images (n, c, h, w) uint8, and their positions (n,)

LARGEST_SIZE = math.isqrt(LARGEST_SAMPLE)  # pixels of a side


@dataclass(frozen=True)
class Part:
    """The training or the held-out part of a source, before its images are read.

    `load` may return fewer images than it was asked for, if some cannot be read.
    """

    labels: Tensor  # (N,) int64; zeros without labels
    load: Load
    conditions: Tensor | None = None  # (N, *), numbers or pictures that the images come with


Parts = tuple[Part, Part | None, Sequence[str] | None]  # training, held-out, names of the labels; None: not there


@dataclass(frozen=True, kw_only=True)
class Source:
    """The options of every source (conf/dataset/common/images.yaml). A subclass adds its own, and reads the parts."""

    size: int | None
    channels: int | None
    classes: Sequence[int | float | bool | str] | None
    limit: int | None
    flip: bool
    dequantise: bool
    held_out: float | str | None
    seed: int
    device: torch.device

    def __post_init__(self) -> None:
        """Raises ValueError if images are larger than a network can be: decoding would fill the memory."""
        if self.size is not None and self.size > LARGEST_SIZE:
            raise ValueError(f"dataset.size={self.size}: give at most {LARGEST_SIZE}")

    brighten: ClassVar[str] = "multiply them, so that white is 255"

    def read(self) -> Parts:
        """Returns the parts of the data, before the options are applied to them."""
        raise NotImplementedError

    def dataset(self) -> Dataset:
        return self.as_images(*self.splits(*self.read()))

    def as_images(self, split: Split, test: Split | None, class_names: tuple[str, ...]) -> Images:
        """Returns the dataset of a training part and a held-out one, with the options that concern batches."""
        if (highest := brightest(split.samples, DARK)) < DARK:
            log.warning("no training image has a pixel above %d of 255: %s", highest, self.brighten)
        return Images(
            split,
            test,
            len(class_names),
            class_names=class_names,
            flip=self.flip,
            dequantise=self.dequantise,
            seed=self.seed,
            device=self.device,
        )

    def splits(
        self, train: Part, held_out: Part | None, names: Sequence[str] | None
    ) -> tuple[Split, Split | None, tuple[str, ...]]:
        """Returns the training samples, the held-out ones if there are any, and the names of the classes."""
        self.check_held_out(held_out is not None)
        positions, wanted = choose(train.labels, self.classes, self.limit, names)
        split = self._split(train, positions)
        table, class_names = renumbered(split.labels, wanted, names)
        split = replace(split, labels=table[split.labels])
        if self.held_out is not None:
            return *hold_out(split, self.held_out, class_names), class_names
        test = None if held_out is None else self._held_out(held_out, table)
        if test is not None and test.samples.shape[1:] != split.samples.shape[1:]:
            raise ValueError(
                f"held-out samples of shape {tuple(test.samples.shape[1:])}, and training samples of "
                f"{tuple(split.samples.shape[1:])}: make them alike, pictures by dataset.size and dataset.channels"
            )
        return split, test, class_names

    def check_held_out(self, has_own: bool) -> None:
        """Raises ValueError if samples are to be held out of data that have a held-out part of their own."""
        if has_own and self.held_out is not None:
            raise ValueError(
                f"dataset.held_out={self.held_out}: the data have a test part of their own; set it to null"
            )

    def _split(self, part: Part, positions: Tensor) -> Split:
        images, positions = part.load(positions)
        given = part.conditions
        if given is not None and given.ndim == images.ndim and self.size is not None and len({*images.shape[2:]}) > 1:
            size = "x".join(map(str, images.shape[2:]))
            raise ValueError(
                f"dataset.size={self.size} takes the central square of samples of {size}, and not of the pictures "
                "that are their conditions: set it to null, or cut both to squares yourself"
            )
        given = given if given is None or len(positions) == len(given) else given[positions]
        return Split(resize(images, self.size, self.channels), part.labels[positions], conditions=given)

    def _held_out(self, part: Part, table: Tensor) -> Split | None:
        """Returns the held-out images of the classes that are trained on; None if there are none."""
        known = torch.isin(part.labels, (table >= 0).nonzero().flatten())
        if others := int((~known).sum()):
            log.info("left out %d of %d held-out samples, of classes that are not trained on", others, len(known))
        if not known.any():
            return None
        split = self._split(part, known.nonzero().flatten())
        return replace(split, labels=table[split.labels])


def array_part(images: Tensor, labels: Tensor | None, conditions: Tensor | None = None) -> Part:
    """Returns the part of images (N, c, h, w) and labels (N,) in memory. Raises ValueError if their numbers differ."""
    split = Split(images, torch.zeros(len(images), dtype=torch.long) if labels is None else labels.long())

    def load(positions: Tensor) -> tuple[Tensor, Tensor]:
        return images if len(positions) == len(images) else images[positions], positions

    return Part(split.labels, load, conditions)


def source_function(source: type[Source]) -> Callable[..., Dataset]:
    """Returns the function that conf/dataset names: it takes the fields of the source and returns its dataset."""

    @functools.wraps(source, updated=())
    def build(**options: Any) -> Dataset:
        return source(**options).dataset()

    return build
