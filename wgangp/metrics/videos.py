"""Scores of how clips move, by their pixels alone."""

from typing import ClassVar

import torch
from torch import Tensor

from wgangp.data import Dataset
from wgangp.metrics import Metric, Result
from wgangp.metrics.reference import random_rows, training_samples

STILL = 1e-6  # pixels a frame: less is no motion


def paths(clips: Tensor) -> Tensor:
    """Returns the centres of brightness (n, t, 2) of clips (n, c, t, h, w) uint8: y and x, in pixels."""
    centres = []
    for other in (4, 3):
        light = clips.sum(dim=(1, other), dtype=torch.float32)  # (n, t, pixels of one axis)
        at = torch.arange(light.shape[2], device=clips.device)
        centres.append((light * at).sum(2) / light.sum(2).clamp(min=1))
    return torch.stack(centres, dim=2)


class Motion(Metric):
    """`speed_difference` and `turn_difference`: how much the mean speed, and its mean change, are not the data's.

    Speed is the displacement of the centre of brightness from frame to frame, in pixels; turning is the change of this
    displacement. A difference is |generated / real - 1|: 1 for clips that stand still.
    """

    higher_is_better: ClassVar = {"speed_difference": False, "turn_difference": False}
    quick = True

    def __init__(self, samples: int) -> None:
        self.samples = samples

    def suits(self, dataset: Dataset) -> bool:
        return dataset.is_video and dataset.shape[1] > 2

    def __call__(self, samples: Tensor, asked: Tensor | None, dataset: Dataset, device: torch.device) -> Result:
        generated = random_rows(samples, self.samples)
        fake, real = measured(generated), measured(training_samples(dataset, self.samples))
        if min(real.values()) < STILL:
            raise ValueError("motion: the centre of brightness of the data does not move, or never turns")
        values = {name: abs(fake[name] / real[name] - 1) for name in fake}
        details = {name: {"generated": fake[name], "real": real[name]} for name in fake}
        return Result(values, {"samples": len(generated), "reference": "training clips"}, details)


def measured(clips: Tensor) -> dict[str, float]:
    """Returns the mean speed and turning of clips, by the names of their scores."""
    way = paths(clips).diff(dim=1)  # (n, t - 1, 2)
    turn = way.diff(dim=1)
    return {"speed_difference": way.norm(dim=2).mean().item(), "turn_difference": turn.norm(dim=2).mean().item()}
