"""The features of generated and of real images, each extracted only once."""

import hashlib
import os
import secrets
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from wgangp.data import Dataset
from wgangp.machine.bounded import load_bounded
from wgangp.metrics.classifier import sha256
from wgangp.metrics.extractors import Extractor
from wgangp.metrics.reference import Once, training_samples


class Features:
    """The features of generated images, and of the dataset's by the same extractor, each extracted at most once."""

    def __init__(self, extractor: Extractor, images: Tensor, dataset: Dataset, device: torch.device) -> None:
        self.extractor, self.dataset, self.device = extractor, dataset, device
        self.most = extractor.most if dataset.is_video else None
        self.layers = extractor(images, device)  # the images themselves are not kept: see `features`

    @property
    def fake(self) -> Tensor:
        """(n, d)"""
        return self.layers[0]

    @property
    def logits(self) -> Tensor:
        """(n, k), of the generated images."""
        return self.layers[1]

    @property
    def real(self) -> Tensor:
        """(m, d), of all training images, or of at most `most` clips."""
        key = self.extractor, self.device
        return _of_training(self.dataset, key, lambda: self._of(training_samples(self.dataset, self.most)))

    @property
    def held_out(self) -> Tensor | None:
        """(m, d), of all held-out images, or of at most `most` clips; None if there are none."""

        def compute() -> Tensor | None:
            found = self.dataset.reference("held_out", self.most)
            return None if found is None else self._of(found[0])

        return _of_held_out(self.dataset, (self.extractor, self.device), compute)

    def _of(self, images: Tensor) -> Tensor:
        return kept_features(images, self.extractor, self.device)


_of_samples: Once[Features] = Once()
_of_training: Once[Tensor] = Once()  # a run asks at each evaluation
_of_held_out: Once[Tensor | None] = Once()


def features(extractor: Extractor, images: Tensor, dataset: Dataset, device: torch.device) -> Features:
    """Returns the features of these images; metrics that ask for those of the same tensor share them.

    They are forgotten with the tensor, so with the evaluation that it was generated for.
    """
    return _of_samples(images, (extractor, device), lambda: Features(extractor, images, dataset, device))


def kept_features(images: Tensor, extractor: Extractor, device: torch.device) -> Tensor:
    """Returns the features (n, d) of real images, from a file in torch's cache if they were extracted before."""
    digest = hashlib.sha256(images.cpu().contiguous().numpy().data).hexdigest()[:16]
    name = f"{extractor.name}-{sha256(extractor.weights)[:16]}-{digest}.pt"
    file = Path(torch.hub.get_dir()).parent / "wgangp_features" / name
    with suppress(Exception):  # there is none yet, or it is damaged
        kept = load_bounded(file.read_bytes())
        if kept.ndim == 2 and len(kept) == len(images):
            return torch.as_tensor(kept)
    found = extractor(images, device)[0]
    partial = file.with_name(f"{name}.{secrets.token_hex(4)}.partial")
    with suppress(OSError, RuntimeError):  # no permission; of a full disk torch makes a RuntimeError
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.save(found, partial)
        os.replace(partial, file)
    with suppress(OSError):
        partial.unlink()
    return found
