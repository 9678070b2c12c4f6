"""Gradients with respect to the input of a function of a batch, differentiable in the function's weights."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

ScoreFunction = Callable[[Tensor], Tensor]
WRAPPERS = ("torch.jit", "torch.nn.parallel", "torch.distributed")


def at_least_float32(x: Tensor) -> Tensor:
    """Returns x in float32 at least: sums and norms are accumulated so, whatever the network's precision."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def scores(critic: ScoreFunction, x: Tensor) -> Tensor:
    """Returns f(x) (n,) in float32, from a critic that returns (n,), (n, 1), (n, 1, 1, 1) or (n, 1 + num_classes).

    Raises ValueError if it returns something else.
    """
    out = critic(x)
    if not (isinstance(out, Tensor) and out.is_floating_point() and has_scores(out.shape, len(x))):
        found = f"{tuple(out.shape)} of {out.dtype}" if isinstance(out, Tensor) else f"a {type(out).__name__}"
        raise ValueError(
            f"the critic returns {found} for {len(x)} samples: make it return floats, (n,) or (n, 1); of a critic of "
            "patches take each sample's mean"
        )
    return at_least_float32(out if out.ndim == 1 else out.flatten(1)[:, 0])


def has_scores(shape: torch.Size, n: int) -> bool:
    return shape[:1] == (n,) and (len(shape) <= 2 or shape.numel() == n)


def gradient_norm(critic: ScoreFunction, x: Tensor, order: float = 2) -> Tensor:
    """Returns |grad_x f(x)| of each sample, (n,), over all its axes; differentiable in the critic's weights.

    `order` is the norm's, from 1 to inf. The norm's subgradient at a zero gradient is zero: a constant critic gives no
    NaN, nor does one that is cut off from x, as by detach(). torch.func differentiates the critic, so an
    autograd.Function of one's own needs `setup_context`, and torch.utils.checkpoint cannot be used in it.
    """
    differentiate = grad_of_wrapped if is_wrapped(critic) else torch.func.grad
    grad: Tensor = differentiate(lambda x: scores(critic, x).sum())(x)  # (n, *shape)
    norm: Tensor = torch.linalg.vector_norm(at_least_float32(grad).flatten(1), ord=order, dim=1)  # (n,)
    return norm


def is_wrapped(critic: ScoreFunction) -> bool:
    """Whether a part of the critic is a wrapper of torch.jit or for several processes, such as DistributedDataParallel.

    torch.func cannot differentiate these: scripted code silently loses the gradient in its weights.
    """
    if torch.compiler.is_compiling() or not isinstance(critic, nn.Module):
        return False
    return any(type(module).__module__.startswith(WRAPPERS) for module in critic.modules())


def grad_of_wrapped(function: ScoreFunction) -> Callable[[Tensor], Tensor]:
    """As torch.func.grad, by torch.autograd.grad: it cannot be compiled, and suits every critic."""

    def grad(x: Tensor) -> Tensor:
        x = x.detach().requires_grad_()
        found: Tensor | None
        (found,) = torch.autograd.grad(function(x), x, create_graph=True, allow_unused=True)
        return torch.zeros_like(x) if found is None else found

    return grad


def jacobian_norm(function: ScoreFunction, x: Tensor) -> Tensor:
    """Estimates the Frobenius norm of each sample's Jacobian, (n,), of a function that returns (n, k) or (n, *).

    The estimate is sqrt(k) |grad <v, f(x)>| for a v drawn uniformly from the unit sphere. Its square has the mean
    |J|_F^2 (Hoffman et al. 2019, section 2.3).
    """
    with torch.no_grad():
        v = torch.nn.functional.normalize(torch.randn_like(function(x).flatten(1)), dim=1)  # (n, k)
    scale: float = v.shape[1] ** 0.5
    return scale * gradient_norm(lambda x: (v * function(x).flatten(1)).sum(1), x)
