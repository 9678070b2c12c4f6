"""wgangp-train: one run, or a sweep with -m."""

import logging
import os
import signal
import sys
import time
from contextlib import ExitStack, nullcontext
from functools import partial
from math import inf, isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from tqdm.contrib.logging import logging_redirect_tqdm

from wgangp.app.compose import build, command, flatten, plain

if TYPE_CHECKING:
    import torch

    from wgangp.data import Dataset
    from wgangp.run_dir.logger import Logger
    from wgangp.trainer import Trainer

# torch takes seconds to import, and --help and configuration errors need none of it: hence the imports inside.
log = logging.getLogger(__name__)

# Steps that make up for the time of compiling: up to a minute, for a third to several times the speed on CUDA, and a
# tenth more on a CPU.
WORTH_COMPILING = {"cuda": 5000, "cpu": 20000}


def main() -> None:
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        command(train, "train")
    else:
        train_on_all_ranks()


def train_on_all_ranks() -> None:
    """One run by the processes that torchrun started: the main one writes, the others tell nothing but their errors."""
    from wgangp.machine import distributed

    if {"-m", "--multirun"} & set(sys.argv):
        sys.exit("torchrun trains one run: start a sweep without it, or choose a launcher")
    distributed.join()
    now = time.strftime("%Y-%m-%d_%H-%M-%S")
    os.environ["WGANGP_STARTED"] = distributed.agreed("started", now)  # of the run directory's name
    if not distributed.is_main():
        sys.argv += ["hydra.output_subdir=null", "hydra/job_logging=stdout", "hydra.job_logging.root.level=ERROR"]
    try:
        command(train, "train")
    finally:
        distributed.leave()


class StopSignals:
    """While entered, the first SIGINT or SIGTERM is noted for the loop to end after its step; a second one kills.

    So is SIGUSR2, by which SLURM tells that it takes the machine back; SIGUSR1 is noted for the loop to save and go on.
    """

    received: int | None = None
    asked_to_save = False

    def __enter__(self) -> "StopSignals":
        self.previous = {s: signal.signal(s, self._note) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)}
        self.previous[signal.SIGUSR1] = signal.signal(signal.SIGUSR1, self._note_to_save)
        return self

    def _note(self, number: int, frame: object) -> None:
        self.received = number
        for s in (signal.SIGINT, signal.SIGTERM):
            signal.signal(s, signal.SIG_DFL)
        log.info("%s: finishing the step and saving; once more to leave at once", signal.Signals(number).name)

    def _note_to_save(self, number: int, frame: object) -> None:
        self.asked_to_save = True

    def save(self) -> bool:
        """Whether to save now."""
        asked, self.asked_to_save = self.asked_to_save, False
        return asked

    def __exit__(self, *exception: object) -> None:
        for s, handler in self.previous.items():
            signal.signal(s, handler)

    def __call__(self) -> bool:
        return self.received is not None


def prepare(cfg: DictConfig) -> "tuple[Dataset, torch.device]":
    """The data, and the device they are on; precision and seed are set."""
    import torch

    from wgangp.machine.device import be_deterministic, choose_device, keep_freed_memory, set_precision

    device = choose_device(cfg.device)
    if cfg.device == "auto" and device.type == "cuda" and (number := number_among_jobs()) is not None:
        device = torch.device("cuda", number % torch.cuda.device_count())
    set_precision(cfg.precision)
    be_deterministic(cfg.deterministic)
    keep_freed_memory()
    torch.manual_seed(cfg.seed)
    return build(cfg.dataset, seed=cfg.seed, device=device), device


def number_among_jobs() -> int | None:
    """The number of this job of a sweep whose jobs run side by side; None where they do not, or there is no sweep."""
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return None
    side_by_side = HydraConfig.get().runtime.choices["hydra/launcher"] != "basic"
    return HydraConfig.get().job.num if side_by_side else None


def make_trainer(cfg: DictConfig, dataset: Any, device: "torch.device") -> "Trainer":
    """The trainer that a configuration describes, before its first step."""
    from wgangp.machine import distributed
    from wgangp.metrics import scores
    from wgangp.trainer import Trainer

    if cfg.conditional and not dataset.num_classes:
        raise ValueError("conditional=true needs labels, and this dataset has none")
    data = {"shape": list(dataset.shape), "num_classes": dataset.num_classes if cfg.conditional else 0}
    generator = build(cfg.generator, **data)
    catalogue = {name: build(node) for name, node in cfg.scores.items()}
    metrics = scores.choose(catalogue, dataset, cfg.evaluate.metrics, only_quick=True)
    for metric in metrics.values():
        metric.check()
    return Trainer(
        dataset=dataset,
        generator=distributed.synchronised(generator, device) if cfg.sync_batchnorm else generator,
        critic=build(cfg.critic, **data),
        loss=build(cfg.loss),
        penalty=build(cfg.penalty),
        generator_optimizer=partial(build, cfg.generator_optimizer),
        critic_optimizer=partial(build, cfg.critic_optimizer),
        metrics=scores.Scores(dataset, metrics, cfg.evaluation_samples),
        device=device,
        seed=cfg.seed,
        steps=cfg.steps,
        batch_size=cfg.batch_size,
        n_critic=cfg.n_critic,
        generator_batch_multiple=cfg.generator_batch_multiple,
        class_weight=cfg.class_weight,
        lr_decay=cfg.lr_decay,
        ema_decay=cfg.ema_decay,
        precision=cfg.precision,
        compile=cfg.compile is True or (cfg.compile == "auto" and cfg.steps >= WORTH_COMPILING.get(device.type, inf)),
    )


def go_on(trainer: "Trainer", run: Path, config: dict[str, Any]) -> None:
    """Loads the run's newest sound checkpoint, if there is one, and tells what is configured otherwise than it was."""
    from wgangp.machine.distributed import is_main
    from wgangp.run_dir.checkpoint import all_checkpoints, load_newest

    if not all_checkpoints(run):
        return
    path, state = load_newest(run, set_aside=is_main())
    before, now = flatten(OmegaConf.to_container(OmegaConf.create(state["config"]))), flatten(config)
    for key in sorted(before.keys() | now.keys()):
        if before.get(key) != now.get(key):
            log.info("resuming with %s=%s (it was %s)", key, now.get(key), before.get(key))
    trainer.load_state(state)
    log.info("resuming after step %d from %s", trainer.step, path)


def chosen(cfg: DictConfig) -> dict[str, Any]:
    """What a run is told from others by: its options, and the values of its overrides."""
    hydra, values = HydraConfig.get(), flatten(plain(cfg))
    options = {group: name for group, name in hydra.runtime.choices.items() if name and not group.startswith("hydra")}
    keys = [override.lstrip("+~").partition("=")[0] for override in hydra.overrides.task]
    return options | {key: values[key] for key in keys if key in values}


def finish(trainer: "Trainer", logger: "Logger", cfg: DictConfig) -> None:
    """Writes down what the last step came to, and tells it."""
    from wgangp.run_dir.evaluation import record

    scores = {name: v for name, v in trainer.latest.items() if name.startswith("eval/")}
    logger.hyperparameters(chosen(cfg), scores or {"critic/wasserstein": trainer.latest["critic/wasserstein"]})
    if scores:
        measured_with = {"generator": "ema", "batchnorm": "batch", "seed": cfg.seed}
        record(logger.run, trainer.step, measured_with, trainer.observer.metrics.results)  # type: ignore[attr-defined]
    for name, value in scores.items():
        log.info("%s = %.4g", name, value)
    log.info("samples: %s", logger.run / "samples" / f"step_{trainer.step:08d}.png")


def train(cfg: DictConfig) -> float:
    """Trains until the last step or a stop signal; returns the objective `monitor` for Hydra's sweepers."""
    run = Path(HydraConfig.get().runtime.output_dir)
    log.info("run directory %s", run)

    from wgangp.machine.device import release_memory
    from wgangp.machine.distributed import is_main
    from wgangp.machine.finite import Diverged
    from wgangp.run_dir.checkpoint import locked
    from wgangp.sweeps.search import note_divergence

    tries = cfg.rollbacks if cfg.on_divergence == "rollback" else 0
    with locked(run) if is_main() else nullcontext():
        for attempt in range(tries + 1):
            try:
                return train_in(run, cfg, attempt)
            except Diverged as error:
                if attempt == tries:
                    note_divergence()
                    raise
                log.warning("%s. Going back to the last checkpoint, with other random numbers", error)
            finally:
                release_memory()  # a sweep's next job is in this process
    raise AssertionError("the last attempt returns or raises")


def train_in(run: Path, cfg: DictConfig, attempt: int) -> float:
    """The same in a run directory that nobody else writes into; later attempts have other random numbers."""
    from wgangp.machine.distributed import is_main
    from wgangp.metrics.objective import monitored
    from wgangp.run_dir.checkpoint import Checkpoints
    from wgangp.run_dir.environment import check_disk, check_memory, record_environment
    from wgangp.run_dir.logger import Logger, Silence, traced
    from wgangp.sweeps.search import Pruning

    dataset, device = prepare(cfg)
    trainer, config = make_trainer(cfg, dataset, device), plain(cfg)
    check_memory(trainer, lambda n: make_trainer(DictConfig(plain(cfg) | {"batch_size": n}), dataset, device))
    go_on(trainer, run, config)
    trainer.seed += 1_000_000 * attempt
    if trainer.step >= cfg.steps:
        raise ValueError(f"the run is at step {trainer.step} of {cfg.steps}: give a larger number of steps to go on")
    if is_main():
        check_disk(run, trainer, cfg.keep_checkpoints)
        record_environment(run, device)
    log.info("training %s on %s", HydraConfig.get().runtime.choices["dataset"], trainer.device)
    header = {
        "config": OmegaConf.to_yaml(cfg, resolve=True),
        "shape": list(trainer.dataset.shape),
        "num_classes": trainer.dataset.num_classes if cfg.conditional else 0,
        "vocabulary": getattr(trainer.dataset, "vocabulary", None),
    }
    logger = Logger(run, trainer.step, cfg.batch_size * cfg.n_critic) if is_main() else Silence()
    with StopSignals() as stop, logging_redirect_tqdm(), ExitStack() as stack:
        if cfg.profile:
            first, last = cfg.profile_steps
            steps = traced(trainer.train_step, first, last, run / "profile")
            trainer.train_step = stack.enter_context(steps)  # type: ignore[method-assign]
        pruned = Pruning(trainer, cfg.monitor)
        trainer.fit(
            logger,
            Checkpoints(run, cfg.keep_checkpoints, header, cfg.monitor),
            lambda: stop() or pruned(),
            stop.save,
            log_every=cfg.log_every,
            sample_every=cfg.sample_every,
            evaluate_every=cfg.evaluate_every,
            checkpoint_every=cfg.checkpoint_every,
        )
    if trainer.step == cfg.steps and isinstance(logger, Logger):
        finish(trainer, logger, cfg)
    elif trainer.step < cfg.steps and stop.received is None:
        log.info("pruned after step %d: other trials were better by then", trainer.step)
    elif trainer.step < cfg.steps:
        log.info("stopped after step %d, saved; go on with: wgangp-resume run=%s", trainer.step, run)
    logger.close()
    if isnan(objective := monitored(trainer.latest, cfg.monitor)) and trainer.step == cfg.steps:
        log.warning(
            "monitor=%s: this run has no such scalar; it has %s", cfg.monitor, ", ".join(sorted(trainer.latest))
        )
    if stop.received == signal.SIGUSR2:
        signal.raise_signal(signal.SIGUSR2)  # submitit submits the job again; nobody else handles it
    if stop.received is not None:
        sys.exit(128 + stop.received)  # a sweep stops too
    return objective


if __name__ == "__main__":
    main()
