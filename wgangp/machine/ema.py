"""The exponential moving average of the generator's weights, from which samples are drawn."""

import copy
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

Module = TypeVar("Module", bound=nn.Module)


class EMA(Generic[Module]):
    """`module` follows the source: average = d * average + (1 - d) * weights, with d = min(decay, (1 + t) / (10 + t)).

    The warm-up lets short runs and first pictures forget the initialisation. Buffers are copied. decay 0: no average.
    """

    def __init__(self, source: Module, decay: float, device: torch.device) -> None:
        self.module, self.decay = copy.deepcopy(source).requires_grad_(False), decay
        self.share = torch.ones((), device=device)  # 1 - d, of the weights; a CUDA graph reads it

    def begin(self, step: int) -> None:
        """Called before each step with the number of those before."""
        self.share.fill_(1 - min(self.decay, (1 + step) / (10 + step)))

    @torch.no_grad()
    def update(self, source: nn.Module) -> None:
        averages: list[Tensor] = list(self.module.parameters())
        torch._foreach_lerp_(averages, list(source.parameters()), [self.share] * len(averages))
        for average, buffer in zip(self.module.buffers(), source.buffers(), strict=True):
            average.copy_(buffer)
