"""The exponential moving average of the generator's weights, from which samples are drawn."""

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

Module = TypeVar("Module", bound=nn.Module)


class EMA(Generic[Module]):
    """`module` follows the source: average = d * average + (1 - d) * weights, with d = min(decay, (1 + t) / (10 + t)).

    The warm-up lets short runs and first pictures forget the initialisation. Buffers are copied. decay 0: no average.
    """

    def __init__(self, source: Module, decay: float) -> None:
        self.module, self.decay = copy.deepcopy(source).requires_grad_(False), decay

    @torch.no_grad()
    def update(self, source: nn.Module, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.module.parameters()), list(source.parameters()), 1 - decay)
        for average, buffer in zip(self.module.buffers(), source.buffers(), strict=True):
            average.copy_(buffer)
