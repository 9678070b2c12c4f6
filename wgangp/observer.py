"""Measures a training run: gradient norms, validation loss, scores, samples and pictures."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wgangp import pictures
from wgangp.losses import content_loss
from wgangp.machine import distributed
from wgangp.machine.distributed import gather, local_shard, mean_over_ranks
from wgangp.machine.seeds import seed_step
from wgangp.models.layers import frozen
from wgangp.models.real_plus_noise import fakes
from wgangp.penalties import gradient_norm, interpolates
from wgangp.run_dir.logger import Values
from wgangp.sampling import draw_for_metrics, draw_samples, generate_chunk
from wgangp.trainer import Logs, Trainer

PAIRS = 32  # in a picture
CLIPS = 8  # rows of a filmstrip
Draw = Callable[[int], tuple[Any, Tensor | None]]  # of n samples as metrics take them, and what was asked for, if any
Metrics = Callable[[Draw], dict[str, float]]  # scores by name


def weight_gradient_norm(params: list[nn.Parameter]) -> Tensor:
    """Returns the L2 norm, a scalar, of the last update's gradients of all weights together."""
    return torch.nn.utils.get_total_norm([p.grad for p in params if p.grad is not None])


class Observer:
    """Works on copies and with random numbers of its own, so that looking does not change the training."""

    def __init__(self, trainer: Trainer, metrics: Metrics) -> None:
        self.trainer, self.metrics = trainer, metrics

    @torch.no_grad()
    def measure(self, logs: Logs) -> Values:
        """Returns the last step's logs and gradient norms, and the loss on held-out data, read from the device."""
        t, norms = self.trainer, self.gradient_norms()
        scalars = logs | self.validation()
        means = mean_over_ranks(torch.stack(list(scalars.values())))
        values = dict(zip(scalars, means, strict=True)) | {
            "critic/gradient_norms": norms,
            "critic/gradient_norm": norms.mean(),
            "critic/weight_gradient_norm": weight_gradient_norm(t.critic_params),
            "generator/weight_gradient_norm": weight_gradient_norm(t.generator_params),
        }
        numbers: Values = {name: v.item() if v.ndim == 0 else v.cpu() for name, v in values.items()}
        return numbers | {"penalty/weight": float(getattr(t.penalty, "weight", 0.0))}

    def validation(self) -> Logs:
        """Returns the critic's loss, as it is logged, on this rank's held-out data; nothing if there are none."""
        t = self.trainer
        if (held_out := t.dataset.held_out(t.step, t.batch_size)) is None:
            return {}
        real, y = map(local_shard, held_out)
        z, critic, values = local_shard(t.noise(len(held_out[1]))), frozen(t.critic), Logs()
        fake = fakes(frozen(t.generator), real, z, y)
        if t.content != "none":
            values["validation/content"] = content_loss(t.content, fake, real)
        if t.dataset.num_classes and (logits := t.at_condition(critic, y)(real)[:, 1:]).shape[1]:
            values["validation/accuracy"] = (logits.argmax(1) == y).float().mean()
        for layer in critic.modules():
            layer.train(isinstance(layer, nn.Dropout))  # the loss of penalty=ct is that of two dropouts
        _, logs = t.critic_loss(critic, real, fake, y, penalised=True)
        return values | {"validation/critic_loss": logs["critic/loss"]}

    @torch.no_grad()
    def gradient_norms(self) -> Tensor:
        """Returns |grad f| (n,) at interpolates of the last real batch, whatever the penalty."""
        t = self.trainer
        seed_step(t.seed, t.step, "measure")
        real, y = map(local_shard, t.dataset.batch(t.batch_indices(t.step - 1)[t.n_critic - 1], t.batch_size))
        fake = fakes(frozen(t.generator), real, local_shard(t.noise(t.batch_size)), y)
        norms = gradient_norm(t.at_condition(frozen(t.critic), y), interpolates(real, fake))
        parts = gather({distributed.RANK: norms.cpu()})  # pickled tensors return to the GPU that they came from
        return torch.cat([parts[rank] for rank in sorted(parts)])

    def evaluate(self) -> dict[str, float]:
        """Returns the metrics of the averaged generator, as eval/NAME: those that wgangp-evaluate computes."""
        return {f"eval/{name}": value for name, value in self.metrics(self.draw).items()}

    def draw(self, n: int) -> tuple[Any, Tensor | None]:
        """Returns n samples of the averaged generator as metrics take them, and the labels or conditions asked for."""
        t = self.trainer
        return draw_for_metrics(frozen(t.ema.module), t.dataset, n, t.seed)

    def generate(self, n: int) -> Tensor:
        """Returns n samples (n, *) of the averaged generator, on the CPU."""
        return torch.cat(draw_samples(frozen(self.trainer.ema.module), self.trainer.dataset, n, Tensor.cpu)[0])[:n]

    @torch.no_grad()
    def picture(self) -> np.ndarray:
        """Returns (h, w, 3) uint8: samples of fixed latents; points over the critic's level sets.

        Raises ValueError if the data are of no kind that can be drawn.
        """
        t = self.trainer
        seed_step(t.seed, 0, "picture")  # the same latents every time
        if t.condition_batches and len(t.dataset.condition_shape or ()) == len(t.dataset.shape) == 3:
            return self.pictures_of_pairs()
        if (units := t.dataset.units) is not None:
            n = 1000 if len(t.dataset.shape) == 1 else 64
            drawn, found = units.invert(self.generate(n)), t.dataset.reference("train", n)
            return pictures.draw(drawn, real=found and found[0], units=units, title=f"step {t.step:,}")
        if t.dataset.shape == (2,):
            real, _ = t.dataset.batch(0, 1000)
            x, critic = self.generate(1000).to(t.device), frozen(t.critic)
            return pictures.draw(x, real=real, critic=critic, title=f"step {t.step:,}")
        x = self.fixed()[: CLIPS if t.dataset.is_video else None]
        if (own := t.dataset.picture(x)) is not None:
            return own
        return pictures.draw(
            x,
            vocabulary=t.dataset.vocabulary,
            labels=self.fixed_classes(len(x)),
            class_names=t.dataset.class_names,
            is_video=t.dataset.is_video,
        )

    def pictures_of_pairs(self) -> np.ndarray:
        """Returns (h, w, 3) uint8: condition pictures, and beside each a generated sample and the real one.

        They are of the held-out part if there is one, and the same every time.
        """
        t, data = self.trainer, self.trainer.dataset
        x, y = (part[:PAIRS] for part in data.held_out(0, PAIRS) or data.batch(0, t.batch_size))
        fake = generate_chunk(frozen(t.ema.module), t.noise(len(x)), y)
        conditions_bounded = data.conditions is not None and data.conditions.units.bounded
        return pictures.pairs(y, fake, x, bounded=(conditions_bounded, data.bounded), title=f"step {t.step:,}")

    def fixed(self) -> Tensor:
        """Returns 64 samples (n, *) of latents and conditions that are the same every time."""
        t = self.trainer
        seed_step(t.seed, 0, "picture")
        z, y = t.noise(64), torch.arange(64, device=t.device) % max(1, t.dataset.num_classes)
        if t.condition_batches and (given := t.dataset.training_conditions(len(z))) is not None:
            y = given.to(t.device)
        return generate_chunk(frozen(t.ema.module), z, y)

    def fixed_classes(self, n: int) -> Tensor | None:
        """Returns the classes (n,) of the first fixed samples, each of which gets a row; None without classes."""
        classes = self.trainer.generator.num_classes
        return torch.arange(n) % classes if classes > 1 else None

    @torch.no_grad()
    def film(self) -> list[np.ndarray]:
        """Returns frames (h, w, 3) uint8 in which all clips of fixed latents move; [] if the data are no clips."""
        if not (data := self.trainer.dataset).is_video:
            return []
        x = self.fixed()
        return pictures.moving(x, labels=self.fixed_classes(len(x)), class_names=data.class_names)
