"""What a run shows of its training: norms, scores, samples and pictures."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wgangp.machine import distributed
from wgangp.machine.device import seed_step
from wgangp.machine.distributed import mean_over_ranks, sum_over_ranks
from wgangp.models.layers import frozen
from wgangp.penalties import interpolates
from wgangp.penalties.gradients import gradient_norm
from wgangp.pictures import plots

CHUNK = 100  # samples that share batch statistics, as in the official evaluation


def weight_gradient_norm(params: list[nn.Parameter]) -> Tensor:
    return torch.nn.utils.get_total_norm([p.grad for p in params if p.grad is not None])


class Observer:
    """Works on copies and with random numbers of its own: how often it is asked does not change the training."""

    def __init__(self, trainer: Any, metrics: Callable[[Callable[[int], Tensor]], dict[str, float]]) -> None:
        self.trainer, self.metrics = trainer, metrics

    @torch.no_grad()
    def measure(self, logs: dict[str, Tensor]) -> dict[str, Any]:
        """What the last step left, read from the device, and the critic's gradient norms (n,) at interpolates."""
        t, norms = self.trainer, self.gradient_norms()
        means = mean_over_ranks(torch.stack(list(logs.values())))
        values = dict(zip(logs, means, strict=True)) | {
            "critic/gradient_norms": norms,
            "critic/gradient_norm": norms.mean(),
            "critic/weight_gradient_norm": weight_gradient_norm(t.critic_params),
            "generator/weight_gradient_norm": weight_gradient_norm(t.generator_params),
        }
        if held_out := t.dataset.held_out(t.step, t.batch_size):
            real, y = held_out
            fake, critic = frozen(t.generator)(t.noise(len(real)), y), frozen(t.critic)
            values["validation/critic_loss"] = t.critic_terms(critic, real, fake, y, t.penalty.per_sample)[0]
            if (logits := critic(real)[:, 1:]).shape[1]:
                values["validation/accuracy"] = (logits.argmax(1) == y).float().mean()
        numbers = {name: v.item() if v.ndim == 0 else v.cpu() for name, v in values.items()}
        return numbers | {"penalty/weight": float(t.penalty.weight)}

    @torch.no_grad()
    def gradient_norms(self) -> Tensor:
        """|grad f| (n,) at interpolates of the last real batch, whatever the penalty."""
        t = self.trainer
        seed_step(t.seed, t.step, "measure")
        real, y = t.dataset.batch(t.step * t.n_critic - 1, t.batch_size)
        fake = frozen(t.generator)(t.noise(len(real)), y)
        return gradient_norm(frozen(t.critic), interpolates(real, fake))

    def evaluate(self) -> dict[str, float]:
        """The dataset's metrics of the averaged generator, as eval/NAME."""
        seed_step(self.trainer.seed, self.trainer.step, "evaluate")
        return {f"eval/{name}": value for name, value in self.metrics(self.generate).items()}

    @torch.no_grad()
    def generate(self, n: int) -> Tensor:
        """n samples (n, *) of the averaged generator, in chunks.

        Each rank makes some of the chunks, and all have them all.
        """
        t = self.trainer
        generator, samples = frozen(t.ema.module), torch.zeros(n, *t.dataset.shape, device=t.device)
        for i in range(0, n, CHUNK):
            k = min(CHUNK, n - i)
            z, y = t.noise(k), t.labels(k)
            if i // CHUNK % distributed.WORLD_SIZE == distributed.RANK:
                samples[i : i + k] = generator(z, y)
        return sum_over_ranks(samples)

    @torch.no_grad()
    def picture(self) -> np.ndarray:
        """(h, w, 3) uint8: fixed latents' images in a grid or lines of text, or points over the critic's level sets."""
        t = self.trainer
        seed_step(t.seed, 0, "picture")  # the same latents every time
        if len(t.dataset.shape) == 2:
            return plots.page(t.dataset.decode(self.generate(32)))
        if len(t.dataset.shape) == 3:
            z, y = t.noise(64), torch.arange(64, device=t.device) % max(1, t.dataset.num_classes)
            return plots.grid(frozen(t.ema.module)(z, y))
        real, _ = t.dataset.batch(0, 1000)
        return plots.scatter(self.generate(1000), real, t.critic)

    def status(self, logs: dict[str, Tensor], rate: float | None) -> str:
        """The progress bar's figures; reading them waits for the device, so at most once a second."""
        t = self.trainer
        distance, norm = logs["critic/wasserstein"].item(), self.gradient_norms().mean().item()
        return f"W {distance:.3f}, |grad| {norm:.3f}, {(rate or 0) * t.n_critic * t.batch_size:,.0f} img/s"
