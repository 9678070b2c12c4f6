"""The optimizers' part of a step, and optimizers that torch lacks."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from wgangp.machine.distributed import average_gradients

Gradients = list[Tensor | None]  # of a network's weights


def trainable(network: nn.Module, name: str) -> list[nn.Parameter]:
    """Returns the weights that are trained: not those that a network has frozen by requires_grad=False.

    Raises ValueError if all are.
    """
    weights = [p for p in network.parameters() if p.requires_grad]
    if not weights:
        raise ValueError(
            f"the {name} has no weights with requires_grad=True: leave some, or keep all as they are by "
            f"{name}_optimizer.lr=0"
        )
    return weights


def gradients_of(loss: Tensor, params: list[nn.Parameter]) -> Gradients:
    """Returns the gradient of a scalar loss at each weight; None where the loss does not depend on it."""
    return list(torch.autograd.grad(loss, params, allow_unused=True))


def update(params: list[nn.Parameter], optimizer: torch.optim.Optimizer, gradients: Gradients) -> None:
    """One optimizer step with these gradients, averaged over the ranks."""
    for p, gradient in zip(params, gradients, strict=True):
        p.grad = gradient if gradient is None else in_layout_of(p, gradient)
    average_gradients(params)
    optimizer.step()


def in_layout_of(p: Tensor, gradient: Tensor) -> Tensor:
    """Returns the gradient in the memory layout of its weight: fused optimizers pair numbers by their place."""
    return gradient if gradient.stride() == p.stride() else torch.empty_like(p).copy_(gradient)


class RMSProp(torch.optim.Optimizer):
    """RMSProp as TensorFlow 1 computes it (without momentum): the optimizer of the official code's `wgan` mode.

        square = alpha * square + (1 - alpha) * g^2, from square = 1
        p = p - lr * g / sqrt(square + eps)

    torch.optim.RMSprop starts at square = 0 and adds eps to the root, so its first moves are much larger. All state is
    on the device of the weights and `lr` may be a tensor there, so that a CUDA graph can capture a step.
    """

    def __init__(self, params: Any, lr: float | Tensor, alpha: float, eps: float) -> None:
        if not 0 <= alpha < 1 or eps < 0:
            raise ValueError(f"RMSProp: alpha is {alpha}, eps {eps}: give 0 <= alpha < 1 and eps >= 0")
        super().__init__(params, {"lr": lr, "alpha": alpha, "eps": eps, "capturable": True})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update of all parameters that have a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if params:
                self._update(params, group["lr"], group["alpha"], group["eps"])
        return loss

    def _update(self, params: list[Tensor], lr: float | Tensor, alpha: float, eps: float) -> None:
        gradients = [p.grad for p in params if p.grad is not None]
        for p in params:
            if not self.state[p]:
                self.state[p]["square_avg"] = torch.ones_like(p)
        squares = [self.state[p]["square_avg"] for p in params]
        torch._foreach_mul_(squares, alpha)
        torch._foreach_addcmul_(squares, gradients, gradients, value=1 - alpha)
        roots = torch._foreach_sqrt(torch._foreach_add(squares, eps))
        moves = list(torch._foreach_div(gradients, list(roots)))
        torch._foreach_mul_(moves, lr)
        torch._foreach_sub_(params, moves)


def set_lr(optimizers: Iterable[torch.optim.Optimizer], scale: float) -> None:
    """Sets the learning rate of every group of weights to `scale` times its first one."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            if "initial_lr" not in group:  # read once: on CUDA the host would wait for a tensor
                group["initial_lr"] = float(group["lr"])
            lr = scale * group["initial_lr"]
            group["lr"] = group["lr"].fill_(lr) if isinstance(group["lr"], Tensor) else lr  # a graph reads the tensor


def lr_scale(decay: str, step: int, steps: int) -> float:
    """Returns what the learning rates are multiplied by: 1 (none), or falling to 0 (linear, gan_cifar_resnet.py).

    Raises KeyError for other names.
    """
    return {"none": 1.0, "linear": 1 - step / steps}[decay]
