"""Layers with the official initialisation (igul222/improved_wgan_training, tflib/ops).

Weights are uniform with a chosen standard deviation, biases zero. "Glorot" is std = sqrt(2 / (fan_in + fan_out));
"he" here is the official code's variant for convolutions, sqrt(4 / (fan_in + fan_out)).
"""

import copy
import math
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def uniform(weight: Tensor, variance: float) -> None:
    bound = math.sqrt(3 * variance)
    nn.init.uniform_(weight, -bound, bound)


def linear(fan_in: int, fan_out: int, he: bool = False) -> nn.Linear:
    """A linear layer; `he` is sqrt(2 / fan_in) here, as before a ReLU in the official toy networks."""
    layer = nn.Linear(fan_in, fan_out)
    uniform(layer.weight, 2 / fan_in if he else 2 / (fan_in + fan_out))
    nn.init.zeros_(layer.bias)
    return layer


def _initialise_convolution(layer: nn.Conv2d | nn.ConvTranspose2d, fan_in: float, fan_out: float, he: bool) -> None:
    uniform(layer.weight, (4 if he else 2) / (fan_in + fan_out))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def conv(c_in: int, c_out: int, kernel: int, stride: int = 1, he: bool = True, bias: bool = True) -> nn.Conv2d:
    """A convolution that keeps the size (stride 1) or halves it, rounding up (stride 2)."""
    layer = nn.Conv2d(c_in, c_out, kernel, stride, padding=kernel // 2, bias=bias)
    _initialise_convolution(layer, c_in * kernel**2, c_out * kernel**2 / stride**2, he)
    return layer


def deconv(c_in: int, c_out: int, kernel: int = 5) -> nn.ConvTranspose2d:
    """The official transposed convolution that doubles the size."""
    layer = nn.ConvTranspose2d(c_in, c_out, kernel, stride=2, padding=kernel // 2, output_padding=1)
    _initialise_convolution(layer, c_in * kernel**2 / 4, c_out * kernel**2, he=True)
    return layer


def initialise(module: nn.Module, std: float | None) -> None:
    """Draws every weight anew with one standard deviation (`set_weights_stdev`); None: leaves them as they are."""
    for layer in module.modules():
        if std is not None and isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            uniform(layer.weight, std**2)


# The second derivative of torch's relu, leaky_relu and avg_pool2d is a tensor of zeros that the penalty's double
# backward would carry through the whole critic: 12 forward passes' worth of arithmetic a critic update instead of 10.
# Written as products with a constant and as a mean, they have the same values and gradients, and no such term.


def leaky_relu(x: Tensor, slope: float = 0.2) -> Tensor:
    return x * x.detach().sign().clamp(min=slope)


def relu(x: Tensor) -> Tensor:
    return leaky_relu(x, slope=0.0)


def gated(x: Tensor) -> Tensor:
    """sigmoid * tanh of the even and the odd channels, which are halved: PixelCNN's unit (gan_64x64.py)."""
    return x[:, ::2].sigmoid() * x[:, 1::2].tanh()


def shifted_softplus(x: Tensor) -> Tensor:
    """softplus(2x + 2) / 2 - 1 (Gulrajani et al. 2017, table 1): smooth, and like ELU."""
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
    """How many channels this activation takes for each that it gives."""
    if name not in ACTIVATIONS:
        raise ValueError(f"activation is {name!r}: choose {', '.join(ACTIVATIONS)}")
    return 2 if name == "gated" else 1


def mean_pool(x: Tensor) -> Tensor:
    """2x2 means: (n, c, 2h, 2w) to (n, c, h, w)."""
    n, c, h, w = x.shape
    return x.view(n, c, h // 2, 2, w // 2, 2).mean(dim=(3, 5))


# A convolution of k x k followed by 2x2 mean-pooling is one of (k + 1) x (k + 1) with stride 2, and one after
# nearest-neighbour upsampling a transposed one: 4/9 of the arithmetic for k = 3, and no tensor at the larger size.


def conv_mean_pool(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """mean_pool(layer(x)) for a layer that keeps the size: (n, c_in, 2h, 2w) to (n, c_out, h, w)."""
    return F.conv2d(x, _spread(layer.weight) / 4, layer.bias, stride=2, padding=layer.kernel_size[0] // 2)


def upsample_conv(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """layer(upsampled x) for a layer that keeps the size: (n, c_in, h, w) to (n, c_out, 2h, 2w)."""
    weight = _spread(layer.weight).flip(2, 3).transpose(0, 1)  # (c_in, c_out, k + 1, k + 1)
    return F.conv_transpose2d(x, weight, layer.bias, stride=2, padding=layer.kernel_size[0] // 2)


def _spread(weight: Tensor) -> Tensor:
    """The sum of a kernel (..., k, k) at its four places in (..., k + 1, k + 1)."""
    return sum(F.pad(weight, (i, 1 - i, j, 1 - j)) for i in (0, 1) for j in (0, 1))  # type: ignore[return-value]


class Norm(nn.Module):
    """Normalisation of (n, c, h, w) by name: batch, layer, instance or none; per-class affine where num_classes > 0.

    "layer" has per-sample statistics over c, h, w and a per-channel affine, as tflib/ops/layernorm.py: GroupNorm(1, c).
    """

    def __init__(self, kind: str, channels: int, num_classes: int = 0) -> None:
        super().__init__()
        affine = num_classes == 0
        match kind:
            case "batch":
                self.norm: nn.Module = nn.BatchNorm2d(channels, affine=affine)
            case "layer":
                self.norm = nn.GroupNorm(1, channels, affine=affine)
            case "instance":
                self.norm = nn.InstanceNorm2d(channels, affine=affine)
            case "none":
                self.norm = nn.Identity()
            case _:
                raise ValueError(f"norm is {kind!r}: choose batch, layer, instance or none")
        self.conditional = num_classes > 0 and kind != "none"
        if self.conditional:
            self.scale = nn.Embedding.from_pretrained(torch.ones(num_classes, channels), freeze=False)
            self.offset = nn.Embedding.from_pretrained(torch.zeros(num_classes, channels), freeze=False)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        x = self.norm(x)  # (n, c, h, w)
        if self.conditional:
            x = x * self.scale(y)[:, :, None, None] + self.offset(y)[:, :, None, None]
        return x


class Generator(nn.Module):
    """Maps latents z (n, nz) and labels y (n,) to samples (n, *shape). `num_classes` is 0 if it takes no labels.

    `vocabulary` and `class_names` are those of the data, of a generator that was loaded from a run.
    """

    nz: int
    num_classes: int
    vocabulary: str | None = None
    class_names: tuple[str, ...] = ()


class ScoredFeatures(nn.Module):
    """A critic: features (n, d), then a linear layer to (n, 1 + num_classes), f(x) and the logits of AC-GAN.

    Its `nn.Dropout(0)` are places where a penalty may drop units out; without one they do nothing.
    """

    output: nn.Linear

    def features(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.features(x))


def spectral_norm(module: nn.Module) -> None:
    """Divides every linear and convolution weight by its largest singular value (Miyato et al. 2018), in place."""
    for layer in list(module.modules()):
        if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d):
            nn.utils.parametrizations.spectral_norm(layer)


def couples_samples(module: nn.Module) -> bool:
    """Whether one sample's output depends on the others of its batch (BatchNorm with batch statistics)."""
    return any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in module.modules())


def use_batch_statistics(module: nn.Module) -> None:
    """Makes BatchNorm in eval mode use the batch's own statistics, as the official code does when it samples."""
    for m in module.modules():
        if isinstance(m, nn.modules.batchnorm._BatchNorm):
            m.running_mean = m.running_var = m.num_batches_tracked = None


Module = TypeVar("Module", bound=nn.Module)


def frozen(module: Module) -> Module:
    """Returns a copy in eval mode, with batch statistics and without gradients. The original stays as it was."""
    module = copy.deepcopy(module).requires_grad_(False).eval()
    use_batch_statistics(module)
    return module
