"""Search over intervals and choices with Optuna, whose study is a file in the sweep's directory."""

import json
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import IntervalSweep, Override

from wgangp.sweeps.plan import other_sweep

log = logging.getLogger(__name__)


def load_optuna() -> Any:
    """The module. Raises ValueError if it is not installed."""
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise ValueError("a search over intervals needs Optuna: pip install -e '.[sweep]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def storage(file: Path) -> dict[str, Any]:
    """The study's place. An absolute path, since Optuna's lock is a link that a relative one would break."""
    storages = load_optuna().storages
    backend = storages.journal.JournalFileBackend(str(file.absolute()))
    return {"study_name": "wgangp", "storage": storages.JournalStorage(backend)}


def check_journal(file: Path, repair: bool) -> None:
    """A line that a crash cut at the end is removed if `repair`. Raises ValueError if another line is damaged."""
    if file.is_symlink():
        raise ValueError(f"{file} is a link: replace it by the file itself")
    content = file.read_bytes() if file.exists() else b""
    *lines, rest = content.split(b"\n")
    for number, line in enumerate(lines, 1):
        if not _is_record(line):
            raise ValueError(f"{file} is damaged in line {number}: restore it, or give another hydra.sweep.dir")
    if rest and repair:
        log.warning("%s: the last line is cut, and removed; its trial is done again", file)
        with open(file, "r+b") as opened:
            opened.truncate(len(content) - len(rest))


def _is_record(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


class StudyTrial:
    """A trial of the study: its number, its job's overrides, and whether the job is worth going on with."""

    def __init__(self, trial: Any, overrides: list[str]) -> None:
        self.trial, self.number, self.overrides = trial, int(trial.number), overrides

    def report(self, step: int, value: float) -> bool:
        """Records the objective at `step`; returns whether the run should end, as other trials were better there."""
        if math.isfinite(value):
            self.trial.report(value, step)
        return bool(self.trial.should_prune())


class Study:
    """A study of these overrides, new or resumed.

    The caller holds the sweep's lock, and tells or skips the `unfinished` trials. Raises ValueError if the file is
    damaged, or is of a search for another monitor.
    """

    def __init__(
        self, folder: Path, overrides: Sequence[Override], monitor: str, higher_is_better: bool, seed: int
    ) -> None:
        self.optuna, self.overrides, file = load_optuna(), overrides, folder / "study.log"
        self.distributions = {o.get_key_element(): self._distribution(o) for o in overrides if o.is_sweep_override()}
        check_journal(file, repair=True)
        file.with_name("study.log.lock").unlink(missing_ok=True)  # a killed process left it: the sweep's lock is ours
        self.study = self.optuna.create_study(
            **storage(file),
            direction="maximize" if higher_is_better else "minimize",
            pruner=self.optuna.pruners.MedianPruner(n_startup_trials=5),
            load_if_exists=True,
        )
        before = self.study.user_attrs.get("monitor", monitor)
        if before.removeprefix("eval/") != monitor.removeprefix("eval/"):
            raise ValueError(f"{file} is a search for monitor={before}: give it again, or another hydra.sweep.dir")
        self.study.set_user_attr("monitor", monitor)
        asked = self._values({key: str(distribution) for key, distribution in self.distributions.items()})
        asked.pop("monitor", None)  # compared above: with eval/ before it, it is the same
        if self.study.get_trials() and self.study.user_attrs.get("asked", asked) != asked:
            raise other_sweep(folder)
        self.study.set_user_attr("asked", asked)
        so_far = len(self.study.get_trials())  # a resumed study must not draw the same values again
        self.study.sampler = self.optuna.samplers.TPESampler(seed=seed + so_far, multivariate=True)

    def finished(self) -> int:
        """The number of trials with a score, or pruned."""
        states = self.optuna.trial.TrialState
        return len(self.study.get_trials(states=(states.COMPLETE, states.PRUNED)))

    def ask(self) -> StudyTrial:
        """The next trial: swept overrides have the values that Optuna drew, the others their own."""
        trial = self.study.ask(self.distributions)
        return StudyTrial(trial, self._with_values(trial.params))

    def tell(self, trial: StudyTrial, score: float, pruned: bool) -> bool:
        """Records the trial's objective, NaN if it has none; returns whether the trial counts: it did not fail."""
        states = self.optuna.trial.TrialState
        state = states.PRUNED if pruned else states.COMPLETE if math.isfinite(score) else states.FAIL
        self.study.tell(trial.number, score if state == states.COMPLETE else None, state=state)
        return bool(state != states.FAIL)

    def unfinished(self) -> list[StudyTrial]:
        """The trials that a killed process left."""
        left, keys = self.study.get_trials(states=(self.optuna.trial.TrialState.RUNNING,)), self.distributions.keys()
        # A cut journal may lack some values.
        return [StudyTrial(t, self._with_values(t.params) if t.params.keys() == keys else []) for t in left]

    def skip(self, trial: StudyTrial) -> None:
        """Its values are tried under the next number."""
        self.study.tell(trial.number, state=self.optuna.trial.TrialState.FAIL)
        self.study.enqueue_trial(trial.trial.params)

    def _has_scores(self) -> bool:
        return bool(self.study.get_trials(states=(self.optuna.trial.TrialState.COMPLETE,)))

    def check_scored(self) -> None:
        """Raises ValueError if no trial has a score."""
        if not self._has_scores():
            raise ValueError(f"no trial has a score of {self.study.user_attrs['monitor']}: give other intervals")

    def best_overrides(self) -> list[str]:
        """The overrides of the best trial. Raises ValueError if no trial has a score."""
        self.check_scored()
        return self._with_values(self.study.best_trial.params)

    def _with_values(self, params: dict[str, Any]) -> list[str]:
        return [f"{key}={value}" for key, value in self._values(params).items()]

    def _values(self, searched: dict[str, Any]) -> dict[str, Any]:
        """Returns the value of each override by its key; those that are searched have theirs in `searched`."""
        overrides = {o.get_key_element(): o for o in self.overrides}
        return {k: searched[k] if k in searched else o.get_value_element_as_str() for k, o in overrides.items()}

    def best(self) -> str:
        if not self._has_scores():
            return "no trial has a score"
        best = self.study.best_trial
        return f"best: job {best.number}, {best.value:.4g}, " + " ".join(f"{k}={v}" for k, v in best.params.items())

    def _distribution(self, override: Override) -> Any:
        """interval(a, b), also in tag(log, ...) or tag(int, ...); choices and ranges are categories."""
        value, kinds = override.value(), self.optuna.distributions
        if not isinstance(value, IntervalSweep):
            return kinds.CategoricalDistribution(list(override.sweep_string_iterator()))
        number, kind = (int, kinds.IntDistribution) if "int" in value.tags else (float, kinds.FloatDistribution)
        try:
            return kind(number(value.start), number(value.end), log="log" in value.tags)  # type: ignore[arg-type]
        except ValueError as error:
            raise ValueError(f"{override.input_line}: {error}") from error


def importances(folder: Path) -> list[str]:
    """A sentence on how much each parameter sets a search's best trials apart from the others (PED-ANOVA).

    Empty if there is no study, or too short a one; about what is wrong if the study cannot be read.
    """
    file = folder / "study.log"
    if not file.exists():
        return []
    try:
        check_journal(file, repair=False)
        optuna = load_optuna()
        study = optuna.load_study(**storage(file))
        if len(study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))) < 4:
            return []
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    except Exception as error:  # whatever a damaged journal leads Optuna to
        return [f"no importances: {type(error).__name__}: {error}" if not str(error) else f"no importances: {error}"]
    return [
        "what sets the best tenth of the trials apart, by PED-ANOVA (no shares of the objective's variation): "
        + ", ".join(f"{k} {v:.0%}" for k, v in found.items())
    ]
