"""Search over intervals and choices with Optuna, whose study is a file in the sweep's directory."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import IntervalSweep, Override

from wgangp.metrics.objective import monitored, sign

trial: Any = None  # whose job runs in this process: it is told the scores, and may end the job


def load_optuna() -> Any:
    """The module. Raises ValueError where it is not installed."""
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise ValueError("a search over intervals needs Optuna: pip install 'wgangp[sweep]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def storage(folder: Path) -> dict[str, Any]:
    """Where the study of a sweep's directory is."""
    journal = load_optuna().storages.journal
    file = journal.JournalFileBackend(str(folder / "study.log"))
    return {"study_name": "wgangp", "storage": load_optuna().storages.JournalStorage(file)}


class Study:
    """A study of these overrides, new or gone on with; what a killed process left half-done is to be done again."""

    def __init__(self, folder: Path, overrides: Sequence[Override], monitor: str, seed: int) -> None:
        self.optuna, self.overrides = load_optuna(), overrides
        self.distributions = {o.get_key_element(): self._distribution(o) for o in overrides if o.is_sweep_override()}
        self.study = self.optuna.create_study(
            **storage(folder),
            direction="minimize" if sign(monitor) == 1 else "maximize",
            pruner=self.optuna.pruners.MedianPruner(n_startup_trials=5),
            load_if_exists=True,
        )
        so_far = len(self.study.get_trials())  # a study that goes on has not to draw the same again
        self.study.sampler = self.optuna.samplers.TPESampler(seed=seed + so_far, multivariate=True)
        for left in self.study.get_trials(states=(self.optuna.trial.TrialState.RUNNING,)):
            self.study.tell(left.number, state=self.optuna.trial.TrialState.FAIL)
            self.study.enqueue_trial(left.params)

    def finished(self) -> int:
        """Trials with a score, or pruned."""
        states = self.optuna.trial.TrialState
        return len(self.study.get_trials(states=(states.COMPLETE, states.PRUNED)))

    def ask(self) -> tuple[int, list[str]]:
        """The next trial's number, and its overrides: those that are swept as drawn, the others as they are."""
        global trial
        trial = self.study.ask(self.distributions)
        keys = [(o, o.get_key_element()) for o in self.overrides]
        values = [trial.params[k] if k in self.distributions else o.get_value_element_as_str() for o, k in keys]
        return trial.number, [f"{key}={value}" for (_, key), value in zip(keys, values, strict=True)]

    def tell(self, score: float) -> bool:
        """The trial's objective, NaN if there is none; false if it failed."""
        global trial
        states = self.optuna.trial.TrialState
        hopeless = trial.should_prune() or "diverged" in trial.user_attrs
        state = states.PRUNED if hopeless else states.COMPLETE if math.isfinite(score) else states.FAIL
        self.study.tell(trial, score if state == states.COMPLETE else None, state=state)
        trial = None
        return state != states.FAIL

    def best(self) -> str:
        if not self.study.get_trials(states=(self.optuna.trial.TrialState.COMPLETE,)):
            return "no trial has a score"
        best = self.study.best_trial
        return f"best: job {best.number}, {best.value:.4g}, " + " ".join(f"{k}={v}" for k, v in best.params.items())

    def _distribution(self, override: Override) -> Any:
        """interval(a, b), also in tag(log, ...) or tag(int, ...); choices and ranges are categories."""
        value, kinds = override.value(), self.optuna.distributions
        if not isinstance(value, IntervalSweep):
            return kinds.CategoricalDistribution(list(override.sweep_string_iterator()))
        if "int" in value.tags:
            return kinds.IntDistribution(int(value.start), int(value.end), log="log" in value.tags)  # type: ignore[arg-type]
        return kinds.FloatDistribution(float(value.start), float(value.end), log="log" in value.tags)  # type: ignore[arg-type]


def importances(folder: Path) -> dict[str, float]:
    """How much of the objective's variation each parameter explains (PED-ANOVA); nothing where there is no study."""
    if not (folder / "study.log").exists():
        return {}
    optuna = load_optuna()
    study = optuna.load_study(**storage(folder))
    if len(study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))) < 4:
        return {}
    return optuna.importance.get_param_importances(study, evaluator=optuna.importance.PedAnovaImportanceEvaluator())


def note_divergence() -> None:
    """A trial whose job diverges is pruned, so that the search learns from it, and has not failed."""
    if trial is not None:
        trial.set_user_attr("diverged", True)


class Pruning:
    """Reports the trainer's scores to the trial of the running job; true once that is not worth going on with."""

    def __init__(self, trainer: Any, monitor: str) -> None:
        self.trainer, self.monitor, self.reported = trainer, monitor, trainer.latest

    def __call__(self) -> bool:
        if trial is None or self.trainer.latest is self.reported:
            return False
        self.reported = self.trainer.latest
        if math.isfinite(value := monitored(self.reported, self.monitor)):
            trial.report(value, self.trainer.step)
        return bool(trial.should_prune())
