"""What wgangp-train -m does: a grid of jobs, any of which may fail, in a directory with which can be gone on.

It is here because Hydra takes plugins from modules of this name alone; wgangp.app.compose puts the folder on the path.
"""

import logging
import math
from collections.abc import Sequence
from pathlib import Path

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf
from tqdm import tqdm

from wgangp.app.errors import explain
from wgangp.sweeps.jobs import read_job

log = logging.getLogger(__name__)

Job = list[str]  # its overrides


class Sweeper(BasicSweeper):
    """Hydra's grid. Beyond that: a job that cannot be composed fails alone, a job that is done is not done again, and
    what failed is told at the end, with exit code 1. Where a value is an interval, `trials` jobs search for the best.
    """

    def __init__(self, max_batch_size: int | None, params: dict[str, str] | None, trials: int) -> None:
        super().__init__(max_batch_size, params)
        self.trials = trials

    def sweep(self, arguments: Job) -> list[JobReturn]:
        assert self.config is not None and self.hydra_context is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        swept = {o.get_key_element(): o for o in parser.parse_overrides([*self._parse_config(), *arguments])}
        overrides = list(swept.values())  # the command line's win over the study's
        folder = Path(self.config.hydra.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self.config, folder / "multirun.yaml")
        if any(o.is_sweep_override() and not o.is_discrete_sweep() for o in overrides):
            return self.search(folder, overrides)
        return self.grid(folder, overrides)

    def grid(self, folder: Path, overrides: list[Override]) -> list[JobReturn]:
        """Every combination of the values."""
        (grid,) = self.split_arguments(overrides, None)
        waiting = [(i, job) for i, job in enumerate(grid) if not is_done(folder / str(i), job)]
        together = 1 if isinstance(self.launcher, BasicLauncher) else max(1, len(waiting))
        results: list[JobReturn] = []
        with tqdm(total=len(grid), initial=len(grid) - len(waiting), desc=str(folder), unit="job") as bar:
            for i in range(0, len(waiting), together):
                results += self.launch(folder, waiting[i : i + together])
                bar.update(len(waiting[i : i + together]))
        failed = [i for (i, _), r in zip(waiting, results, strict=True) if r.status != JobStatus.COMPLETED]
        tell_failures(folder, failed, len(grid))
        return results

    def search(self, folder: Path, overrides: list[Override]) -> list[JobReturn]:
        """Up to `trials` jobs, one after the other, each where Optuna expects most of it after those before."""
        from wgangp.sweeps.search import Study

        assert self.config is not None
        study = Study(folder, overrides, self.config.monitor, self.config.seed)
        results, failed, done = [], [], study.finished()
        with tqdm(total=self.trials, initial=done, desc=str(folder), unit="trial") as bar:
            for _ in range(done, self.trials):
                number, job = study.ask()
                (result,) = self.launch(folder, [(number, job)])
                score = result.return_value if result.status == JobStatus.COMPLETED else math.nan
                failed += [] if study.tell(score) else [number]
                results.append(result)
                bar.update()
        log.info("%s", study.best())
        tell_failures(folder, failed, self.trials)
        return results

    def launch(self, folder: Path, jobs: Sequence[tuple[int, Job]]) -> list[JobReturn]:
        """The jobs' results, in their order, each in the directory of its number."""
        assert self.launcher is not None
        errors = {i: self.composition_error(job) for i, job in jobs}
        good = [(i, job) for i, job in jobs if errors[i] is None]
        for i, job in jobs:
            if errors[i] is not None:
                write_failure(folder / str(i), job, str(errors[i]))
        launched: Sequence[JobReturn] = []
        if good:
            numbered = [[*job, f"hydra.sweep.subdir={i}"] for i, job in good]
            launched = self.launcher.launch(numbered, initial_job_idx=good[0][0])
        found = dict(zip((i for i, _ in good), launched, strict=True))
        return [found.get(i, JobReturn(status=JobStatus.FAILED)) for i, _ in jobs]

    def composition_error(self, job: Job) -> str | None:
        """What is wrong with the job's overrides, in one line."""
        try:
            self.validate_batch_is_legal([job])
        except Exception as error:
            return explain(error, "train")
        return None


def tell_failures(folder: Path, failed: Sequence[int], jobs: int) -> None:
    """Raises ValueError, which is exit code 1, if there are any."""
    if failed:
        names = ", ".join(map(str, failed))
        raise ValueError(
            f"{len(failed)} of {jobs} jobs failed: {names}; for the reasons: wgangp-summarize sweep={folder}"
        )


def is_done(run: Path, job: Job) -> bool:
    """Whether the job has been done there before. Raises ValueError where the directory is of another one."""
    if not (run / ".hydra" / "overrides.yaml").exists():
        return False
    if OmegaConf.load(run / ".hydra" / "overrides.yaml") != job:
        raise ValueError(f"{run} is of another sweep: give another hydra.sweep.dir, or the same command as there")
    return read_job(run).status == "done"


def write_failure(run: Path, job: Job, reason: str) -> None:
    """The directory of a job that could not begin."""
    (run / ".hydra").mkdir(parents=True, exist_ok=True)
    OmegaConf.save(OmegaConf.create(job), run / ".hydra" / "overrides.yaml")
    (run / "train.log").write_text(f"[ERROR] - {reason}\n")
    log.error("job %s: %s", run.name, reason)
