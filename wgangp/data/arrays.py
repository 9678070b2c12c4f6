"""Arrays of numbers that are no pictures: vectors, signals, fields and volumes, scaled by channel or column."""

import torch
from torch import Tensor

from wgangp.data.labels import listed
from wgangp.data.splits import Labelled, Split
from wgangp.data.statistics import Limits
from wgangp.units import Conditions, Units

CHUNK = 1000  # samples that are in float64 at once
NOUNS = {1: "vectors", 2: "signals", 3: "fields", 4: "volumes"}  # by the number of axes of a sample


class Arrays(Labelled):
    """Batches are gathered and scaled on the device, as `units` say: (d,) of vectors, else (c, *spatial).

    `limits` are those of the training samples. Scores take samples in the data's own units.
    """

    units: Units

    def __init__(
        self,
        train: Split,
        held_out: Split | None,
        num_classes: int,
        *,
        class_names: tuple[str, ...],
        units: Units,
        limits: Limits,
        seed: int,
        device: torch.device,
    ) -> None:
        super().__init__(train, held_out, num_classes, class_names=class_names, seed=seed, device=device)
        self.limits, self.noun = limits, NOUNS[len(self.shape)]
        self.use(units)

    def use(self, units: Units | None, conditions: Conditions | None = None) -> None:
        super().use(units, conditions)
        if units is not None:
            self.units, self.placed, self.bounded = units, units.to(self.device), units.bounded

    def scale(self, x: Tensor) -> Tensor:
        return self.placed.apply(x)

    def to_metric_input(self, x: Tensor) -> Tensor:
        return torch.cat([self.units.invert(part) for part in x.split(CHUNK)])

    def reference(self, part: str = "train", n: int | None = None, seed: int = 0) -> tuple[Tensor, Tensor] | None:
        found = super().reference(part, n, seed)
        return None if found is None else (found[0].to(getattr(torch, self.units.dtype)), found[1])

    def describe(self) -> str:
        low, high = self.limits.low.min().item(), self.limits.high.max().item()
        size = "x".join(map(str, self.shape))
        if len(self.shape) == 1:
            size += " columns" if self.shape[0] > 1 else " column"
        names = f" ({listed(self.units.names)})" if self.units.names else ""
        numbers = f"from {low:.6g} to {high:.6g}, scaling {self.units.scaling}"
        return f"{len(self):,} {self.noun} of {size}{names}, {numbers}{self._details()}"
