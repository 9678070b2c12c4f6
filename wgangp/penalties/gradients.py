"""Gradients with respect to the input of a function of a batch, differentiable in the function's weights."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from wgangp.models import ConditionedCritic

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
    grad = gradient_of(lambda x: scores(critic, x).sum(), x, critic)  # (n, *shape)
    norm: Tensor = torch.linalg.vector_norm(at_least_float32(grad).flatten(1), ord=order, dim=1)  # (n,)
    return norm


def jacobian_norm(function: ScoreFunction, x: Tensor) -> Tensor:
    """Estimates the Frobenius norm of each sample's Jacobian, (n,), of a function that returns (n, k) or (n, *).

    The estimate is sqrt(k) |grad <v, f(x)>| for a v drawn uniformly from the unit sphere. Its square has the mean
    |J|_F^2 (Hoffman et al. 2019, section 2.3).
    """
    with torch.no_grad():
        v = torch.nn.functional.normalize(torch.randn_like(function(x).flatten(1)), dim=1)  # (n, k)
    grad = gradient_of(lambda x: at_least_float32((v * function(x).flatten(1)).sum(1)).sum(), x, function)
    scale: float = v.shape[1] ** 0.5
    norm: Tensor = torch.linalg.vector_norm(at_least_float32(grad).flatten(1), dim=1)
    return scale * norm


def gradient_of(function: Callable[[Tensor], Tensor], x: Tensor, network: ScoreFunction) -> Tensor:
    """Returns the gradient at x, as x, of a function that gives one number by `network`; differentiable in both."""
    if not is_wrapped(network):
        grad: Tensor = torch.func.grad(function)(x)
        return grad
    with torch.enable_grad():  # as torch.func does it, but it cannot be compiled
        x = x.view_as(x) if x.requires_grad else x.detach().requires_grad_()
        found: Tensor | None
        (found,) = torch.autograd.grad(function(x), x, create_graph=True, allow_unused=True)
    return torch.zeros_like(x) if found is None else found


def is_wrapped(network: object) -> bool:
    """Whether a part of a network is a wrapper of torch.jit or for several processes, as DistributedDataParallel.

    torch.func cannot differentiate these: scripted code silently loses the gradient in its weights.
    """
    module = network.critic if isinstance(network, ConditionedCritic) else network
    if torch.compiler.is_compiling() or not isinstance(module, nn.Module):
        return False
    return any(type(part).__module__.startswith(WRAPPERS) for part in module.modules())
