"""Compares methods fairly: the same search for each, then new seeds at the values that its search found."""

import logging
from pathlib import Path

from hydra.core.override_parser.types import Override
from hydra.core.utils import JobReturn

from .wgangp_sweeper import Sweeper

log = logging.getLogger(__name__)


class Comparison(Sweeper):
    """Searches for each of `methods` in search/METHOD, then trains it with `seeds` new seeds in seeds/METHOD.

    A method is {KEY: values}, which win over `params`; the command line wins over both. The seeds follow that of the
    searches and are not among them, since the best of many trials is partly luck.
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
        results: list[JobReturn] = []
        fresh = ",".join(str(self.cfg.seed + i) for i in range(1, self.seeds + 1))
        for name, own in self.methods.items():
            searched, judged = folder / "search" / name, folder / "seeds" / name
            for place in (searched, judged):
                place.mkdir(parents=True, exist_ok=True)
            found, study = self.search(searched, self.of_method(name, own))
            results += found + self.grid(judged, self.parse([*study.best_overrides(), f"seed={fresh}"]))
        log.info("each method at its best: wgangp-summarize sweep=%s", folder / "seeds")
        return results

    def of_method(self, name: str, own: dict[str, str]) -> list[Override]:
        typed = dict(argument.split("=", 1) for argument in self.arguments)
        swept = {"name": name, **(self.params or {}), **own, **typed}
        return self.parse([f"{key}={values}" for key, values in swept.items()])
