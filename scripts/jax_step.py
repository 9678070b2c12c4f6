"""The step of scripts/benchmark.py in JAX: the same networks, sizes and updates, the whole step under jit.

For networks of points (generator=mlp critic=mlp) with the WGAN-GP loss and Adam. JAX comes with the extra `bench`.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from torch import nn

from wgangp.trainer import Trainer

Layers = list[tuple[jax.Array, jax.Array]]  # weights (a, b) and biases (b,)


def layers_of(network: Any) -> Layers:
    linear: list[nn.Linear] = [*network.hidden.layers, network.output]
    return [(jnp.array(m.weight.detach().T.cpu().numpy()), jnp.array(m.bias.detach().cpu().numpy())) for m in linear]


def mlp(layers: Layers, x: jax.Array) -> jax.Array:
    for w, b in layers[:-1]:
        x = jax.nn.relu(x @ w + b)
    w, b = layers[-1]
    return x @ w + b


def critic_loss(critic: Layers, real: jax.Array, fake: jax.Array, alpha: jax.Array, weight: float) -> jax.Array:
    gradient = jax.grad(lambda x: mlp(critic, x).sum())(real + alpha * (fake - real))
    penalty = ((jnp.linalg.norm(gradient, axis=1) - 1) ** 2).mean()
    scores = mlp(critic, jnp.concatenate([real, fake]))[:, 0]
    n = len(real)
    return scores[n:].mean() - scores[:n].mean() + weight * penalty


def generator_loss(generator: Layers, critic: Layers, z: jax.Array) -> jax.Array:
    return -mlp(critic, mlp(generator, z)).mean()


class JaxStep:
    """A trainer's step with JAX, on copies of its weights."""

    def __init__(self, trainer: Trainer) -> None:
        self.t, self.waited, self.i = trainer, 0.0, 0
        self.real = jnp.array(trainer.dataset.batch(0, 100_000)[0].cpu().numpy())
        self.generator, self.critic = layers_of(trainer.generator), layers_of(trainer.critic)
        self.average = self.generator
        adam = [optax.adam(o.defaults["lr"], *o.defaults["betas"]) for o in trainer.optimizers]
        self.generator_state, self.critic_state = adam[0].init(self.generator), adam[1].init(self.critic)
        self.key = jax.random.PRNGKey(0)
        n, nz, weight = trainer.batch_size, trainer.generator.nz, trainer.penalty.weight

        def update_critic(generator: Layers, critic: Layers, state: Any, key: jax.Array, real: jax.Array) -> Any:
            a, b = jax.random.split(key)
            fake = mlp(generator, jax.random.normal(a, (n, nz)))
            gradients = jax.grad(critic_loss)(critic, real, fake, jax.random.uniform(b, (n, 1)), weight)
            moves, state = adam[1].update(gradients, state)
            return optax.apply_updates(critic, moves), state

        def step(generator: Layers, critic: Layers, average: Layers, states: Any, key: jax.Array, reals: Any) -> Any:
            key, *keys = jax.random.split(key, trainer.n_critic + 2)
            generator_state, critic_state = states
            for k, real in zip(keys, reals, strict=False):
                critic, critic_state = update_critic(generator, critic, critic_state, k, real)
            z = jax.random.normal(keys[-1], (trainer.generator_batch, nz))
            gradients = jax.grad(generator_loss)(generator, critic, z)
            moves, generator_state = adam[0].update(gradients, generator_state)
            generator = optax.apply_updates(generator, moves)
            d = trainer.ema.decay
            average = jax.tree.map(lambda a, p: d * a + (1 - d) * p, average, generator)
            return generator, critic, average, (generator_state, critic_state), key

        self._step, self._update = jax.jit(step), jax.jit(update_critic)

    def batch(self) -> jax.Array:
        n = self.t.batch_size
        self.i = (self.i + n) % (len(self.real) - n)
        return self.real[self.i : self.i + n]

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
