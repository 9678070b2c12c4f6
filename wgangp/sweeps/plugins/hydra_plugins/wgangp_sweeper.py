"""What wgangp-train -m does: a resumable grid of jobs, each of which may fail alone, or a search.

It is here because Hydra takes plugins from modules of this name alone; wgangp.app.compose puts the folder on the path.
"""

import logging
import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobReturn, JobStatus, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from wgangp.app.errors import explain
from wgangp.machine.paths import local_path
from wgangp.metrics.objective import Trial, higher_is_better
from wgangp.run_dir.claim import numbered
from wgangp.run_dir.lock import is_locked, locked
from wgangp.run_dir.record import has_record
from wgangp.run_dir.status import Status, read_status
from wgangp.sweeps.jobs import is_score, read_job
from wgangp.sweeps.plan import (
    Plan,
    PlannedJob,
    check_count,
    check_free,
    check_names,
    check_same,
    directory_overrides,
    other_sweep,
    read_plan,
    started_at,
    write_plan,
)
from wgangp.sweeps.progress import report_failures, report_progress, write_failure
from wgangp.sweeps.workers import ending_with_us

if TYPE_CHECKING:
    from wgangp.sweeps.search import Study, StudyTrial

log = logging.getLogger(__name__)


def was_pruned(status: Status) -> bool:
    """Whether a trial has ended without a score of its own, but is not to be done again."""
    return status.state == "pruned" or status.error == "Diverged"


class Sweeper(BasicSweeper):
    """Hydra's grid. Beyond that: a job that cannot be composed fails alone, a job that is done is not done again, and
    failures are reported at the end, with exit code 1. If a value is an interval, `trials` jobs search for the best.
    """

    def __init__(self, max_batch_size: int | None, params: dict[str, str] | None, trials: int) -> None:
        super().__init__(max_batch_size, params)
        self.trials = trials

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        self.context, self.cfg = hydra_context, config
        self.task_function: Callable[..., Any] = task_function

    def sweep(self, arguments: list[str]) -> list[JobReturn]:
        check_count("hydra.sweeper.trials", self.trials)
        self.arguments = arguments
        swept = {o.get_key_element(): o for o in self.parse([*self._parse_config(), *arguments])}
        overrides = list(swept.values())  # the command line's win over the study's
        for o in overrides:
            if o.is_discrete_sweep() and not list(o.sweep_string_iterator()):
                raise ValueError(f"{o.input_line} has no value, so there is no job: name its values, as in key=a,b")
        if self.is_search(overrides) and not is_score(self.cfg.monitor):
            raise ValueError(
                f"monitor={self.cfg.monitor}: a search needs a score of the samples, as monitor=eval/wasserstein1; "
                "losses and the critic's own estimate scale with penalty.weight"
            )
        folder = self.make_folder()
        with ExitStack() as stack:
            try:
                stack.enter_context(locked(folder))
            except ValueError as error:
                advice = "wait until it ends, or give another hydra.sweep.dir"
                raise ValueError(f"{folder} is in use by another sweep: {advice}") from error
            return self.run_jobs(folder, overrides)

    def parse(self, overrides: list[str]) -> list[Override]:
        return OverridesParser.create(config_loader=self.context.config_loader).parse_overrides(overrides)

    def is_search(self, overrides: list[Override]) -> bool:
        return any(o.is_sweep_override() and not o.is_discrete_sweep() for o in overrides)

    def run_jobs(self, folder: Path, overrides: list[Override]) -> list[JobReturn]:
        return self.search(folder, overrides)[0] if self.is_search(overrides) else self.grid(folder, overrides)

    def make_folder(self) -> Path:
        """Creates the sweep's directory: a new one if its name has the time, else the one that the user named."""
        is_new = "${now:" in self.raw("sweep", "dir")
        for folder in numbered(local_path(self.cfg.hydra.sweep.dir)):
            try:
                folder.mkdir(parents=True, exist_ok=not is_new)
            except OSError as error:
                if is_new and folder.is_dir():
                    continue
                advice = "give another hydra.sweep.dir"
                raise ValueError(f"{folder} cannot be created ({error.strerror}): {advice}") from error
            with read_write(self.cfg.hydra), open_dict(self.cfg.hydra):
                self.cfg.hydra.sweep.dir = str(folder)
            return folder
        raise AssertionError("the names never end")

    def raw(self, group: str, key: str) -> Any:
        """hydra.GROUP.KEY before its interpolations are resolved."""
        found = OmegaConf.to_container(self.cfg.hydra[group], resolve=False)
        assert isinstance(found, dict)
        return found[key]

    def grid(self, folder: Path, overrides: list[Override]) -> list[JobReturn]:
        """Every combination of the values."""
        (grid,) = self.split_arguments(overrides, None)
        jobs = [PlannedJob(i, self.name_of(i, job), job) for i, job in enumerate(grid)]
        check_names(jobs)
        plan = read_plan(folder)
        for job in jobs:
            check_same(folder, job, plan)
        waiting = [job for job in jobs if not self.has_ended(folder / job.name, job.overrides)]
        self.record(folder, Plan(started_at(plan), jobs={job.name: job.overrides for job in jobs}))
        log.info("%s: %d jobs, %d of them done before", folder, len(jobs), len(jobs) - len(waiting))
        together = 1 if isinstance(self.launcher, BasicLauncher) else max(1, len(waiting))
        results, begin = list[JobReturn](), time.monotonic()
        for i in range(0, len(waiting), together):
            results += self.launch(folder, waiting[i : i + together])
            report_progress("jobs", len(jobs) - len(waiting) + len(results), len(jobs), len(results), begin)
        failed = [job.name for job, r in zip(waiting, results, strict=True) if r.status != JobStatus.COMPLETED]
        report_failures(folder, failed, len(grid))
        return results

    def search(self, folder: Path, overrides: list[Override]) -> "tuple[list[JobReturn], Study]":
        """Up to `trials` jobs, one after the other, each where Optuna expects most of it after those before.

        Returns their results, and the study.
        """
        from wgangp.app.run_scores import catalogue
        from wgangp.sweeps.search import Study

        plan = read_plan(folder)
        if (plan and plan.jobs) or (not (folder / "study.log").exists() and (folder / "0").exists()):
            raise other_sweep(folder)
        higher = higher_is_better(self.cfg.monitor, catalogue(self.cfg).values())
        study = Study(folder, overrides, self.cfg.monitor, higher, self.cfg.seed)
        self.record(folder, Plan(started_at(plan), trials=self.trials))
        for trial in study.unfinished():
            status = read_status(folder / self.name_of(trial.number, trial.overrides))
            if status is not None and (status.state == "done" or was_pruned(status)):
                study.tell(trial, math.nan if status.value is None else status.value, was_pruned(status))
            else:
                study.skip(trial)
        results, failed, begin = [], [], time.monotonic()
        for number in range(study.finished(), self.trials):
            trial, name = self.next_trial(folder, study)
            (result,) = self.launch(folder, [PlannedJob(trial.number, name, trial.overrides)], trial)
            status = read_status(folder / name)
            pruned = status is not None and was_pruned(status)
            score = result.return_value if result.status == JobStatus.COMPLETED else math.nan
            failed += [] if study.tell(trial, score, pruned) else [name]
            results.append(result)
            outcome = "pruned" if pruned else f"{score:.4g}"
            log.info("job %s: %s = %s; %s", name, self.cfg.monitor, outcome, study.best())
            report_progress("trials", number + 1, self.trials, len(results), begin)
        log.info("%s", study.best())
        report_failures(folder, failed, self.trials)
        study.check_scored()
        return results, study

    def record(self, folder: Path, plan: Plan) -> None:
        """Writes the sweep's configuration and its plan."""
        OmegaConf.save(self.cfg, folder / "multirun.yaml")
        write_plan(folder, plan)

    def next_trial(self, folder: Path, study: "Study") -> "tuple[StudyTrial, str]":
        """The trial and its directory, which no other job has: a cut journal may have lost trials that ran."""
        while True:
            trial = study.ask()
            name = self.name_of(trial.number, trial.overrides)
            if not has_record(folder / name):
                return trial, name
            check_free(folder, name, trial.number)
            study.skip(trial)

    def launch(self, folder: Path, jobs: Sequence[PlannedJob], trial: Trial | None = None) -> list[JobReturn]:
        """The jobs' results, in their order, each in the directory of its name. Only jobs of this process prune."""
        assert self.launcher is not None
        errors = {job.number: self.composition_error(job.overrides) for job in jobs}
        good = [job for job in jobs if errors[job.number] is None]
        for job in jobs:
            if (error := errors[job.number]) is not None:
                write_failure(folder / job.name, job.overrides, error)
        alone = isinstance(self.launcher, BasicLauncher)
        if alone:
            task = partial(self.task_function, trial=trial)
            self.launcher.setup(hydra_context=self.context, task_function=task, config=self.cfg)
        before = {job.number: read_status(folder / job.name) for job in good}
        launched: Sequence[JobReturn] = []
        if good:
            overrides = [[*job.overrides, *directory_overrides(folder, job.name)] for job in good]
            with nullcontext() if alone else ending_with_us([folder / job.name for job in good]):
                launched = self.launcher.launch(overrides, initial_job_idx=good[0].number)
        found = dict(zip((job.number for job in good), launched, strict=True))
        for job in good:
            run, result = folder / job.name, found[job.number]
            refused = result.status != JobStatus.COMPLETED and read_status(run) == before[job.number]
            if refused and not is_locked(run):  # before it recorded anything itself
                write_failure(run, job.overrides, str(result._return_value))
        return [found.get(job.number, JobReturn(status=JobStatus.FAILED)) for job in jobs]

    def composition_error(self, job: list[str]) -> str | None:
        """What is wrong with the job's overrides, in one line."""
        try:
            self.validate_batch_is_legal([job])
        except Exception as error:
            return explain(error, "train", job)
        return None

    def name_of(self, number: int, job: list[str]) -> str:
        """The job's directory by hydra.sweep.subdir; its number if that is not set, or the job cannot be composed."""
        if self.raw("sweep", "subdir") == "${hydra.job.num}":
            return str(number)
        try:
            config = self.context.config_loader.load_sweep_config(self.cfg, job)
        except Exception:
            return str(number)
        with read_write(config), open_dict(config):
            config.hydra.job.id = config.hydra.job.num = number
        singleton = HydraConfig.instance()
        before = singleton.cfg
        try:
            setup_globals()  # the resolver of ${hydra:...}, which reads the singleton
            singleton.set_config(config)
            return str(OmegaConf.select(config, "hydra.sweep.subdir"))
        finally:
            singleton.cfg = before

    def has_ended(self, run: Path, overrides: list[str]) -> bool:
        """Whether the job's run has ended well, here or after it was resumed to more steps."""
        if not run.exists():
            return False
        if (status := read_status(run)) is None:
            return read_job(run).status == "done"
        if status.state == "done":
            return True
        try:
            steps = OmegaConf.select(self.context.config_loader.load_sweep_config(self.cfg, overrides), "steps")
        except Exception:  # it cannot be composed
            return False
        return isinstance(steps, int) and status.step > steps
