"""Algorithm 1 of Gulrajani et al. (2017). Shapes: n batch, nz latent, * one sample's."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from wgangp.augmentation import augmented, check_augmentation
from wgangp.contracts import (
    MakeOptimizer,
    check_batch,
    check_batch_size,
    check_content,
    check_data,
    check_fakes,
    check_generator,
    check_penalty,
    check_scalar,
    check_scores,
    check_scripted,
    check_second_derivative,
    check_sizes,
    make_optimizer,
    second_derivatives,
)
from wgangp.data import Dataset
from wgangp.losses import Loss, class_loss, content_loss
from wgangp.machine.cuda_graphs import Batches, Replayed
from wgangp.machine.device import lay_out, memory_format
from wgangp.machine.distributed import local_shard
from wgangp.machine.ema import EMA
from wgangp.machine.seeds import seed_step
from wgangp.machine.state import Unsaved, load_state, state_of
from wgangp.models import ConditionedCritic, Generator
from wgangp.models.layers import couples_samples
from wgangp.models.real_plus_noise import fakes
from wgangp.optimizers import Gradients, gradients_of, lr_scale, set_lr, trainable, update
from wgangp.penalties import Penalty
from wgangp.penalties.gradients import ScoreFunction, at_least_float32

ROLLBACK = 1_000_000  # is added to the seed for each rollback
Logs = dict[str, Tensor]  # detached scalars, on the device until somebody reads them


class Functions(NamedTuple):
    """The functions that a step calls: the trainer's methods of these names, or the faster ones of speed.py."""

    critic_gradients: Callable[..., tuple[Gradients, Logs]]
    generator_gradients: Callable[..., tuple[Gradients, Logs]]
    updates: Callable[[tuple[bool, ...], Batches], Logs]


class Trainer:
    """Trains a generator and a critic, one step at a time. Its state is what a checkpoint holds."""

    counters = ("step", "images_seen", "rollbacks", "logs", "checked")  # which no update reads

    def __init__(
        self,
        *,
        dataset: Dataset,
        generator: Generator,
        critic: nn.Module,
        loss: Loss,
        penalty: Penalty,
        generator_optimizer: MakeOptimizer,
        critic_optimizer: MakeOptimizer,
        device: torch.device,
        seed: int,
        steps: int,
        batch_size: int,
        n_critic: int,
        generator_batch_multiple: int,
        augment: Sequence[str],
        class_weight: float,
        content: str,
        content_weight: float,
        lr_decay: str,
        ema_decay: float,
        precision: str,
    ) -> None:
        """conf/train.yaml explains the numbers and names. Raises ValueError if the parts do not go together."""
        check_sizes(generator=generator, critic=critic)
        self.critic_sees_y = bool(getattr(critic, "takes_condition", False))  # a projection, or channels
        critic = penalty.wrap(critic)
        self.one_pass = not couples_samples(critic)
        penalty.check(critic)
        self.num_classes = dataset.num_classes if generator.num_classes else 0  # that both networks know of
        check_data(dataset, batch_size, self.num_classes)
        check_batch_size(batch_size)
        check_generator(generator, ema_decay)
        check_scripted(generator, critic)
        self.dataset, self.loss, self.penalty = dataset, loss, penalty.to(device)
        self.generator, self.critic = generator.to(device), critic.to(device)
        for network in (self.generator, self.critic):
            lay_out(network, len(dataset.shape), memory_format(len(dataset.shape), device, precision))
        self.generator_params = trainable(generator, "generator")
        self.critic_params = trainable(critic, "critic")
        self.generator_optimizer = make_optimizer(generator_optimizer, self.generator_params, "generator")
        self.critic_optimizer = make_optimizer(critic_optimizer, self.critic_params, "critic")
        self.ema = EMA(generator, ema_decay, device)
        self.device, self.seed, self.step, self.steps = device, seed, 0, steps
        self.images_seen = 0  # real images of the critic's updates
        self.rollbacks = 0  # to earlier checkpoints: each changes the random numbers of the steps
        self.batch_size, self.n_critic, self.augment = batch_size, n_critic, augment
        self.generator_batch_size, self.class_weight = batch_size * generator_batch_multiple, class_weight
        self.content, self.content_weight, self.lr_decay, self.precision = content, content_weight, lr_decay, precision
        sees_conditions = dataset.conditions is not None and getattr(generator, "condition_shape", None)
        self.condition_batches = generator_batch_multiple if sees_conditions else 0  # of a step; 0: random labels
        check_content(content, bool(self.condition_batches), self.critic_sees_y)
        check_augmentation(augment, dataset.shape, (dataset.condition_shape if sees_conditions else None) or ())
        self.unsaved = Unsaved(generator=self.generator, critic=self.critic)
        self.checked = False  # that torch leaves out no second derivative
        self.logs: Logs = {}  # of the last step; a lazy penalty's are of the last penalised update
        self.functions = Functions(self.critic_gradients, self.generator_gradients, self.updates)

    # ---- Algorithm 1
    def train_step(self) -> Logs:
        """Algorithm 1: n_critic critic updates, then one generator update. Returns the scalars to log, by tag.

        With CUDA graphs the next step overwrites these tensors: copy what is to be kept.
        Raises ValueError after the last of `steps`: there is no learning rate for more.
        """
        if self.step >= self.steps:
            raise ValueError(f"the training has finished its {self.steps} steps: give a larger number of steps")
        seed_step(self.seed + ROLLBACK * self.rollbacks, self.step)
        set_lr(self.optimizers, lr_scale(self.lr_decay, self.step, self.steps))
        self.penalty.begin(self.step / self.steps)
        self.ema.begin(self.step)
        updates = range(self.step * self.n_critic, (self.step + 1) * self.n_critic)
        penalised = tuple(self.penalty.due(i) for i in updates)
        batches = [self.dataset.fetch(i, self.batch_size) for i in self.batch_indices(self.step)]
        logs = self.functions.updates(penalised, batches)
        if any(penalised) and self.penalty.interval > 1:  # kept, while the graphs of other steps use this memory
            logs = {name: value.clone() for name, value in logs.items()}
        self.logs = self.logs | logs
        self.step += 1
        self.images_seen += self.n_critic * self.batch_size
        return self.logs

    def batch_indices(self, step: int) -> range:
        """Returns the indices of a step's batches: n_critic of the critic's updates, then those of the generator's."""
        n = self.n_critic + self.condition_batches
        return range(step * n, (step + 1) * n)

    def updates(self, penalised: tuple[bool, ...], batches: Batches) -> Logs:
        """Algorithm 1, lines 2 to 12. What changes from step to step is on the device: a CUDA graph can replay it."""
        logs: Logs = {}
        for is_penalised, fetched in zip(penalised, batches[: self.n_critic], strict=True):
            logs |= self.update_critic(is_penalised, *fetched)
        logs |= self.update_generator(batches[self.n_critic :])
        self.ema.update(self.generator)
        return logs

    def update_critic(self, penalised: bool, *fetched: Tensor) -> Logs:
        """Algorithm 1, lines 3 to 9."""
        z = local_shard(self.noise(self.batch_size))
        with second_derivatives():
            gradients, logs = self.functions.critic_gradients(penalised, z, *fetched)
        update(self.critic_params, self.critic_optimizer, gradients)
        self.penalty.project(self.critic)  # weight clipping only
        if penalised:
            self.penalty.observe(logs.pop("penalty/norm"))  # an adaptive weight only
        return logs

    def update_generator(self, batches: Batches) -> Logs:
        """Algorithm 1, lines 11 and 12."""
        gradients, logs = self.functions.generator_gradients(*self.generator_inputs(batches))
        update(self.generator_params, self.generator_optimizer, gradients)
        return logs

    def generator_inputs(self, batches: Batches) -> tuple[Tensor, ...]:
        """Returns z (n, nz) and random labels y (n,); with batches z, their conditions y (n, *) and samples x."""
        z = local_shard(self.noise(self.generator_batch_size))
        if not batches:
            return z, local_shard(self.labels(self.generator_batch_size))
        x, y = (torch.cat(parts) for parts in zip(*(self.dataset.make(*fetched) for fetched in batches), strict=True))
        return z, local_shard(y), local_shard(x)

    def critic_gradients(self, penalised: bool, z: Tensor, *fetched: Tensor) -> tuple[Gradients, Logs]:
        """Algorithm 1, lines 4 to 8, at a fetched batch and latents z (n, nz). Returns gradients, and what to log."""
        made = self.dataset.make(*fetched)
        made = check_batch(made, self.batch_size, self.dataset, self.num_classes, self.critic_params[0].dtype)
        real, y = map(local_shard, made)  # (n, *), (n,) or (n, *)
        with torch.no_grad(), self.autocast():
            fake = check_fakes(fakes(self.generator, real, z, y), real)  # with the reals' labels or conditions
        loss, logs = self.critic_loss(self.critic, real, fake, y, penalised)
        return gradients_of(loss, self.critic_params), logs

    def generator_gradients(self, z: Tensor, y: Tensor, real: Tensor | None = None) -> tuple[Gradients, Logs]:
        """Returns the gradients of the generator's weights at latents z (n, nz) and y (n,) or (n, *), and logs."""
        loss = self.generator_loss(z, y, real)
        return gradients_of(loss, self.generator_params), {"generator/loss": loss.detach()}

    def critic_loss(
        self, critic: nn.Module, real: Tensor, fake: Tensor, y: Tensor, penalised: bool
    ) -> tuple[Tensor, Logs]:
        """Algorithm 1, line 7: conf/loss, the classes' loss of AC-GAN, and the penalty if penalised. And what to log.

        A lazy penalty counts `interval` times in the loss, and once in what is logged, so that intervals compare.
        """
        f = self.at_condition(critic, y)
        real, fake = augmented(real, self.augment), augmented(fake, self.augment)
        with self.autocast():
            real_out, fake_out = self.critic_outputs(f, real, fake)  # (n, 1 + num_classes)
            terms = check_penalty(self.penalty.terms(f, real, fake)) if penalised else None
        f_real, f_fake = real_out[:, 0], fake_out[:, 0]
        loss = check_scalar(self.loss.critic(f_real, f_fake), "critic's loss") + class_loss(real_out[:, 1:], y)
        logs = {
            "critic/wasserstein": f_real.mean() - f_fake.mean(),
            "critic/real": f_real.mean(),
            "critic/fake": f_fake.mean(),
        }
        if terms is not None:
            penalty, norm = terms
            logs |= {"critic/loss": loss + penalty, "critic/penalty": penalty, "penalty/norm": norm}
            loss = loss + self.penalty.interval * penalty
            if not (self.checked or torch.compiler.is_compiling()):
                check_second_derivative(loss)
                self.checked = True
        return loss, {name: value.detach() for name, value in logs.items()}

    def generator_loss(self, z: Tensor, y: Tensor, real: Tensor | None = None) -> Tensor:
        """Algorithm 1, line 12. A content term is added if `real` (n, *) is given, the samples that y belong to.

        The critic's weights are constants here, also to the compiler.
        """
        constants = {name: p.detach() for name, p in self.critic.named_parameters()}
        with self.autocast():
            fake = self.generator(z, y)
            seen = augmented(fake, self.augment)
            out = at_least_float32(functional_call(self.critic, constants, (seen, y) if self.critic_sees_y else seen))
        adversarial = check_scalar(self.loss.generator(out[:, 0]), "generator's loss")
        loss = adversarial + self.class_weight * class_loss(out[:, 1:], y)
        if real is None or self.content == "none":
            return loss
        return loss + self.content_weight * content_loss(self.content, fake, real)

    def at_condition(self, critic: nn.Module, y: Tensor) -> ScoreFunction:
        """Returns f(., y): the critic as a function of x alone, which the penalty differentiates."""
        return ConditionedCritic(critic, y) if self.critic_sees_y else critic

    def critic_outputs(self, critic: ScoreFunction, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        """The critic at both batches: in one pass, unless its BatchNorm would mix their statistics."""
        if self.one_pass:
            real_out, fake_out = self.scores(critic, torch.cat([real, fake])).chunk(2)
        else:
            real_out, fake_out = (self.scores(critic, x) for x in (real, fake))
        return at_least_float32(real_out), at_least_float32(fake_out)

    def scores(self, critic: ScoreFunction, x: Tensor) -> Tensor:
        """Returns the critic's output (n, 1 + num_classes), checked."""
        return check_scores(critic(x), len(x), self.num_classes, self.critic_sees_y)

    def noise(self, n: int) -> Tensor:
        """Returns standard normal latents (n, nz), on the device."""
        return torch.randn(n, self.generator.nz, device=self.device)

    def labels(self, n: int) -> Tensor:
        """Returns labels (n,) in which all classes are equally likely, on the device; zeros if there are no classes."""
        return torch.randint(max(1, self.dataset.num_classes), (n,), device=self.device)

    def autocast(self) -> AbstractContextManager[None]:
        """bfloat16 network passes if configured. Compiled, a cache would keep casts made inside torch.func.grad."""
        enabled = self.precision == "bfloat16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=enabled, cache_enabled=False)

    @property
    def optimizers(self) -> list[torch.optim.Optimizer]:
        return [self.generator_optimizer, self.critic_optimizer]

    # ---- the state of a checkpoint
    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on: plain containers and tensors.

        The tensors are those of the training: copy.deepcopy what is to be kept while it goes on.
        """
        self.unsaved.warn_if_changed()
        return {
            "step": self.step,
            "images_seen": self.images_seen,
            "penalty": self.penalty.state_dict(),
            "logs": dict(self.logs),
            **state_of(self._parts()),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Continues from `state()`; the optimizers keep their configured options.

        Raises ValueError if a part has another architecture.
        """
        load_state(self._parts(), state)
        self.penalty.load_state_dict(state.get("penalty", {}), strict=False)  # another penalty may be configured
        self.step, self.logs = state["step"], {k: v.to(self.device) for k, v in state.get("logs", {}).items()}
        self.images_seen = state.get("images_seen", 0)  # older checkpoints do not say
        if isinstance(self.functions.updates, Replayed):
            self.functions.updates.forget()  # its graphs read the optimizer states of before

    def _parts(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        return {
            "generator": self.generator,
            "critic": self.critic,
            "ema": self.ema.module,
            "generator_optimizer": self.generator_optimizer,
            "critic_optimizer": self.critic_optimizer,
        }
