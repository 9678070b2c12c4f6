"""A generator of pictures from pictures: a U-Net (Ronneberger et al. 2015) of the blocks of models/resnet.py.

The condition picture is enlarged to the sample's size. On the way down it is halved as in the other networks, and the
noise is added to the smallest maps. On the way up the maps of the same size from the way down are put beside.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wgangp import models
from wgangp.models import check_counts, ends_in_tanh
from wgangp.models.conditions import enlargement
from wgangp.models.layers import Norm, conv, linear
from wgangp.models.resampling import halvings, sizes_of, upsample
from wgangp.models.resnet import Down, Up


class Generator(models.Generator):
    """Maps z (n, nz) and condition pictures y (n, c', *size') to samples (n, c, *size).

    A size' is the sample's, or a whole fraction of it on each axis. `output` is tanh, none, or auto: tanh for images.
    """

    def __init__(
        self,
        *,
        shape: Sequence[int],
        num_classes: int,
        nz: int,
        width: int,
        max_width: int,
        norm: str,
        output: str,
        condition_shape: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        check_counts("generator", nz=nz, width=width, max_width=max_width)
        if condition_shape is None or len(condition_shape) < 2:
            raise ValueError(
                "generator=unet needs condition pictures: set dataset.condition to them and conditional=true, or take "
                "another generator"
            )
        self.nz, self.num_classes, self.tanh = nz, 0, ends_in_tanh(output, shape)
        self.condition_shape = condition_shape
        self.factors = enlargement(condition_shape, shape)
        sizes, same = sizes_of(shape, "unet"), (1,) * (len(shape) - 1)
        channels = [min(width * 2**k, max_width) for k in range(len(sizes))]  # from the sample's size down
        self.input = conv(condition_shape[0], channels[0], 3, same, he=False)
        self.downs = nn.ModuleList(
            Down(*c, norm, True, factors) for c, factors in zip(pairwise(channels), halvings(sizes), strict=True)
        )
        self.noise = linear(nz, channels[-1] * math.prod(sizes[0]))
        inputs = [channels[-1], *(2 * c for c in channels[-2:0:-1])]  # but the first have maps beside them
        self.ups = nn.ModuleList(
            Up(a, b, *s, norm, True) for a, b, s in zip(inputs, channels[-2::-1], pairwise(sizes), strict=True)
        )
        self.norm = Norm(norm, 2 * channels[0], axes=len(same))
        self.output = conv(2 * channels[0], shape[0], 3, same, he=False)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        if y is None:
            raise ValueError("this generator is conditional: give it pictures y of shape (n, c, *size)")
        x: Tensor = self.input(upsample(y, self.factors))
        passed = []
        for down in self.downs:
            passed.append(x)
            x = down(x)
        x = x + self.noise(z).view_as(x)
        for up in self.ups:
            x = torch.cat([up(x), passed.pop()], dim=1)
        x = self.output(F.relu(self.norm(x)))  # (n, *shape)
        return x.tanh() if self.tanh else x
