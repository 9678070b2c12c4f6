"""What a dataset, a network, a loss, a penalty and an optimizer must be for the trainer.

Each function raises ValueError in one line if a part of one's own is something else.
"""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from wgangp.machine import distributed


def found(value: Any) -> str:
    """Returns what a part has returned, in words: (8, 2), or a dict."""
    if not isinstance(value, Tensor):
        return f"a {type(value).__name__}"
    return str(tuple(value.shape)) if value.ndim else "one number"


def check_batch_size(n: int) -> None:
    """Raises ValueError if the processes cannot share a batch of n samples equally."""
    if n % distributed.WORLD_SIZE:
        raise ValueError(f"batch_size={n}: give a multiple of {distributed.WORLD_SIZE}, the number of processes")


def check_content(content: str, sees_conditions: bool) -> None:
    """Raises ValueError if a content loss is asked for, and no sample belongs to what the generator is given."""
    if content != "none" and not sees_conditions:
        raise ValueError(
            f"content={content} compares G(z, y) with the sample that y belongs to: give the data a "
            "dataset.condition, and set conditional=true"
        )


def check_batch(made: Any, n: int, shape: Sequence[int], weights: torch.dtype) -> tuple[Tensor, Tensor]:
    """Returns n samples (n, *shape) and labels (n,) or conditions (n, *), in float32, or float64 if `weights` are."""
    if not (isinstance(made, tuple | list) and len(made) == 2 and all(isinstance(part, Tensor) for part in made)):
        raise ValueError(f"the dataset makes {found(made)}: make it return samples and labels, two tensors")
    x, y = made
    if x.shape != (n, *shape):
        raise ValueError(f"the dataset makes samples {found(x)}: make them {(n, *shape)}, batch_size and its shape")
    dtype = torch.promote_types(weights, torch.float32)
    for part, tensor in {"samples": x, "conditions": y if y.is_floating_point() else x}.items():
        if tensor.dtype not in (torch.float32, dtype):
            raise ValueError(f"the dataset makes {part} of {tensor.dtype}: make them {dtype}")
    return x, y


def check_fakes(fake: Any, real: Tensor) -> Tensor:
    """Returns generated samples of the reals' shape (n, *) and dtype."""
    if not isinstance(fake, Tensor) or fake.shape != real.shape:
        raise ValueError(f"the generator returns {found(fake)} for {len(real)} latents: make it return {found(real)}")
    return fake.to(real.dtype)


def check_scores(out: Any, n: int, classes: int) -> Tensor:
    """Returns the critic's output: a score of each sample, and beside it a logit of each class, or none."""
    if not isinstance(out, Tensor):
        raise ValueError(f"the critic returns {found(out)}: make it return a tensor, (n, 1)")
    if out.shape not in ((n, 1), (n, 1 + classes)):
        logits = f", or (n, {1 + classes}) with class logits" if classes else ""
        raise ValueError(
            f"the critic returns {found(out)} for {n} samples: make it return (n, 1){logits}; of a critic of patches "
            "take each sample's mean"
        )
    return out


def check_scalar(value: Any, part: str) -> Tensor:
    """Returns a loss, or a part of it: one number, as a tensor."""
    if not isinstance(value, Tensor) or value.ndim:
        raise ValueError(f"the {part} returns {found(value)}: make it return a scalar tensor, such as x.mean()")
    return value


def check_penalty(terms: Any) -> tuple[Tensor, Tensor]:
    """Returns a penalty and the mean gradient norm, two scalars."""
    if not (isinstance(terms, tuple | list) and len(terms) == 2):
        raise ValueError(f"the penalty's terms return {found(terms)}: make them the penalty and the mean gradient norm")
    return check_scalar(terms[0], "penalty"), check_scalar(terms[1], "penalty, as norm,")


def check_optimizer(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """Returns an optimizer whose step needs no function that computes the loss again."""
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    if closure is not None and closure.default is closure.empty:
        raise ValueError(f"{type(optimizer).__name__} computes the loss several times a step: choose another optimizer")
    return optimizer
