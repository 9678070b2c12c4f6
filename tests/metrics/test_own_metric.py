"""A user's own metric, outside the package, through the real commands; and which metrics are chosen."""

import inspect
import json
import sys
from pathlib import Path

import pytest
import torch
from conftest import Points, composed
from omegaconf import OmegaConf
from test_commands import DCGAN, SMALL, digits, images

from wgangp.app.build import build
from wgangp.metrics import Metric, Result, names_of
from wgangp.metrics.objective import higher_is_better
from wgangp.metrics.scores import Scores, check, choose
from wgangp.sweeps.search import load_optuna, storage

MODULE = '''
from wgangp.metrics import Metric, Result


class Spread(Metric):
    """The standard deviation of all numbers, of points or images."""

    higher_is_better = {"spread": True}
    quick = True

    def __init__(self, scale):
        self.scale = scale

    def __call__(self, samples, labels, dataset, device):
        real, _ = dataset.reference("train", 10)
        values = {"spread": self.scale * samples.float().std().item()}
        return Result(values, {"samples": len(samples), "reference": f"{len(real)} samples"})
'''
OWN = ["+scores.spread._target_=my_metrics.Spread", "+scores.spread.scale=2", "allow=[my_metrics]"]


@pytest.fixture
def my_metrics(tmp_path, monkeypatch):
    (tmp_path / "my_metrics.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)


def scores():
    return json.loads(Path("run/evaluation.json").read_text())


def test_a_search_goes_where_an_own_score_is_better(call, my_metrics):
    search = ["monitor=spread", "critic_optimizer.lr=interval(1e-4,1e-2)", "hydra.sweeper.trials=1"]
    code, text = call("train", "-m", *SMALL, "steps=1", *OWN, *search, "hydra.sweep.dir=sweep")
    assert code == 0, text
    study = load_optuna().load_study(**storage(Path("sweep/study.log")))
    assert study.direction.name == "MAXIMIZE"


def test_points_by_the_command_line(call, my_metrics):
    run = [*SMALL, "steps=4", "evaluate_every=2", "hydra.run.dir=run"]
    code, text = call("train", *run, *OWN, "monitor=spread")
    assert code == 0 and "eval/spread = " in text, text  # beside the quick ones of the catalogue
    assert {"eval/spread", "eval/modes"} <= scores()["metrics"].keys()
    code, text = call("evaluate", "run=run", "n=50", "metrics=[spread]", *OWN)
    assert code == 0 and "50 samples, against 10 samples" in text, text
    code, text = call("evaluate", "run=run", "n=50", "metrics=[spread]", *OWN[:2])
    assert code == 1 and "allow=[my_metrics]" in text and len(text.strip().splitlines()) == 1
    code, text = call("evaluate", "run=run", "n=50", "metrics=[spred]", *OWN)
    assert (
        code == 1
        and "spred does not apply to this dataset: choose from modes, wasserstein1, sliced_wasserstein, spread" in text
    )


def test_images_by_three_lines_of_yaml(call, my_metrics, tmp_path):
    option = tmp_path / "my_conf" / "metric" / "spread.yaml"
    option.parent.mkdir(parents=True)
    option.write_text("# @package scores.spread\n_target_: my_metrics.Spread\nscale: 1\n")
    own = ["--config-dir", option.parents[1], "+metric=spread", "allow=[my_metrics]"]
    data = [*images(digits(tmp_path / "d.npz")), *DCGAN]
    code, text = call("train", *own, *data, "steps=2", "evaluation_samples=20", "hydra.run.dir=run")
    assert code == 0 and scores()["metrics"].keys() == {"eval/spread"}, text
    assert 0 < scores()["metrics"]["eval/spread"] < 128  # of pixels from 0 to 255
    code, text = call("evaluate", *own, "run=run", "n=30", "metrics=[spread]")
    assert code == 0 and scores()["measured_with"]["eval/spread"]["samples"] == 30, text


def test_the_catalogue_is_of_metrics_whose_defaults_live_in_conf():
    for name, node in composed().scores.items():
        metric = build(node)
        assert isinstance(metric, Metric) and metric.higher_is_better, name
        parameters = inspect.signature(type(metric)).parameters.values()
        assert all(p.default is p.empty and p.kind is not p.VAR_KEYWORD for p in parameters), name


RETURNS = {
    "a tensor": ("Result({'spread': samples.std()}, {})", None),
    "a number of NumPy": ("Result({'spread': samples.numpy().std()}, {})", None),
    "a dict": ("{'spread': 1.0}", "a metric returned a dict: make it return a wgangp.metrics.Result"),
    "text": ("Result({'spread': 'large'}, {})", "could not convert string to float: 'large'"),
    "what JSON does not know": ("Result({'spread': 1.0}, {'samples': samples})", "Tensor is not JSON serializable"),
}


@pytest.mark.parametrize("case", RETURNS)
def test_whatever_a_metric_returns_the_run_ends_well(case, call, tmp_path, monkeypatch):
    returned, reason = RETURNS[case]
    module = MODULE.replace("Result(values,", f"{returned} if True else Result(values,")
    (tmp_path / "my_metrics.py").write_text(module)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_metrics", raising=False)
    run = [*SMALL, "steps=4", "evaluate_every=2", "hydra.run.dir=run", "evaluate.metrics=[spread,sliced_wasserstein]"]
    code, text = call("train", *run, *OWN, "monitor=sliced_wasserstein")
    assert code == 0 and ("eval/spread = " in text) == (reason is None), text
    assert reason is None or (reason in text and "spread cannot be computed and is left out" in text), text
    assert scores()["metrics"].keys() == {"eval/sliced_wasserstein"} | ({"eval/spread"} if reason is None else set())


@pytest.mark.parametrize("target", ["wgangp.metrics.extractors.inception", "wgangp.metrics.images.inception"])
def test_functions_that_read_files_are_no_metrics(target):
    with pytest.raises(ValueError, match=f"_target_={target} is no part of wgangp"):
        build(OmegaConf.create({"_target_": target, "path": None}))


class Fixed(Metric):
    """Returns one score, whatever the samples."""

    def __init__(self, name, quick=False, missing=None, suits=True):
        self.higher_is_better = {name: True}  # as of a metric whose names depend on its options
        self.name, self.quick, self.missing, self.suitable = name, quick, missing, suits

    def suits(self, dataset):
        return self.suitable

    def __call__(self, samples, labels, dataset, device):
        return Result({self.name: 1.0}, {"samples": len(samples)})


CATALOGUE = {
    "quick": Fixed("quick", quick=True),
    "slow": Fixed("slow"),
    "optional": Fixed("optional", quick=True, missing="optional=FILE; the other command writes one"),
    "other": Fixed("other", quick=True, suits=False),
}


def test_metrics_are_chosen_by_name_or_by_what_suits():
    assert list(choose(CATALOGUE, Points(), None, only_quick=True)) == ["quick"]
    assert list(choose(CATALOGUE, Points(), None, only_quick=False)) == ["quick", "slow"]
    assert list(choose(CATALOGUE, Points(), ["slow"], only_quick=True)) == ["slow"]
    assert list(choose(CATALOGUE, Points(), "slow", only_quick=True)) == ["slow"]
    assert choose(CATALOGUE, Points(), [], only_quick=False) == {}
    for name in ("other", "qick"):
        with pytest.raises(
            ValueError, match=f"^metrics: {name} does not apply to this dataset: .* quick, slow, optional$"
        ):
            choose(CATALOGUE, Points(), [name], only_quick=False)
    with pytest.raises(ValueError, match="optional lacks an option: set optional=FILE; the other"):
        choose(CATALOGUE, Points(), ["optional"], only_quick=False)
    assert list(check(CATALOGUE)) == ["optional"]


def test_a_metric_says_its_names_and_directions():
    assert names_of(CATALOGUE.values()) == {"quick", "slow", "optional", "other"}
    known = CATALOGUE.values()
    assert higher_is_better("eval/slow", known) and higher_is_better("slow", known)
    assert not higher_is_better("slow", ())  # by its name alone, a loss
    assert higher_is_better("eval/modes", known) and not higher_is_better("fid", known)


def test_a_metric_that_raises_is_reported_once_and_the_others_go_on(caplog):
    class Broken(Fixed):
        def __call__(self, samples, labels, dataset, device):
            raise KeyError("a\nb")

    scores = Scores(
        Points(),
        {"bad": Broken("bad"), "worse": Broken("worse"), "good": Fixed("good")},
        n=3,
        device=torch.device("cpu"),
    )
    for _ in range(2):
        assert scores(lambda n: (torch.zeros(n, 2), None)) == {"good": 1.0}
    told = [record.getMessage() for record in caplog.records]
    assert told == ["bad, worse cannot be computed and are left out: KeyError: 'a\\nb'"]
    assert [result.values for result in scores.results] == [{"good": 1.0}]


def test_a_metric_that_failed_once_is_tried_again():
    """As of a generator whose first samples are all the same."""

    class Late(Fixed):
        calls = 0

        def __call__(self, samples, labels, dataset, device):
            self.calls += 1
            if self.calls == 1:
                raise ValueError("fewer than two columns vary")
            return super().__call__(samples, labels, dataset, device)

    scores = Scores(Points(), {"late": Late("late")}, n=3, device=torch.device("cpu"))
    assert [scores(lambda n: (torch.zeros(n, 2), None)) for _ in range(2)] == [{}, {"late": 1.0}]
