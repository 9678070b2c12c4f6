"""Scores of two-dimensional mixtures, whose modes are known."""

from collections.abc import Callable

import torch
from torch import Tensor


def coverage(generate: Callable[[int], Tensor], centres: Tensor, std: float, n: int) -> dict[str, float]:
    """Of n samples: `modes`, the centres (k, 2) with a sample within 3 std; `high_quality`, the share of such samples.

    As in VEEGAN (Srivastava et al. 2017) and PacGAN (Lin et al. 2018).
    """
    distance, mode = torch.cdist(generate(n), centres).min(dim=1)  # (n,), (n,)
    near = distance < 3 * std
    return {"modes": mode[near].unique().numel(), "high_quality": near.float().mean().item()}
