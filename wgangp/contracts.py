"""What a dataset, a network, a loss, a penalty and an optimizer must be for the trainer.

Each function raises ValueError in one line if a part of one's own is something else.
"""

import inspect
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from wgangp.data import Dataset
from wgangp.machine import distributed
from wgangp.models.layers import batch_norms

NO_SECOND = (  # what the critic has, and what to do
    "without the second derivative that the penalty needs: choose penalty=finite_difference, weight_clipping or "
    "spectral_norm, or write it in other operations"
)
MakeOptimizer = Callable[[list[nn.Parameter]], torch.optim.Optimizer]


def found(value: Any) -> str:
    """Returns what a part has returned, in words: (8, 2), or a dict."""
    if not isinstance(value, Tensor):
        return f"a {type(value).__name__}"
    return str(tuple(value.shape)) if value.ndim else "one number"


def check_batch_size(n: int) -> None:
    """Raises ValueError if the processes cannot share a batch of n samples equally."""
    if n % distributed.WORLD_SIZE:
        raise ValueError(f"batch_size={n}: give a multiple of {distributed.WORLD_SIZE}, the number of processes")


def check_content(content: str, sees_conditions: bool, critic_sees_y: bool) -> None:
    """Raises ValueError if a content loss is asked for, and no sample belongs to what the generator is given.

    Likewise if nothing tells the generator what its conditions mean.
    """
    if sees_conditions and content == "none" and not critic_sees_y:
        raise ValueError(
            "conditional=true, and the critic knows nothing of the conditions: make it take them as forward(x, y), "
            "with takes_condition = True, or set content=l1"
        )
    if content != "none" and not sees_conditions:
        raise ValueError(
            f"content={content} compares G(z, y) with the sample that y belongs to: give the data a "
            "dataset.condition, and set conditional=true"
        )


def check_data(dataset: Dataset, n: int, classes: int) -> None:
    """Raises ValueError if the first batch is not what the dataset promises, or its labels are not of `classes`."""
    fetched, names = dataset.fetch(0, n), dataset.class_names
    if not isinstance(fetched, tuple | list):
        raise ValueError(f"the dataset fetches {found(fetched)}: make fetch return a tuple of what make takes")
    x, y = check_batch(dataset.make(*fetched), n, dataset, classes, torch.float64)
    read = (x, y) if classes or dataset.conditions is not None else (x,)
    on_cpu = x.device.type == "cpu"  # elsewhere the first log step finds them, which waits for the device anyway
    if on_cpu and not all(part.isfinite().all() for part in read):
        raise ValueError("the dataset makes samples or conditions that are missing (NaN) or infinite: replace them")
    if classes and not 0 <= int(y.min()) <= int(y.max()) < classes:
        raise ValueError(
            f"the dataset makes labels from {int(y.min())} to {int(y.max())}, and num_classes is {classes}: number the "
            "classes from 0"
        )
    if classes and names and len(names) != classes:
        raise ValueError(f"the dataset has {len(names)} class_names, and num_classes is {classes}: name each class")


def check_batch(made: Any, n: int, dataset: Dataset, classes: int, weights: torch.dtype) -> tuple[Tensor, Tensor]:
    """Returns n samples (n, *shape) and labels (n,) or conditions (n, *), in float32, or float64 if `weights` are.

    Labels are looked at if the networks know of classes.
    """
    shape = dataset.shape
    if not (isinstance(made, tuple | list) and len(made) == 2 and all(isinstance(part, Tensor) for part in made)):
        raise ValueError(f"the dataset makes {found(made)}: make it return samples and labels, two tensors")
    x, y = made
    if x.shape != (n, *shape):
        raise ValueError(f"the dataset makes samples {found(x)}: make them {(n, *shape)}, batch_size and its shape")
    if classes and (y.shape != (n,) or y.dtype != torch.int64):
        raise ValueError(f"the dataset makes labels {found(y)} of {y.dtype}: make them {(n,)} of torch.int64")
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


def check_scores(out: Any, n: int, classes: int, sees_y: bool) -> Tensor:
    """Returns the critic's output: a score of each sample, and beside it a logit of each class.

    A critic that is given the labels needs no logits.
    """
    if not isinstance(out, Tensor):
        raise ValueError(f"the critic returns {found(out)}: make it return a tensor, (n, 1)")
    if classes and not sees_y and out.shape == (n, 1):
        raise ValueError(
            f"conditional=true, and the critic knows nothing of the labels: make it return {(n, 1 + classes)}, with "
            "class logits, or take y as forward(x, y), with takes_condition = True"
        )
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


def check_second_derivative(loss: Tensor) -> None:
    """Raises ValueError if a part of the loss's gradient is lost, where torch leaves it out without a word."""
    seen, nodes = set(), [loss.grad_fn]
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        if node.name().endswith("Error"):  # that of torch.autograd.function.once_differentiable
            raise ValueError(f"the critic has a function that is once_differentiable, {NO_SECOND}")
        seen.add(node)
        nodes += [after for after, _ in node.next_functions]


@contextmanager
def second_derivatives() -> Iterator[None]:
    """Errors of torch where an operation of the critic has no second derivative say what to do."""
    try:
        yield
    except RuntimeError as error:
        if not re.search(r"derivative for \S+_backward.* is not implemented", str(error)):
            raise
        attention = "attention has a second derivative within torch.nn.attention.sdpa_kernel(SDPBackend.MATH)"
        advice = f"; {attention}" if "attention" in str(error) else ""
        raise ValueError(f"{str(error).splitlines()[0]}: the critic has an operation {NO_SECOND}{advice}") from error


def check_sizes(**networks: nn.Module) -> None:
    """Raises ValueError if a layer has no size yet, as those of torch.nn.Lazy... before their first call."""
    for name, network in networks.items():
        if any(map(is_lazy, chain(network.parameters(), network.buffers()))):
            raise ValueError(f"the {name} has a layer of torch.nn.Lazy..., whose size is not known yet: give its size")


def check_scripted(generator: nn.Module, critic: nn.Module) -> None:
    """Raises ValueError if torch.jit has scripted what the trainer changes: the whole critic, or a BatchNorm."""
    if isinstance(critic, torch.jit.ScriptModule):
        raise ValueError("the critic is scripted as a whole by torch.jit: give the network itself, or script its parts")
    for name, network in (("generator", generator), ("critic", critic)):
        if any(isinstance(norm, torch.jit.ScriptModule) and norm.training for norm in batch_norms(network)):
            raise ValueError(f"the {name} has BatchNorm that torch.jit has scripted: leave it out of the scripted part")


def check_generator(generator: nn.Module, ema_decay: float) -> None:
    """Raises ValueError if its weights are of another precision than latents and samples, or it cannot be copied."""
    latents = torch.get_default_dtype()
    dtypes = {p.dtype for p in generator.parameters() if p.is_floating_point()}
    if len(dtypes) == 1 and dtypes != {latents}:  # one with several casts itself
        raise ValueError(
            f"the generator has weights of {dtypes.pop()}: make them {latents}, as latents are; precision=bfloat16 "
            "computes in bfloat16"
        )
    short = {p.dtype for p in generator.parameters() if p.dtype in (torch.bfloat16, torch.float16) and p.requires_grad}
    if short and ema_decay:
        raise ValueError(
            f"the generator has weights of {short.pop()}, too coarse for an average to follow: make them float32 and "
            "cast them in forward, or set ema_decay=0"
        )
    hooks = [type(hook) for module in generator.modules() for hook in module._forward_pre_hooks.values()]
    for hook in hooks:
        if hook.__module__ in ("torch.nn.utils.spectral_norm", "torch.nn.utils.weight_norm"):
            name = hook.__module__.rpartition(".")[2]
            raise ValueError(f"the generator has {hook.__module__}: take torch.nn.utils.parametrizations.{name}")


def make_optimizer(make: MakeOptimizer, weights: list[nn.Parameter], name: str) -> torch.optim.Optimizer:
    """Returns the optimizer of the network of this name, whose step needs no function that computes the loss again."""
    optimizer = make(weights)
    if optimizer.defaults.get("fused") and any(p.is_complex() for p in weights):
        raise ValueError(f"{name}_optimizer.fused=true takes no complex weights: set it to false")
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    if closure is not None and closure.default is closure.empty:
        raise ValueError(f"{type(optimizer).__name__} computes the loss several times a step: choose another optimizer")
    return optimizer
