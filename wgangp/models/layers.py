"""Layers with the official initialisation (igul222/improved_wgan_training, tflib/ops).

Weights are uniform with a chosen standard deviation, biases are zero. "Glorot" is std = sqrt(2 / (fan_in + fan_out));
"he" for convolutions is the official code's variant, sqrt(4 / (fan_in + fan_out)).
"""

import copy
import math
import re
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wgangp.models.resampling import Convolution, Size

Module = TypeVar("Module", bound=nn.Module)
Affine = Callable[[int, float], nn.Module]  # (channels, first value) to a map of conditions to a norm's scale or offset
Transposed = nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d
CONVOLUTIONS: tuple[Callable[..., Convolution], ...] = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED: tuple[Callable[..., Transposed], ...] = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)  # the first for vectors
INSTANCE_NORMS = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)


def uniform(weight: Tensor, variance: float) -> None:
    """Draws a weight from the uniform distribution of mean 0 and this variance, in place."""
    bound = math.sqrt(3 * variance)
    nn.init.uniform_(weight, -bound, bound)


def linear(fan_in: int, fan_out: int, he: bool = False) -> nn.Linear:
    """Returns a linear layer; `he` is std = sqrt(2 / fan_in) here, as before a ReLU in the official toy networks."""
    layer = nn.Linear(fan_in, fan_out)
    uniform(layer.weight, 2 / fan_in if he else 2 / (fan_in + fan_out))
    nn.init.zeros_(layer.bias)
    return layer


class Head(nn.Linear):
    """The last layer of a critic, (n, fan_in) to (n, 1 + num_classes), divided by `divisor`.

    The row of the score and the rows of AC-GAN's logits are initialised as two linear layers, as in the official code.
    With the `embedding` of a condition y, to (n, fan_in), <embedding(y), x> is added (Miyato and Koyama 2018).
    """

    def __init__(self, fan_in: int, num_classes: int, divisor: float = 1.0, embedding: nn.Module | None = None) -> None:
        super().__init__(fan_in, 1 + num_classes)
        self.divisor, self.embedding = divisor, embedding
        weight = self.weight.detach()
        uniform(weight[:1], 2 / (fan_in + 1))
        uniform(weight[1:], 2 / (fan_in + num_classes))
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        out = super().forward(x)
        if self.embedding is not None:
            out = out + (self.embedding(y) * x).sum(dim=1, keepdim=True)
        return out if self.divisor == 1 else out / self.divisor


def conv(c_in: int, c_out: int, kernel: int, stride: Size = (1, 1), he: bool = True, bias: bool = True) -> Convolution:
    """Returns a convolution of as many axes as strides: it keeps a length (stride 1) or halves it, rounding up (2)."""
    layer = CONVOLUTIONS[len(stride) - 1](c_in, c_out, kernel, stride, padding=kernel // 2, bias=bias)
    taps = kernel ** len(stride)
    _initialise_convolution(layer, c_in * taps, c_out * taps / math.prod(stride), he)
    return layer


def deconv(c_in: int, c_out: int, kernel: int = 5, stride: Size = (2, 2)) -> Transposed:
    """Returns the official transposed convolution: it doubles a length (stride 2) or keeps it (stride 1)."""
    rest = tuple(s - 1 for s in stride)
    layer = TRANSPOSED[len(stride) - 1](c_in, c_out, kernel, stride, padding=kernel // 2, output_padding=rest)
    taps = kernel ** len(stride)
    _initialise_convolution(layer, c_in * taps / math.prod(stride), c_out * taps, he=True)
    return layer


def _initialise_convolution(layer: nn.modules.conv._ConvNd, fan_in: float, fan_out: float, he: bool) -> None:
    uniform(layer.weight, (4 if he else 2) / (fan_in + fan_out))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def initialise(module: nn.Module, std: float | None) -> None:
    """Draws every weight again with one standard deviation (`set_weights_stdev`); None keeps the weights."""
    if std is not None and not (isinstance(std, int | float) and std > 0):
        raise ValueError(f"std={std}: give a number above 0, or null for the official initialisation")
    for layer in module.modules():
        if std is not None and isinstance(layer, nn.Linear | nn.modules.conv._ConvNd):
            uniform(layer.weight, std**2)


# The second derivative of torch's relu, leaky_relu and avg_pool2d is a tensor of zeros, which the penalty's double
# backward would carry through the whole critic: a critic update would cost 12 forward passes instead of 10.
# As products with a constant and as a mean they have the same values and gradients, without that tensor.


def leaky_relu(x: Tensor, slope: float = 0.2) -> Tensor:
    return x * x.detach().sign().clamp(min=slope)


def relu(x: Tensor) -> Tensor:
    return leaky_relu(x, slope=0.0)


def gated(x: Tensor) -> Tensor:
    """sigmoid of the even channels times tanh of the odd ones: half as many channels (gan_64x64.py, PixelCNN)."""
    return x[:, ::2].sigmoid() * x[:, 1::2].tanh()


def shifted_softplus(x: Tensor) -> Tensor:
    """softplus(2x + 2) / 2 - 1: a smooth function close to ELU (Gulrajani et al. 2017, table 1)."""
    return F.softplus(2 * x + 2) / 2 - 1


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": relu,
    "leaky_relu": leaky_relu,
    "tanh": torch.tanh,
    "shifted_softplus": shifted_softplus,
    "gated": gated,
}


def activate(x: Tensor, name: str) -> Tensor:
    return ACTIVATIONS[name](x)


def channels_of(name: str) -> int:
    """Returns the input channels per output channel of an activation. Raises ValueError if its name is unknown."""
    if name not in ACTIVATIONS:
        raise ValueError(f"activation is {name!r}: choose {', '.join(ACTIVATIONS)}")
    return 2 if name == "gated" else 1


class Norm(nn.Module):
    """Normalisation of x (n, c, *size) by name: batch, layer, instance or none; with an affine map of each channel.

    `affine` makes the modules of scale and offset of a condition; None is one map for all samples.
    `axes` is the number of axes beside the channels, 0 for vectors (n, c). "layer" has statistics over (c, *size) of
    each sample and an affine per channel: GroupNorm(1, c), as in tflib/ops/layernorm.py. In training the batch is split
    into `groups` parts; each has its own batch statistics. Raises ValueError if the name is unknown.
    """

    def __init__(
        self,
        kind: str,
        channels: int,
        affine: Affine | None = None,
        groups: int = 1,
        axes: int = 2,
    ) -> None:
        super().__init__()
        self.groups, own = groups, affine is None
        match kind:
            case "batch":
                self.norm: nn.Module = BATCH_NORMS[axes](channels, affine=own)
            case "layer":
                self.norm = nn.GroupNorm(1, channels, affine=own)
            case "instance" if axes > 0:
                self.norm = INSTANCE_NORMS[axes - 1](channels, affine=own)
            case "none":
                self.norm = nn.Identity()
            case _:
                raise ValueError(f"norm is {kind!r}: choose batch, layer, none, or instance for data with axes")
        self.conditional = kind != "none" and affine is not None
        if affine is not None and kind != "none":
            self.scale, self.offset = affine(channels, 1.0), affine(channels, 0.0)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        parts = x.chunk(self.groups) if self.training else (x,)
        x = torch.cat([self.norm(part) for part in parts]) if len(parts) > 1 else self.norm(x)  # (n, c, *size)
        if self.conditional:
            shape = *x.shape[:2], *[1] * (x.ndim - 2)
            x = x * self.scale(y).view(shape) + self.offset(y).view(shape)
        return x


def spectral_norm(module: nn.Module) -> None:
    """Divides every weight by its largest singular value (Miyato et al. 2018), in place.

    A weight is a parameter of two or more axes whose name has "weight" in it. This covers linear layers, convolutions,
    and the stacked matrices of recurrent and attention layers; biases, position codes and norms stay as they are.
    """
    for layer in list(module.modules()):
        for name, parameter in list(layer.named_parameters(recurse=False)):
            if "weight" in name and parameter.ndim > 1:
                nn.utils.parametrizations.spectral_norm(layer, name)


def batch_norms(module: nn.Module) -> list[Any]:
    """Returns the BatchNorm layers of a module, also those that torch.jit has scripted or traced."""
    return [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) or is_scripted_norm(m)]


def is_scripted_norm(module: nn.Module) -> bool:
    name = getattr(module, "original_name", None)
    is_norm = isinstance(name, str) and re.fullmatch(r"(?!Frozen)\w*BatchNorm[123]d|SyncBatchNorm", name)
    return bool(is_norm) and hasattr(module, "running_mean")


def couples_samples(module: nn.Module) -> bool:
    """Whether a sample's output depends on the rest of its batch, as the module is now."""
    return any(norm.training or norm.running_mean is None for norm in batch_norms(module))


def use_batch_statistics(module: nn.Module) -> None:
    """Makes BatchNorm that is in training use the batch's own statistics in eval mode, as the official code samples."""
    for norm in batch_norms(module):
        if norm.training:
            norm.running_mean = norm.running_var = norm.num_batches_tracked = None


def frozen(module: Module) -> Module:
    """Returns a copy in eval mode, with batch statistics and without gradients; the original stays as it is."""
    module = copy.deepcopy(module).requires_grad_(False)
    use_batch_statistics(module)
    return module.eval()
