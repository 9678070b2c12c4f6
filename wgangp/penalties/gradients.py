"""Gradients with respect to the input of a function of a batch, differentiable in the function's weights."""

from collections.abc import Callable

import torch
from torch import Tensor

ScoreFunction = Callable[[Tensor], Tensor]


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
    NaN, nor does one that is cut off from x, as by detach().
    """

    if order < 1:
        raise ValueError(f"order={order}: give a number from 1 to inf")

    def total(x: Tensor) -> tuple[Tensor, Tensor]:
        f = scores(critic, x)
        return f.sum(), f  # the gradient of the sum has that of each sample

    grad, _ = gradient_of(total, x)  # (n, *shape)
    return norms_of(grad, order)


def jacobian_norm(function: ScoreFunction, x: Tensor) -> Tensor:
    """Estimates the Frobenius norm of each sample's Jacobian, (n,), of a function that returns (n, k) or (n, *).

    The estimate is sqrt(k) |grad <v, f(x)>| for a v drawn uniformly from the unit sphere. Its square has the mean
    |J|_F^2 (Hoffman et al. 2019, section 2.3).
    """
    with torch.no_grad():
        v = torch.nn.functional.normalize(torch.randn_like(function(x).flatten(1)), dim=1)  # (n, k)

    def projected(x: Tensor) -> tuple[Tensor, Tensor]:
        out = function(x)
        return at_least_float32((v * out.flatten(1)).sum(1)).sum(), out

    grad, _ = gradient_of(projected, x)
    scale: float = v.shape[1] ** 0.5
    return scale * norms_of(grad)


def norms_of(gradients: Tensor, order: float = 2) -> Tensor:
    """Returns the norm of each sample's gradient (n, *shape) over all its axes, (n,), in float32 at least."""
    norms: Tensor = torch.linalg.vector_norm(at_least_float32(gradients).flatten(1), ord=order, dim=1)
    return norms


def gradient_of(function: Callable[[Tensor], tuple[Tensor, Tensor]], x: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the gradient at x, as x, of the first result of function(x), a scalar, and its second result.

    Both are differentiable in x and in the weights, unless gradients are off.
    """
    if (
        torch.compiler.is_compiling()
        or torch._C._are_functorch_transforms_active()
        or torch.is_inference_mode_enabled()
    ):
        grad, output = torch.func.grad(function, has_aux=True)(x)
        return grad, output
    # Elsewhere not: torch.func silently loses the gradient in the weights of code that torch.jit has scripted, which
    # may be anywhere in a network, and does not know DistributedDataParallel.
    differentiable = torch.is_grad_enabled()
    x = x.clone() if x.is_inference() else x  # of no graph, as samples made under torch.inference_mode
    with torch.enable_grad():
        x = x.view_as(x) if x.requires_grad and differentiable else x.detach().requires_grad_()
        scalar, output = function(x)
        found = None
        if scalar.requires_grad:
            (found,) = torch.autograd.grad(scalar, x, create_graph=differentiable, allow_unused=True)
    return torch.zeros_like(x) if found is None else found, output if differentiable else output.detach()
