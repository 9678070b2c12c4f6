"""From a configuration to objects."""

import logging
import os
import shutil
from collections.abc import Sequence
from functools import partial
from typing import Any

import hydra
import torch
from omegaconf import DictConfig, MissingMandatoryValue, OmegaConf
from torch import nn

from wgangp.app.arguments import check_arguments, check_complete, hints_of
from wgangp.app.errors import one_line
from wgangp.app.trust import check_targets
from wgangp.data import Dataset
from wgangp.machine import distributed
from wgangp.machine.cpu import keep_freed_memory, useful_threads
from wgangp.machine.device import be_deterministic, choose_device, choose_precision, set_precision
from wgangp.models import Generator
from wgangp.penalties import Penalty
from wgangp.speed import speed_up
from wgangp.trainer import Trainer

log = logging.getLogger(__name__)

SMALL_NETWORKS = 500_000  # weights of both
SETTINGS = (  # of the trainer, under the names that they have in conf/train.yaml
    *("seed", "steps", "batch_size", "n_critic", "generator_batch_multiple", "class_weight"),
    *("content", "content_weight", "lr_decay", "ema_decay"),
)
WORTH_COMPILING = 5000  # steps; fewer do not make up for half a minute of compiling for points, a minute for images


def build(node: DictConfig, *args: Any, part: str = "", allow: Sequence[str] = (), **kwargs: Any) -> Any:
    """Instantiates a node's `_target_` with plain lists and numbers. `part` is its key, if it stands alone.

    `args` and `kwargs` are what the data decides. They are passed as they are, never read as configuration.
    Raises ValueError if it may not be built, a key is missing, or an argument is of another type than ours take.
    """
    try:
        plain = OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        raise ValueError(one_line(error)) from error
    where = part or str(node._get_full_key(None))
    check_targets(plain, allow)
    check_arguments(plain, where)
    make = hydra.utils.instantiate(plain, _convert_="all", _partial_=True)
    if isinstance(plain, dict) and plain.get("_partial_") is True:
        return partial(make, *args, **kwargs)
    check_complete(plain, where, kwargs)
    return make(*args, **kwargs)


def set_up_device(cfg: DictConfig, job: int | None = None) -> torch.device:
    """Chooses the device, and sets precision and determinism. The `job`-th of jobs side by side takes GPU `job`."""
    device = choose_device(cfg.device, job)
    set_precision(choose_precision(cfg.precision, device))
    be_deterministic(cfg.deterministic)
    keep_freed_memory()
    return device


def thread_count(cfg: DictConfig, trainer: Trainer) -> int:
    """Returns the CPU threads that a run uses.

    Small networks take one: a step's operations are too short to share. So do all where other programs use the cores:
    threads that wait for one another make a step ten times as long.
    """
    if cfg.threads != "auto":
        return int(cfg.threads)
    weights = sum(p.numel() for p in (*trainer.generator_params, *trainer.critic_params))
    small = weights < SMALL_NETWORKS and len(trainer.dataset.shape) == 1
    return 1 if small else useful_threads()


def make_dataset(cfg: DictConfig, device: torch.device) -> Dataset:
    torch.manual_seed(cfg.seed)
    dataset: Dataset = build(cfg.dataset, allow=cfg.allow, seed=cfg.seed, device=device)
    return dataset


def make_trainer(
    cfg: DictConfig,
    dataset: Dataset,
    device: torch.device,
    generator: Generator | None = None,
    critic: nn.Module | None = None,
    penalty: Penalty | None = None,
) -> Trainer:
    """Returns the trainer that a configuration describes, before its first step; parts may be given as objects."""
    torch.manual_seed(cfg.seed)  # of the first weights, also beside a dataset that is given as an object
    make = partial(build, allow=cfg.allow)
    data = data_of(cfg, dataset)
    generator = make(with_output(cfg.generator, dataset.bounded), **data) if generator is None else generator
    penalty = make(cfg.penalty) if penalty is None else penalty
    if not isinstance(penalty, Penalty):
        raise ValueError(f"penalty is a {type(penalty).__name__}, and no wgangp.penalties.Penalty: choose another one")
    for name in ("nz", "num_classes"):
        if not hasattr(generator, name):
            raise ValueError(f"the generator has no attribute {name}: see docs/how-to/extend.md")
    generator.data_conditions = dataset.conditions if "condition_shape" in data else None
    if cfg.sync_batchnorm:
        distributed.synchronise_batchnorm(generator, device)
    trainer = Trainer(
        dataset=dataset,
        generator=generator,
        critic=make(cfg.critic, **data) if critic is None else critic,
        loss=make(cfg.loss),
        penalty=penalty,
        generator_optimizer=partial(make, of_optimizer(cfg.generator_optimizer), part="generator_optimizer"),
        critic_optimizer=partial(make, of_optimizer(cfg.critic_optimizer), part="critic_optimizer"),
        device=device,
        **{key: cfg[key] for key in SETTINGS},
        augment=list(cfg.augment),
        precision=choose_precision(cfg.precision, device, axes=len(dataset.shape) - 1),
    )
    speed_up(trainer, compile=is_worth_compiling(cfg, device), cuda_graphs=cfg.cuda_graphs)
    return trainer


def data_of(cfg: DictConfig, dataset: Dataset) -> dict[str, Any]:
    """Returns what the data decides of the networks.

    Raises ValueError if they have nothing to be conditional on, or a network is not made for it.
    """
    data: dict[str, Any] = {"shape": list(dataset.shape), "num_classes": dataset.num_classes if cfg.conditional else 0}
    if cfg.conditional and not dataset.num_classes and dataset.condition_shape is None:
        raise ValueError(
            "conditional=true needs labels, and this dataset has none, or one class alone: name them by dataset.labels "
            "(arrays, tables) or dataset.label (huggingface), put the images of each class into a folder of its own, "
            "or set dataset.condition"
        )
    if dataset.condition_shape is None:
        return data
    if not cfg.conditional:
        log.info("conditional=false: the networks are not given the data's condition")
        return data
    pictures = len(dataset.condition_shape) > 1
    for part in ("generator", "critic"):
        if "condition_shape" not in hints_of(cfg[part]._target_) and cfg[part]._target_.startswith("wgangp."):
            suited = "unet" if pictures and part == "generator" else "mlp, dcgan or resnet"
            raise ValueError(
                f"{part}: this network takes no {'pictures' if pictures else 'numbers'} as conditions: choose {suited}"
            )
    return data | {"condition_shape": list(dataset.condition_shape)}


def with_output(node: DictConfig, bounded: bool) -> DictConfig:
    """Returns a generator's node with its last activation, if it is left to the data: tanh of data in [-1, 1].

    Raises ValueError if it is tanh, and the data are not bounded.
    """
    if "output" not in node:
        return node
    output = ("tanh" if bounded else "none") if node.output == "auto" else node.output
    if output == "tanh" and not bounded:
        raise ValueError(
            "generator.output=tanh gives numbers in [-1, 1], and the data are not: choose auto, or "
            "dataset.scaling=minmax"
        )
    return OmegaConf.merge(node, {"output": output})  # type: ignore[return-value]


def of_optimizer(node: DictConfig) -> DictConfig:
    """Returns an optimizer's node without `_partial_`, and with betas that are floats: torch refuses [0, 0.9]."""
    options = {key: node[key] for key in node if key != "_partial_"}
    if "betas" in node:
        options["betas"] = [float(b) for b in node.betas]
    return OmegaConf.create(options)


def is_worth_compiling(cfg: DictConfig, device: torch.device) -> bool:
    """Whether to compile: if asked to, or in long runs where torch's compiler works."""
    possible = device.type == "cuda" or (device.type == "cpu" and has_cpp_compiler())
    return cfg.compile is True or (cfg.compile == "auto" and possible and cfg.steps >= WORTH_COMPILING)


def has_cpp_compiler() -> bool:
    return any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "clang++"))
