"""Faster functions for the trainer, of the same values: compiled gradients, and on CUDA the updates as graphs."""

import logging
from collections.abc import Callable

from torch import Tensor

from wgangp.machine import distributed
from wgangp.machine.compile import compile_if_equal
from wgangp.machine.cuda_graphs import Replayed, make_capturable
from wgangp.machine.distributed import local_shard
from wgangp.machine.seeds import seed_step
from wgangp.optimizers import Gradients
from wgangp.trainer import Logs, Trainer

log = logging.getLogger(__name__)

TOLERANCE = {"float32": 5e-3, "tf32": 0.1, "bfloat16": 0.1}  # of compiled gradients, relative to eager ones


def speed_up(trainer: Trainer, *, compile: bool, cuda_graphs: bool) -> None:
    """Replaces the trainer's functions. They stay eager where compiled gradients differ."""
    if compile:
        eager = trainer.functions[:2]
        tolerance = TOLERANCE[trainer.precision]
        critic, generator = compile_if_equal(eager, lambda *f: gradients(trainer, *f), tolerance, trainer.device)
        trainer.functions = trainer.functions._replace(critic_gradients=critic, generator_gradients=generator)
    if cuda_graphs and trainer.device.type == "cuda":
        if distributed.WORLD_SIZE > 1:
            log.info(
                "no CUDA graph with several processes, so kernels are launched one by one: small networks are slower"
            )
        elif make_capturable(trainer.optimizers, trainer.device):
            trainer.functions = trainer.functions._replace(updates=as_graphs(trainer))


def as_graphs(trainer: Trainer) -> Replayed:
    """Returns the trainer's updates, replayed."""
    t = trainer
    modules = (*t.penalty.modules(), *t.critic.modules(), *t.generator.modules())
    objects = [*modules, t.loss, t, t.dataset, *t.optimizers]
    return Replayed(t.updates, t.critic_params + t.generator_params, lambda: live(t), objects)


def live(trainer: Trainer) -> list[Tensor]:
    """Returns all tensors that the updates change."""
    modules = (trainer.generator, trainer.critic, trainer.ema.module)
    states = [t for o in trainer.optimizers for state in o.state.values() for t in state.values()]
    return [t for m in modules for t in m.state_dict().values()] + [t for t in states if isinstance(t, Tensor)]


def check_graphs(trainer: Trainer) -> None:
    """Raises RuntimeError if CUDA graphs train other memory than these networks'."""
    if isinstance(trainer.functions.updates, Replayed):
        trainer.functions.updates.check()


def gradients(
    trainer: Trainer,
    critic_gradients: Callable[..., tuple[Gradients, Logs]],
    generator_gradients: Callable[..., tuple[Gradients, Logs]],
) -> list[list[Tensor]]:
    """Returns the weight gradients by these functions: of critic updates with and without penalty, and the generator's.

    The networks stay as they were.
    """
    t = trainer
    modules = (*t.generator.modules(), *t.critic.modules())
    buffers = [(m, name, b, b.clone()) for m in modules for name, b in m.named_buffers(recurse=False)]
    t.penalty.begin(0.0)  # as before each step: an attribute that it sets later would not be seen by compiled code
    seed_step(t.seed, 0, "compile")
    z, fetched = local_shard(t.noise(t.batch_size)), t.dataset.fetch(0, t.batch_size)
    kinds = {t.penalty.due(i) for i in range(t.penalty.interval)}
    found = [critic_gradients(penalised, z, *fetched)[0] for penalised in sorted(kinds)]
    batches = [t.dataset.fetch(i + 1, t.batch_size) for i in range(t.condition_batches)]
    found.append(generator_gradients(*t.generator_inputs(batches))[0])
    for module, name, buffer, before in buffers:  # BatchNorm's averages, spectral norm's vectors
        setattr(module, name, buffer.copy_(before))
    return [[g for g in of_call if g is not None] for of_call in found]
