"""What wgangp-train -m does: a grid of jobs, any of which may fail, in a directory with which can be gone on.

It is here because Hydra takes plugins from modules of this name alone; wgangp.train puts the folder on the path.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf
from tqdm import tqdm

from wgangp.config import explain
from wgangp.jobs import read_job

log = logging.getLogger(__name__)

Overrides = list[str]


class Sweeper(BasicSweeper):
    """Hydra's grid. Beyond that: a job that cannot be composed fails alone, a job that is done is not done again, and
    what failed is told at the end, with exit code 1."""

    def sweep(self, arguments: Overrides) -> list[JobReturn]:
        assert self.config is not None and self.hydra_context is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        (grid,) = self.split_arguments(parser.parse_overrides([*self._parse_config(), *arguments]), None)
        folder = Path(self.config.hydra.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self.config, folder / "multirun.yaml")
        waiting = [(i, job) for i, job in enumerate(grid) if not is_done(folder / str(i), job)]
        together = 1 if isinstance(self.launcher, BasicLauncher) else max(1, len(waiting))
        results: list[JobReturn] = []
        with tqdm(total=len(grid), initial=len(grid) - len(waiting), desc=str(folder), unit="job") as bar:
            for i in range(0, len(waiting), together):
                results += self.launch(folder, waiting[i : i + together])
                bar.update(len(waiting[i : i + together]))
        failed = [str(i) for (i, _), r in zip(waiting, results, strict=True) if r.status != JobStatus.COMPLETED]
        if failed:
            raise ValueError(
                f"{len(failed)} of {len(grid)} jobs failed: {', '.join(failed)}; for the reasons: wgangp-summarize "
                f"sweep={folder}"
            )
        return results

    def launch(self, folder: Path, jobs: Sequence[tuple[int, Overrides]]) -> list[JobReturn]:
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

    def composition_error(self, job: Overrides) -> str | None:
        """What is wrong with the job's overrides, in one line."""
        try:
            self.validate_batch_is_legal([job])
        except Exception as error:
            return explain(error, "train")
        return None


def is_done(run: Path, job: Overrides) -> bool:
    """Whether the job has been done there before. Raises ValueError where the directory is of another one."""
    if not (run / ".hydra" / "overrides.yaml").exists():
        return False
    recorded = dict(override.partition("=")[::2] for override in job)
    before = read_job(run)
    if before.overrides != recorded:
        raise ValueError(f"{run} is of another sweep: give another hydra.sweep.dir, or the same command as there")
    return before.status == "done"


def write_failure(run: Path, job: Overrides, reason: str) -> None:
    """The directory of a job that could not begin."""
    (run / ".hydra").mkdir(parents=True, exist_ok=True)
    OmegaConf.save(OmegaConf.create(job), run / ".hydra" / "overrides.yaml")
    (run / "train.log").write_text(f"[ERROR] - {reason}\n")
    log.error("job %s: %s", run.name, reason)
