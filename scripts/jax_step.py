"""The step of scripts/benchmark.py in JAX: the same networks, sizes and updates, the whole step under jit.

For the networks mlp (of points) and dcgan (of images) with the WGAN-GP loss and Adam, in float32. JAX comes with the
extra `bench`.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from jax import lax
from textbook import Decoded, normalised
from torch import Tensor, nn

from wgangp.models import dcgan, mlp
from wgangp.models.layers import frozen
from wgangp.trainer import Trainer

Weights = dict[str, jax.Array]  # by the names of the torch network
Network = Callable[[Weights, jax.Array], jax.Array]


def weights_of(network: nn.Module) -> Weights:
    return {name: jnp.array(p.detach().cpu().numpy()) for name, p in network.named_parameters()}


def forward_of(network: nn.Module, x: Tensor) -> Network:
    """The forward pass of a torch network. Raises ValueError if it has none here, or another result for x."""
    match network:
        case mlp.Generator() | mlp.Critic():
            forward = forward_of_mlp(network)
        case dcgan.Generator():
            forward = forward_of_generator(network)
        case dcgan.Critic():
            forward = forward_of_critic(network)
        case _:
            raise ValueError("the step in JAX is for the networks mlp and dcgan")
    theirs = torch.tensor(np.array(forward(weights_of(network), x.cpu().numpy())))
    if not torch.allclose(theirs, frozen(network)(x).cpu(), atol=1e-2):
        raise ValueError("the step in JAX is for the networks mlp and dcgan with their defaults")
    return forward


def linear(w: Weights, layer: str, x: jax.Array) -> jax.Array:
    return x @ w[f"{layer}.weight"].T + w[f"{layer}.bias"]


def per_channel(w: jax.Array, x: jax.Array) -> jax.Array:
    return w.reshape(-1, *[1] * (x.ndim - 2))


def forward_of_mlp(network: mlp.Generator | mlp.Critic) -> Network:
    depth = len(network.hidden.layers)

    def forward(w: Weights, x: jax.Array) -> jax.Array:
        for i in range(depth):
            x = jax.nn.relu(linear(w, f"hidden.layers.{i}", x))
        return linear(w, "output", x)

    return forward


def batch_norm(w: Weights, norm: str, x: jax.Array) -> jax.Array:
    if f"{norm}.norm.weight" not in w:  # generator.norm=none
        return x
    axes = (0, *range(2, x.ndim))
    x = (x - x.mean(axes, keepdims=True)) * lax.rsqrt(x.var(axes, keepdims=True) + 1e-5)
    return x * per_channel(w[f"{norm}.norm.weight"], x) + per_channel(w[f"{norm}.norm.bias"], x)


def forward_of_generator(network: dcgan.Generator) -> Network:
    """A transposed convolution is one of a map with zeros between its pixels, by the turned kernel."""
    units, sizes, last = network.units, network.sizes, len(network.deconvs) - 1

    def forward(w: Weights, z: jax.Array) -> jax.Array:
        x = jax.nn.relu(batch_norm(w, "norms.0", linear(w, "input", z).reshape(len(z), units, -1)))
        x = x.reshape(len(z), -1, *sizes[0])
        for i, (height, width) in enumerate(sizes[1:]):
            kernel = jnp.flip(w[f"deconvs.{i}.weight"], (2, 3)).swapaxes(0, 1)
            x = lax.conv_general_dilated(x, kernel, (1, 1), [(2, 3)] * 2, lhs_dilation=(2, 2))
            x = (x + per_channel(w[f"deconvs.{i}.bias"], x))[:, :, :height, :width]
            x = jax.nn.relu(batch_norm(w, f"norms.{i + 1}", x)) if i < last else jnp.tanh(x)
        return x

    return forward


def forward_of_critic(network: dcgan.Critic) -> Network:
    depth = len(network.convs)

    def forward(w: Weights, x: jax.Array) -> jax.Array:
        for i in range(depth):
            x = lax.conv_general_dilated(x, w[f"convs.{i}.weight"], (2, 2), [(2, 2)] * 2)
            x = jax.nn.leaky_relu(x + per_channel(w[f"convs.{i}.bias"], x), 0.2)
        return linear(w, "output", x.reshape(len(x), -1))

    return forward


def critic_loss(
    f: Network, critic: Weights, real: jax.Array, fake: jax.Array, alpha: jax.Array, weight: float
) -> jax.Array:
    gradient = jax.grad(lambda x: f(critic, x).sum())(real + alpha * (fake - real))
    penalty = ((jnp.linalg.norm(gradient.reshape(len(real), -1), axis=1) - 1) ** 2).mean()
    scores = f(critic, jnp.concatenate([real, fake]))[:, 0]
    n = len(real)
    return scores[n:].mean() - scores[:n].mean() + weight * penalty


class JaxStep:
    """A trainer's step with JAX, on copies of its weights."""

    def __init__(self, trainer: Trainer) -> None:
        self.t, self.waited, self.i, self.random = trainer, 0.0, 0, np.random.default_rng(0)
        self.real = normalised(Decoded(trainer).images).numpy()
        z, x = torch.randn(8, trainer.generator.nz), torch.tensor(self.real[:8])
        g, f = (
            forward_of(network, given.to(trainer.device))
            for network, given in ((trainer.generator, z), (trainer.critic, x))
        )
        self.generator, self.critic = weights_of(trainer.generator), weights_of(trainer.critic)
        self.average = self.generator
        adam = [optax.adam(o.defaults["lr"], *o.defaults["betas"]) for o in trainer.optimizers]
        self.generator_state, self.critic_state = adam[0].init(self.generator), adam[1].init(self.critic)
        self.key = jax.random.PRNGKey(0)
        n, nz, weight = trainer.batch_size, trainer.generator.nz, trainer.penalty.weight
        one_each = (n, *[1] * (self.real.ndim - 1))

        def update_critic(generator: Weights, critic: Weights, state: Any, key: jax.Array, real: jax.Array) -> Any:
            a, b = jax.random.split(key)
            fake = g(generator, jax.random.normal(a, (n, nz)))
            alpha = jax.random.uniform(b, one_each)
            gradients = jax.grad(critic_loss, argnums=1)(f, critic, real, fake, alpha, weight)
            moves, state = adam[1].update(gradients, state)
            return optax.apply_updates(critic, moves), state

        def step(generator: Weights, critic: Weights, average: Weights, states: Any, key: jax.Array, reals: Any) -> Any:
            key, *keys = jax.random.split(key, trainer.n_critic + 2)
            generator_state, critic_state = states
            for k, real in zip(keys, reals, strict=False):
                critic, critic_state = update_critic(generator, critic, critic_state, k, real)
            z = jax.random.normal(keys[-1], (trainer.generator_batch_size, nz))
            gradients = jax.grad(lambda w: -f(critic, g(w, z)).mean())(generator)
            moves, generator_state = adam[0].update(gradients, generator_state)
            generator = optax.apply_updates(generator, moves)
            d = trainer.ema.decay
            average = jax.tree.map(lambda a, p: d * a + (1 - d) * p, average, generator)
            return generator, critic, average, (generator_state, critic_state), key

        self._step, self._update = jax.jit(step), jax.jit(update_critic)

    def batch(self) -> np.ndarray:
        """The next of the data, which are shuffled again after each pass."""
        self.i += self.t.batch_size
        if self.i > len(self.real):
            self.random.shuffle(self.real)
            self.i = self.t.batch_size
        return self.real[self.i - self.t.batch_size : self.i]

    def update_critic(self) -> None:
        self.critic, self.critic_state = jax.block_until_ready(
            self._update(self.generator, self.critic, self.critic_state, self.key, self.batch())
        )

    def train_step(self) -> None:
        states = (self.generator_state, self.critic_state)
        reals = [self.batch() for _ in range(self.t.n_critic)]
        found = jax.block_until_ready(self._step(self.generator, self.critic, self.average, states, self.key, reals))
        self.generator, self.critic, self.average, states, self.key = found
        self.generator_state, self.critic_state = states

    @torch.no_grad()
    def copy_back(self) -> None:
        """Puts the generator's weights into the trainer's, which samples are drawn from."""
        for name, p in self.t.generator.named_parameters():
            p.copy_(torch.tensor(np.array(self.generator[name])))
