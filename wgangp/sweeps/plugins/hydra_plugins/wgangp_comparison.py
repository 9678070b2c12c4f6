"""Compares methods fairly: the same search for each, then new seeds at the values that its search found."""

import logging
from collections.abc import Mapping
from pathlib import Path

from hydra.core.override_parser.types import Override
from hydra.core.utils import JobReturn

from wgangp.sweeps.plan import check_count, set_aside

from .wgangp_sweeper import Sweeper

log = logging.getLogger(__name__)


class Comparison(Sweeper):
    """Searches for each of `methods` in search/METHOD, then trains it with `seeds` new seeds in seeds/METHOD.

    If more trials find better values later, the seeds of the former ones are kept in earlier/METHOD. A method is
    {KEY: values}, which win over `params`; the command line wins over both. The seeds follow that of the searches and
    are not among them, since the best of many trials is partly luck.
    """

    def __init__(
        self,
        max_batch_size: int | None,
        params: dict[str, str] | None,
        trials: int,
        methods: dict[str, dict[str, str]],
        seeds: int,
    ) -> None:
        super().__init__(max_batch_size, params, trials)
        self.methods, self.seeds = methods, seeds

    def is_search(self, overrides: list[Override]) -> bool:
        return True

    def run_jobs(self, folder: Path, overrides: list[Override]) -> list[JobReturn]:
        check_count("hydra.sweeper.seeds", self.seeds)
        if not (self.methods and isinstance(self.methods, Mapping)):
            raise ValueError("hydra.sweeper.methods: give at least one, as in {r1: {penalty: r1}}")
        results, failed = list[JobReturn](), list[str]()
        for name, own in self.methods.items():
            try:
                results += self.judge(folder, name, self.of_method(name, own))
            except ValueError as error:  # the other methods go on
                log.error("%s: %s", name, error)
                failed.append(name)
        log.info("each method at its best: wgangp-summarize sweep=%s", folder / "seeds")
        if failed:
            raise ValueError(f"{len(failed)} of {len(self.methods)} methods failed: {', '.join(failed)}")
        return results

    def judge(self, folder: Path, name: str, overrides: list[Override]) -> list[JobReturn]:
        """A method's search, then its best values with new seeds."""
        searched, judged = folder / "search" / name, folder / "seeds" / name
        searched.mkdir(parents=True, exist_ok=True)
        results, study = self.search(searched, overrides)
        fresh = ",".join(str(self.cfg.seed + i) for i in range(1, self.seeds + 1))
        best = self.parse([*study.best_overrides(), f"seed={fresh}"])
        set_aside(judged, folder / "earlier", self.split_arguments(best, None)[0])
        judged.mkdir(parents=True, exist_ok=True)
        return list(results) + self.grid(judged, best)

    def of_method(self, name: str, own: dict[str, str]) -> list[Override]:
        deleted = [argument for argument in self.arguments if argument.startswith("~")]
        typed = dict(argument.split("=", 1) for argument in self.arguments if argument not in deleted)
        swept = {"name": name, **(self.params or {}), **own, **typed}
        return self.parse([*(f"{key}={values}" for key, values in swept.items()), *deleted])
