"""Algorithm 1 of Gulrajani et al. (2017), and the loop around it. Shapes: n batch, nz latent, * one sample's."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from tqdm import tqdm

from wgangp.data import Dataset
from wgangp.losses import Wasserstein, class_loss
from wgangp.machine import distributed
from wgangp.machine.compile import compile_if_equal
from wgangp.machine.cuda_graphs import Replayed, make_capturable
from wgangp.machine.device import seed_step
from wgangp.machine.distributed import any_rank, average_gradients, is_main, mean_over_ranks, share
from wgangp.machine.ema import EMA
from wgangp.machine.finite import check_finite
from wgangp.models.layers import couples_samples
from wgangp.observer import Observer
from wgangp.penalties import NoPenalty
from wgangp.penalties.gradients import at_least_float32
from wgangp.run_dir.checkpoint import Checkpoints
from wgangp.run_dir.logger import Silence

Logs = dict[str, Tensor]


def update(params: list[nn.Parameter], optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """One optimizer step; only `params` receive gradients."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward(inputs=params)
    average_gradients(params)
    optimizer.step()


def set_lr(optimizers: list[torch.optim.Optimizer], scale: float) -> None:
    """Sets every learning rate to `scale` times its configured one."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            lr = scale * optimizer.defaults["lr"]
            group["lr"] = group["lr"].fill_(lr) if isinstance(group["lr"], Tensor) else lr  # a graph reads the tensor


def options(part: Any) -> dict[str, Any]:
    """An optimizer's learning rates, betas and so on, as its state_dict has them; nothing for a module."""
    return {"param_groups": part.state_dict()["param_groups"]} if isinstance(part, torch.optim.Optimizer) else {}


def due(step: int, last: bool, interval: int) -> bool:
    """Whether something done every `interval` steps (0: only at the end) is due."""
    return last or (interval > 0 and step % interval == 0)


class Trainer:
    """Trains a generator and a critic. Public: train_step, fit, and the state to save."""

    def __init__(
        self,
        *,
        dataset: Dataset,
        generator: Any,  # a module with nz, the latent dimensions
        critic: nn.Module,
        loss: Wasserstein,
        penalty: NoPenalty,
        generator_optimizer: Callable[[list[nn.Parameter]], torch.optim.Optimizer],
        critic_optimizer: Callable[[list[nn.Parameter]], torch.optim.Optimizer],
        metrics: Callable[[Callable[[int], Tensor]], dict[str, float]],
        device: torch.device,
        seed: int,
        steps: int,
        batch_size: int,
        n_critic: int,
        generator_batch_multiple: int,
        class_weight: float,
        lr_decay: str,
        ema_decay: float,
        precision: str,
        compile: bool,
    ) -> None:
        critic = penalty.wrap(critic)
        self.one_pass = not couples_samples(critic)
        if penalty.per_sample and not self.one_pass:
            raise ValueError(
                "critic.norm=batch couples the samples of a batch, and the penalty is on each sample's own gradient: "
                "use critic.norm=layer, or penalty=weight_clipping or none"
            )
        dataset.batch(0, batch_size)  # raises where the batch is larger than the dataset
        if batch_size % distributed.WORLD_SIZE:
            raise ValueError(f"batch_size={batch_size} does not divide among {distributed.WORLD_SIZE} processes")
        self.dataset, self.loss, self.penalty = dataset, loss, penalty.to(device)
        tensor_cores = device.type == "cuda" and precision != "float32"  # their convolutions are over channels_last
        layout = torch.channels_last if tensor_cores else torch.preserve_format
        self.generator = generator.to(device).to(memory_format=layout)
        self.critic = critic.to(device).to(memory_format=layout)
        self.generator_params, self.critic_params = list(generator.parameters()), list(critic.parameters())
        self.generator_optimizer = generator_optimizer(self.generator_params)
        self.critic_optimizer = critic_optimizer(self.critic_params)
        self.ema = EMA(generator, ema_decay)
        self.device, self.seed, self.step, self.steps = device, seed, 0, steps
        self.batch_size, self.n_critic = batch_size, n_critic
        self.generator_batch, self.class_weight = batch_size * generator_batch_multiple, class_weight
        self.lr_decay, self.precision = lr_decay, precision
        self.latest: dict[str, Any] = {}
        self.observer, self.compile = Observer(self, metrics), compile
        if compile:
            eager = self.critic_loss, self.generator_loss
            tolerance = 5e-3 if precision == "float32" else 0.1
            self.critic_loss, self.generator_loss = compile_if_equal(eager, self._gradients, tolerance)  # type: ignore[method-assign]
            self._replay_updates()

    # ---- Algorithm 1

    def train_step(self) -> Logs:
        """Algorithm 1: n_critic critic updates, each on a fresh real batch, then one generator update."""
        seed_step(self.seed, self.step)
        set_lr(self._optimizers(), self.lr_scale())
        self.penalty.begin(self.step / self.steps)
        for i in range(self.step * self.n_critic, (self.step + 1) * self.n_critic):
            logs = self.update_critic(self.penalty.due(i), *self.dataset.fetch(i, self.batch_size))
        logs |= self.update_generator()
        self.ema.update(self.generator, self.step)
        self.step += 1
        return logs

    def update_critic(self, penalised: bool, *fetched: Tensor) -> Logs:
        """Algorithm 1, lines 3 to 9."""
        loss, logs = self.critic_loss(penalised, share(self.noise(self.batch_size)), *fetched)
        update(self.critic_params, self.critic_optimizer, loss)
        self.penalty.project(self.critic)  # weight clipping only
        if penalised:
            self.penalty.observe(mean_over_ranks(logs.pop("penalty/norm")))  # an adaptive weight only
        return logs

    def update_generator(self) -> Logs:
        """Algorithm 1, lines 11 and 12."""
        n = self.generator_batch
        loss = self.generator_loss(share(self.noise(n)), share(self.labels(n)))
        update(self.generator_params, self.generator_optimizer, loss)
        return {"generator/loss": loss.detach()}

    def critic_loss(self, penalised: bool, z: Tensor, *fetched: Tensor) -> tuple[Tensor, Logs]:
        """Algorithm 1, lines 4 to 7."""
        real, y = map(share, self.dataset.make(*fetched))  # (n, *), (n,)
        with torch.no_grad(), self.autocast():
            fake = self.generator(z, y).to(real.dtype)  # (n, *), with the reals' labels
        return self.critic_terms(self.critic, real, fake, y, penalised)

    def critic_terms(
        self, critic: nn.Module, real: Tensor, fake: Tensor, y: Tensor, penalised: bool
    ) -> tuple[Tensor, Logs]:
        """The loss, the penalty and, where there are classes, AC-GAN's cross-entropy on the reals."""
        with self.autocast():
            real_out, fake_out = self.judge(critic, real, fake)  # (n, 1 + num_classes)
            penalty, norm = self.penalty.terms(critic, real, fake) if penalised else (real.new_zeros(()), None)
        f_real, f_fake = real_out[:, 0], fake_out[:, 0]
        loss = self.loss.critic(f_real, f_fake) + penalty + class_loss(real_out[:, 1:], y)
        logs = {
            "critic/loss": loss,
            "critic/wasserstein": f_real.mean() - f_fake.mean(),
            "critic/penalty": penalty,
            "critic/real": f_real.mean(),
            "critic/fake": f_fake.mean(),
        }
        if norm is not None:
            logs["penalty/norm"] = norm
        return loss, {name: value.detach() for name, value in logs.items()}

    def generator_loss(self, z: Tensor, y: Tensor) -> Tensor:
        """Algorithm 1, line 12. The critic's weights are constants here, also to the compiler."""
        constants = {name: p.detach() for name, p in self.critic.named_parameters()}
        with self.autocast():
            out = at_least_float32(functional_call(self.critic, constants, self.generator(z, y)))
        return self.loss.generator(out[:, 0]) + self.class_weight * class_loss(out[:, 1:], y)

    def judge(self, critic: nn.Module, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        """The critic on both batches: in one pass, unless BatchNorm would mix their statistics."""
        if self.one_pass:
            real_out, fake_out = critic(torch.cat([real, fake])).chunk(2)
        else:
            real_out, fake_out = critic(real), critic(fake)
        return at_least_float32(real_out), at_least_float32(fake_out)

    def noise(self, n: int) -> Tensor:
        return torch.randn(n, self.generator.nz, device=self.device)  # (n, nz)

    def labels(self, n: int) -> Tensor:
        return torch.randint(max(1, self.dataset.num_classes), (n,), device=self.device)

    def lr_scale(self) -> float:
        """1, or falling linearly to 0 over the run (gan_cifar_resnet.py)."""
        return 1.0 if self.lr_decay == "none" else 1 - self.step / self.steps

    def autocast(self) -> AbstractContextManager:
        """Network passes in bfloat16 where asked; no cache, since it would keep casts made inside torch.func.grad."""
        enabled = self.precision == "bfloat16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=enabled, cache_enabled=False)

    def _gradients(self, critic_loss: Callable[..., Any], generator_loss: Callable[..., Any]) -> list[Tensor]:
        """Both networks' weight gradients by these losses, which leave the networks as they were."""
        buffers = [(b, b.clone()) for module in (self.generator, self.critic) for b in module.buffers()]
        seed_step(self.seed, 0, "compile")
        z, fetched = share(self.noise(self.batch_size)), self.dataset.fetch(0, self.batch_size)
        loss, _ = critic_loss(self.penalty.due(0), z, *fetched)
        gradients = torch.autograd.grad(loss, self.critic_params)
        n = self.generator_batch
        loss = generator_loss(share(self.noise(n)), share(self.labels(n)))
        gradients += torch.autograd.grad(loss, self.generator_params)
        for buffer, before in buffers:  # BatchNorm's averages, spectral norm's vectors
            buffer.copy_(before)
        return list(gradients)

    def trial(self) -> None:
        """Both losses' gradients once, as a step has them; everything stays as it was."""
        self._gradients(self.critic_loss, self.generator_loss)

    def _replay_updates(self) -> None:
        """From here on both updates are CUDA graphs, where there is CUDA, and one process."""
        alone = distributed.WORLD_SIZE == 1
        if self.device.type == "cuda" and alone and make_capturable(self._optimizers(), self.device):
            critic, generator = partial(Trainer.update_critic, self), partial(Trainer.update_generator, self)
            self.update_critic = Replayed(critic, self.critic_params)  # type: ignore[assignment]
            self.update_generator = Replayed(generator, self.generator_params)  # type: ignore[assignment]

    def _optimizers(self) -> list[torch.optim.Optimizer]:
        return [self.generator_optimizer, self.critic_optimizer]

    # ---- the loop

    def fit(
        self,
        logger: Silence,
        checkpoints: Checkpoints,
        stop: Callable[[], bool],
        save: Callable[[], bool],
        *,
        log_every: int,
        sample_every: int,
        evaluate_every: int,
        checkpoint_every: int,
    ) -> None:
        """Trains from the current step to the last, or until `stop()` says so; saves then, and when `save()` says so.

        Raises Diverged where a log or checkpoint step finds a loss, gradient or weight that is not finite.
        """
        stopped = False
        shown = partial(tqdm, unit="step", mininterval=1, dynamic_ncols=True, disable=not is_main())
        with shown(total=self.steps, initial=self.step) as bar:
            while self.step < self.steps and not stopped:
                logs = self.train_step()
                stopped, last = any_rank(stop()), self.step == self.steps
                every = partial(due, self.step, last)
                if every(log_every) or every(checkpoint_every):
                    check_finite(self.step, logs, {"critic": self.critic, "generator": self.generator}, self.latest)
                values = self.observer.measure(logs) if every(log_every) else {}
                if every(evaluate_every):
                    values |= self.observer.evaluate()
                    checkpoints.save_if_best(self.step, values, self.state)
                if values:
                    self.latest = values
                    logger.write(self.step, values)
                if every(sample_every):
                    logger.picture(self.step, self.observer.picture())
                if every(checkpoint_every) or stopped or save():
                    checkpoints.save(self.step, self.state())
                if bar.update():
                    bar.set_postfix_str(self.observer.status(logs, bar.format_dict["rate"]))

    # ---- what a checkpoint holds

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on: plain containers and tensors."""
        moving = {"step": self.step, "penalty": self.penalty.state_dict()}
        return moving | {name: part.state_dict() for name, part in self._parts().items()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Goes on from `state()`; the optimizers keep today's options. Raises ValueError on other architectures."""
        for name, part in self._parts().items():
            try:
                part.load_state_dict(state[name] | options(part))
            except (KeyError, RuntimeError, ValueError) as error:
                raise ValueError(
                    f"the checkpoint's {name} does not fit the configured one: leave the architecture, the dataset's "
                    f"shape and the optimizers as they were ({str(error).splitlines()[-1].strip()})"
                ) from error
        self.penalty.load_state_dict(state.get("penalty", {}), strict=False)  # it may be another one from here on
        self.step = state["step"]
        if self.compile:
            self._replay_updates()

    def _parts(self) -> dict[str, Any]:
        return {
            "generator": self.generator,
            "critic": self.critic,
            "ema": self.ema.module,
            "generator_optimizer": self.generator_optimizer,
            "critic_optimizer": self.critic_optimizer,
        }
