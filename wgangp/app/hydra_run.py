"""The two ways to start a run from the command line: composed by Hydra, and resumed from its record."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from wgangp.app.compose import of_groups
from wgangp.app.paths import with_run_name
from wgangp.app.plain import to_record
from wgangp.app.prepare import RunningJob
from wgangp.app.resumed_config import changed
from wgangp.app.training import train, train_in, used_alone
from wgangp.metrics.objective import Trial
from wgangp.run_dir.checkpoint import load_newest, run_of
from wgangp.run_dir.claim import remove_if_empty
from wgangp.run_dir.header import Header, header_of
from wgangp.run_dir.record import Record, has_record, read_record

log = logging.getLogger(__name__)


def train_composed(cfg: DictConfig, trial: Trial | None = None) -> float:
    """Trains in Hydra's output directory; returns the objective."""
    hydra = HydraConfig.get()
    record = Record(to_record(cfg), list(hydra.overrides.task), of_groups(hydra.runtime.choices))
    wanted = Path(hydra.runtime.output_dir)
    if hydra.mode == RunMode.MULTIRUN:
        return train(cfg, wanted, record, job=RunningJob(number_among_jobs(), trial))[1]
    chosen = any(override.partition("=")[0].lstrip("+") == "hydra.run.dir" for override in hydra.overrides.hydra)
    if not chosen and cfg.name is not None:
        remove_if_empty(wanted)  # Hydra has created it without the run's name
        wanted = with_run_name(wanted, cfg.name)
    return train(cfg, wanted, record, may_rename=not chosen)[1]


def resume(path: Path, changes: Sequence[str]) -> float:
    """Continues a run from its newest checkpoint, or from the checkpoint that `path` names; returns the objective."""
    run = run_of(path.absolute())
    with used_alone(run):  # from the record on: another process may have gone on with the run before
        header = header_of(load_newest(path)[1])
        cfg, record = changed(header.record or older_record(run, header), changes)
        return train_in(run, cfg, record, RunningJob(), start=path if path.is_file() else None)


def older_record(run: Path, header: Header) -> Record:
    """Returns how a run was started whose checkpoint has the configuration alone: the rest is in the run's files."""
    try:
        found = read_record(run) if has_record(run) else Record({})
    except (ValueError, OSError) as error:
        log.warning("%s. It is written again, from the configuration of the checkpoint", error)
        found = Record({})
    return replace(found, config=header.config)


def number_among_jobs() -> int | None:
    """Returns the number of this job of a sweep if its jobs run side by side; else None."""
    hydra = HydraConfig.get()
    return int(hydra.job.num) if hydra.runtime.choices["hydra/launcher"] != "basic" else None
