"""The textbook step that scripts/benchmark.py compares with: what most public programs do.

Three critic passes, autograd.grad(create_graph=True), backward, Adam, a DataLoader, torch's own layers.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from unittest.mock import patch

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from wgangp.data.images import Images
from wgangp.models import layers, mlp, resnet
from wgangp.trainer import Trainer

STOCK = {
    "relu": F.relu,
    "leaky_relu": partial(F.leaky_relu, negative_slope=0.2),
    "mean_pool": F.avg_pool2d,
    "conv_mean_pool": lambda layer, x, factors: F.avg_pool2d(layer(x), factors),
    "upsample_conv": lambda layer, x, factors: layer(F.interpolate(x, scale_factor=factors, mode="nearest")),
}


@contextmanager
def stock_layers() -> Iterator[None]:
    """The networks with torch's own activations and pooling, and with resampling apart from convolutions."""
    with ExitStack() as stack:
        for family in (mlp, resnet):
            for name in STOCK.keys() & vars(family).keys():
                stack.enter_context(patch.object(family, name, STOCK[name]))
        stack.enter_context(patch.dict(layers.ACTIVATIONS, {n: STOCK[n] for n in ("relu", "leaky_relu")}))
        yield


def normalised(x: Tensor) -> Tensor:
    return x.float().div(255).sub(0.5).div(0.5) if x.dtype == torch.uint8 else x


class Decoded(Dataset):
    """What a torchvision dataset with ToTensor and Normalize hands to a DataLoader."""

    def __init__(self, trainer: Trainer) -> None:
        data = trainer.dataset
        self.images = (data.train.samples if isinstance(data, Images) else data.batch(0, 100_000)[0]).cpu()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> Tensor:
        return normalised(self.images[i])


class Textbook:
    """The common way to write it, on the networks of a trainer."""

    def __init__(self, trainer: Trainer) -> None:
        self.t, self.waited = trainer, 0.0
        self.generator_optimizer, self.critic_optimizer = (
            torch.optim.Adam(network.parameters(), lr=ours.defaults["lr"], betas=ours.defaults["betas"])
            for network, ours in zip((trainer.generator, trainer.critic), trainer.optimizers, strict=True)
        )
        loader = DataLoader(Decoded(trainer), trainer.batch_size, shuffle=True, drop_last=True)
        self.batches = (batch for _ in iter(int, 1) for batch in loader)

    def update_critic(self) -> None:
        started = time.perf_counter()
        real = next(self.batches).to(self.t.device)
        self.waited += time.perf_counter() - started
        with stock_layers():
            fake = self.t.generator(self.t.noise(len(real))).detach()
            alpha = torch.rand(len(real), *[1] * (real.ndim - 1), device=real.device)
            x = (alpha * real + (1 - alpha) * fake).requires_grad_()
            (grad,) = torch.autograd.grad(self.t.critic(x).sum(), x, create_graph=True)
            penalty = self.t.penalty.weight * ((grad.flatten(1).norm(2, dim=1) - 1) ** 2).mean()
            loss = self.t.critic(fake).mean() - self.t.critic(real).mean() + penalty
            self.critic_optimizer.zero_grad()
            loss.backward()
            self.critic_optimizer.step()

    def train_step(self) -> None:
        for _ in range(self.t.n_critic):
            self.update_critic()
        with stock_layers():
            loss = -self.t.critic(self.t.generator(self.t.noise(self.t.generator_batch_size))).mean()
            self.generator_optimizer.zero_grad()
            loss.backward()
            self.generator_optimizer.step()
