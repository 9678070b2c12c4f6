"""wgangp-evaluate on tiny trained runs, and the scores that the trainer is given."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import CONF, options, run_command, write_mnist
from test_commands import DCGAN, SMALL, digits, images

from wgangp.app.compose import load_config
from wgangp.app.paper import beside_the_paper, reported
from wgangp.app.plain import plain
from wgangp.data import Dataset
from wgangp.data.toy import gaussians8, swissroll
from wgangp.metrics import Result
from wgangp.metrics.classifier import ResNet
from wgangp.metrics.scores import Scores, choose
from wgangp.metrics.scores import plain as plain_result
from wgangp.metrics.text import NgramJS
from wgangp.metrics.toy import Modes, Wasserstein1
from wgangp.run_dir.checkpoint import load_checkpoint, newest_checkpoint
from wgangp.run_dir.evaluation import set_aside_later, write_scores

CPU = torch.device("cpu")
CATALOGUE = {"modes": Modes(samples=2500), "wasserstein1": Wasserstein1(samples=2000, draws=5), "ngram_js": NgramJS()}


def evaluation(run):
    return json.loads((Path(run) / "evaluation.json").read_text())


@pytest.fixture
def classifier(tmp_path, monkeypatch):
    """A random classifier of four classes; torch's caches are empty and in the test's folder."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda *a, **k: (_ for _ in ()).throw(OSError("offline")))
    torch.manual_seed(0)
    torch.save({"state_dict": ResNet(3, 4, 1).state_dict()}, tmp_path / "c.pt")
    return tmp_path / "c.pt"


def test_points(call):
    call("train", *SMALL, "steps=4", "hydra.run.dir=run")
    code, text = call("evaluate", "run=run", "n=300", "seed=1")
    assert code == 0, text
    first = evaluation("run")
    assert first["step"] == 4
    assert first["metrics"].keys() == {
        f"eval/{name}" for name in ("modes", "high_quality", "wasserstein1", "sliced_wasserstein")
    }
    for name, value in first["metrics"].items():
        assert f"{name.removeprefix('eval/')} " in text and f"{value:.5g}" in text
    how = dict(first["measured_with"]["eval/wasserstein1"])
    floor = how.pop("floor")
    assert how == {
        **{"generator": "ema", "batchnorm": "batch", "seed": 1, "samples": 300},
        "reference": "300 training points",
    }
    assert 0.05 < floor["mean"] < 0.5 and floor["draws"] == 5
    assert f"data against itself {floor['mean']:.3g} +- {floor['std']:.2g};" in text and "real data 0.98" in text
    assert first["measured_with"]["eval/high_quality"]["ceiling"] == pytest.approx(1 - math.exp(-4.5), abs=0.001)
    call("evaluate", "run=run", "n=300", "seed=1")
    assert evaluation("run") == first

    call("evaluate", "run=run", "n=200", "metrics=[wasserstein1]", "ema=false")  # the others of this step stay
    second = evaluation("run")
    assert second["measured_with"]["eval/wasserstein1"]["generator"] == "last"
    assert second["metrics"]["eval/modes"] == first["metrics"]["eval/modes"]
    assert second["metrics"]["eval/wasserstein1"] != first["metrics"]["eval/wasserstein1"]

    cut = Path("run/evaluation.json").read_text()[:100]
    Path("run/evaluation.json").write_text(cut)
    assert call("evaluate", "run=run", "n=200", "metrics=[modes]")[0] == 0 and evaluation("run")["step"] == 4

    call("resume", "run=run", "steps=6")
    call("evaluate", "run=run", "n=200", "metrics=[modes]")  # those of other steps go
    assert evaluation("run")["step"] == 6 and "eval/wasserstein1" not in evaluation("run")["metrics"]


def test_a_classifier_is_for_the_metrics_that_are_named(call, tmp_path, classifier):
    call("train", *images(digits(tmp_path / "d.npz")), *DCGAN, "steps=1", "hydra.run.dir=run")
    code, text = call("evaluate", "run=run", "n=20", "metrics=[kid]", f"classifier={classifier}")
    assert code == 1 and "none of the named metrics uses it: name classifier, too" in text, text


@pytest.mark.parametrize("conditional", ["true", "false"])
def test_images_by_a_classifier(call, tmp_path, classifier, conditional):
    data = images(digits(tmp_path / "d.npz"))
    call("train", *data, *DCGAN, "steps=2", "hydra.run.dir=run", f"conditional={conditional}")
    code, text = call("evaluate", "run=run", "n=50", f"classifier={classifier}")
    assert (
        code == 0
        and "fid, is, kid, prc cannot be computed and are left out: the Inception weights cannot be downloaded" in text
    )
    found = evaluation("run")
    names = {"score", "score_std", "frechet", "kernel", "kernel_std", "precision", "recall", "balance", "nearest"}
    names |= {"nearest_held_out", *(["agreement"] if conditional == "true" else [])}
    assert found["metrics"].keys() == {f"eval/classifier_{name}" for name in names}
    assert found["metrics"]["eval/classifier_nearest_held_out"] == pytest.approx(0, abs=1e-2)  # copies, see digits
    assert 1 <= found["metrics"]["eval/classifier_score"] <= 4
    how = found["measured_with"]["eval/classifier_frechet"]
    assert how["extractor"] == "wgangp-classifier" and how["samples"] == 50 and how["reference"] == "training samples"
    assert how["weights"] == "c.pt" and len(how["weights_sha256"]) == 64


def test_a_classifier_of_other_classes_is_refused(call, tmp_path, classifier):
    """Their number alone may agree."""
    known = torch.load(classifier, weights_only=True)
    call("train", *images(digits(tmp_path / "d.npz")), *DCGAN, "steps=2", "hydra.run.dir=run", "conditional=true")
    for names, code in ((["0", "1", "2", "3"], 0), (["1", "0", "2", "3"], 1)):
        torch.save(known | {"class_names": names}, "named.pt")
        answer, text = call("evaluate", "run=run", "n=50", "classifier=named.pt", "metrics=[classifier]")
        assert answer == code, text
    assert "named.pt knows the classes 1, 0, 2, 3, and the data have 0, 1, 2, 3: train one on the same" in text


def test_images_of_numeric_conditions_are_scored_by_a_classifier_too(call, classifier):
    rng = np.random.default_rng(0)
    np.savez("x.npz", x=rng.integers(0, 256, (60, 8, 8, 1), dtype=np.uint8), y=rng.normal(size=60))
    data = [*images("x.npz"), "dataset.condition=y", "conditional=true"]
    call("train", *data, *DCGAN, "steps=2", "hydra.run.dir=run")
    code, text = call("evaluate", "run=run", "n=50", f"classifier={classifier}", "metrics=[classifier,condition]")
    assert code == 0 and "classifier_score" in text and "condition_r2" in text and "agreement" not in text, text


def test_one_clear_line_where_something_is_missing(call, tmp_path, classifier):
    data = images(digits(tmp_path / "d.npz"))
    call("train", *data, *DCGAN, "steps=2", "hydra.run.dir=run", "conditional=true")
    torch.save({"state_dict": ResNet(3, 10, 1).state_dict()}, "ten.pt")
    for arguments, message in [
        ([], "weights-inception-2015-12-05-6726825d.pth on another machine and copy it to"),
        (["metrics=[fid]", f"weights={classifier}"], "does not hold the reference Inception"),
        (
            ["metrics=[fidd]"],
            "fidd does not apply to this dataset: choose from fid, is, kid, prc, prc_vgg16, classifier",
        ),
        (["metrics=[classifier]"], "set classifier=FILE; python -m wgangp.train_classifier dataset=... writes one"),
        (["metrics=[classifier]", "classifier=none.pt"], "classifier=none.pt: there is no such file"),
        (["metrics=[classifier]", "classifier=ten.pt"], "has 10 classes, and the data 4"),
        (["n=0"], "n=0: give a whole number of at least 1"),
        (["metrics=[]"], "metrics=[] names none"),
    ]:
        code, text = call("evaluate", "run=run", *(["n=20"] if "n=0" not in arguments else []), *arguments)
        assert code == 1 and message in text and len(text.strip().splitlines()) == 1, text
    assert call("evaluate", "run=nowhere")[0] == 1 and call("evaluate")[0] == 1


def test_without_the_extra_points_are_scored_and_images_say_what_to_install(call, tmp_path, monkeypatch):
    for name in ("scipy.optimize", "torch_fidelity"):
        monkeypatch.setitem(sys.modules, name, None)
    call("train", *SMALL, "steps=2", "hydra.run.dir=points")
    code, text = call("evaluate", "run=points", "n=100", "classifier=c.pt")
    assert code == 1 and "classifier=c.pt: it scores uint8 images and clips, not this data" in text
    code, text = call("evaluate", "run=points", "n=100")
    assert code == 0 and "wasserstein1 cannot be computed" in text and "pip install -e '.[eval]'" in text
    assert evaluation("points")["metrics"].keys() == {"eval/modes", "eval/high_quality", "eval/sliced_wasserstein"}
    assert call("evaluate", "run=points", "n=100", "metrics=[wasserstein1]")[0] == 1
    call("train", *images(digits(tmp_path / "d.npz")), *DCGAN, "steps=2", "hydra.run.dir=run")
    code, text = call("evaluate", "run=run", "n=20")
    assert code == 1 and "pip install -e '.[eval]'" in text and len(text.strip().splitlines()) == 1


class Sentences(Dataset):
    """One-hot lines (n, v, t) of a cyclic alphabet: 0 to 3 in training, 4 to 7 held out."""

    shape, num_classes, vocabulary = (8, 6), 0, "abcdefgh"

    def __len__(self):
        return 250

    def batch(self, index, n, first=0):
        codes = first + (torch.arange(n)[:, None] + torch.arange(6)) % 4
        return torch.nn.functional.one_hot(codes, 8).permute(0, 2, 1).float(), torch.zeros(n)

    def to_metric_input(self, x):
        return ["".join(self.vocabulary[i] for i in row) for row in x.argmax(1).tolist()]

    def reference(self, part="train", n=None, seed=0):
        x, y = self.batch(0, n or 250, first={"train": 0, "held_out": 4}[part])
        return self.to_metric_input(x), y


def test_the_trainers_scores_of_strings():
    data = Sentences()
    values = Scores(data, choose(CATALOGUE, data, None, only_quick=True), n=400, device=CPU)(
        lambda n: (data.to_metric_input(data.batch(0, n)[0]), None)
    )
    assert values["ngram_js_2"] == pytest.approx(0, abs=1e-4) == values["ngram_js_2_floor"]
    assert values.keys() == {f"ngram_js_{n}{end}" for n in (1, 2, 3, 4) for end in ("", "_floor")}


def test_the_run_and_the_command_compute_the_same_scores(call):
    """For their record in evaluation.json is the same."""
    small = ["generator.width=8", "critic.width=8", "batch_size=16", "evaluation_samples=150", "hydra.run.dir=run"]
    call("train", "dataset=gaussians8", "steps=3", *small)
    trained = evaluation("run")
    assert call("evaluate", "run=run", "n=150", "metrics=[sliced_wasserstein]")[0] == 0
    assert evaluation("run") == trained


def test_what_cannot_be_computed_is_told_once_and_training_goes_on(caplog):
    data = swissroll(seed=0, device=CPU)
    assert list(choose(CATALOGUE, data, None, only_quick=False)) == ["wasserstein1"]
    trainer_metrics = Scores(data, {name: CATALOGUE[name] for name in ("modes", "wasserstein1")}, n=50, device=CPU)
    for _ in range(2):
        assert trainer_metrics(lambda n: (data.batch(0, n)[0], None)).keys() == {"wasserstein1"}
    assert [r.getMessage() for r in caplog.records] == [
        "modes cannot be computed and is left out: modes: this data has no modes; use wasserstein1"
    ]


def test_the_trainers_scores_of_real_points_in_closed_form():
    """Of a Gaussian in the plane, 1 - exp(-9 / 2) is within three standard deviations."""
    data = gaussians8(seed=0, device=CPU)
    torch.manual_seed(0)
    values = Scores(data, choose(CATALOGUE, data, ["modes"], only_quick=True), n=20_000, device=CPU)(
        lambda n: (data.batch(0, n)[0], None)
    )
    assert values == {"modes": 8, "high_quality": pytest.approx(1 - math.exp(-4.5), abs=0.003)}


def test_the_papers_score_is_beside_ours(call):
    """By the score's name; what was not measured, and what differs from the preset, are told in a line each."""
    paper = ["+paper.scores.modes=25", "+paper.scores.is=7.86 +- 0.07", "paper.preset=paper/gaussians8"]
    call("train", *SMALL, "steps=4", "hydra.run.dir=run", "batch_size=32", *paper)
    code, text = call("evaluate", "run=run", "n=200", "metrics=[modes]")
    assert code == 0, text
    (modes,) = (line for line in text.splitlines() if line.startswith("modes "))
    (quality,) = (line for line in text.splitlines() if line.startswith("high_quality "))
    assert "   the paper 25; " in modes and "the paper" not in quality
    assert "the paper reports is 7.86 +- 0.07: not measured here" in text
    (differs,) = (line for line in text.splitlines() if line.startswith("this run differs from "))
    assert differs.startswith("this run differs from experiment=paper/gaussians8: step=4 (100,000), dataset._target_=")
    assert "generator.width=8 (512)" in differs and "hydra.run.dir" not in differs and "log_every" not in differs


PRESETS = options("experiment", "paper/*.yaml")
REPORTED = [name for name in PRESETS if "\npaper:" in (CONF / "experiment" / name).with_suffix(".yaml").read_text()]


@pytest.mark.parametrize("name", REPORTED)
def test_a_run_of_a_preset_as_it_is_differs_in_nothing(name):
    config = plain(load_config(f"experiment={name}", "log_every=7", "dataset.root=elsewhere", "seed=3"))
    del config["generator"]["condition"], config["content"]  # of a record that is older than these keys
    (score,) = reported(config).values()
    assert config["paper"]["preset"] == name
    assert beside_the_paper(config, 100_000, {"is"}) == []
    assert beside_the_paper(config, 100_000, {}) == [f"the paper reports is {score}: not measured here"]
    changed = plain(load_config(f"experiment={name}", "penalty=r1", "dataset=array", "dataset.path=x.npy"))
    (line,) = beside_the_paper(changed, 5, {"is"})
    assert "step=5 (100,000), dataset._target_=wgangp.data.sources.array (" in line
    assert "penalty.cost=zero_centred (two_sided)" in line and "dataset.path" not in line
    (line,) = beside_the_paper(plain(load_config(f"experiment={name}", "augment=[cutout]")), 100_000, {"is"})
    assert line.endswith("augment=['cutout'] ([])")


@pytest.mark.parametrize("paper", [None, [], {}, {"scores": 3}, {"scores": {"is": "x" * 5000}, "preset": "../x"}])
def test_any_record_has_short_lines(paper):
    assert all(len(line) < 200 for line in beside_the_paper({"paper": paper}, 3, {}))


def test_a_checkpoint_file_is_scored_too(call):
    call("train", *SMALL, "steps=4", "checkpoint_every=2", "hydra.run.dir=run")
    older = sorted(Path("run/checkpoints").glob("step_*.pt"))[0]
    assert newest_checkpoint(Path("run")) != older
    assert call("evaluate", f"run={older}", "n=100", "metrics=[modes]")[0] == 0
    assert evaluation("run")["step"] == load_checkpoint(older)["step"] == 2


def test_help_needs_no_torch(tmp_path):
    assert "wgangp-evaluate run=DIR" in run_command("evaluate", "--help", cwd=tmp_path).stdout
    program = (
        "import sys; sys.argv[1:] = ['--help']\nimport wgangp.evaluate\n"
        "try: wgangp.evaluate.main()\nexcept SystemExit: pass\nsys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True).returncode == 0


def test_training_logs_the_scores_it_is_asked_for(call, tmp_path, classifier):
    data = [*images(digits(tmp_path / "d.npz")), *DCGAN, "evaluation_samples=20", "hydra.run.dir=run"]
    asked = ["evaluate.metrics=[classifier]", f"evaluate.classifier={classifier}"]
    code, text = call("train", *data, *asked, "steps=4", "evaluate_every=2")
    assert code == 0, text
    lines = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "eval/classifier_frechet" in line] == [2, 4]
    assert len(evaluation("run")["measured_with"]["eval/classifier_frechet"]["weights_sha256"]) == 64


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("evaluate.metrics=[modes]", "modes does not apply to this dataset: choose from fid, is, kid, prc"),
        ("evaluate.metrics=[fid]", "the Inception weights cannot be downloaded"),
        ("evaluate.metrics=[classifier]", "set classifier=FILE"),
        ("evaluate.classifier=none.pt", "classifier=none.pt: there is no such file"),
        ("evaluate.metrics=[prc_vgg16]", "set scores.prc_vgg16.weights=FILE"),
        ("scores.prc_vgg16.weights=none.pth evaluate.metrics=[prc_vgg16]", "none.pth: there is no such file"),
    ],
)
def test_what_training_cannot_score_is_refused_before_it_compiles(
    call, tmp_path, classifier, asked, message, monkeypatch
):
    monkeypatch.delattr("wgangp.app.prepare.make_trainer")  # which compiles, for minutes
    data = images(digits(tmp_path / "d.npz"))
    code, text = call("train", *data, *DCGAN, "steps=2", "hydra.run.dir=run", *asked.split())
    assert code == 1 and message in text and not Path("run/checkpoints").exists()


def test_one_sample_more_or_less_changes_no_other(call, tmp_path, my_pixels):
    """A DCGAN with BatchNorm: the last chunk is never of one sample, which has no variance."""
    call("train", *images(digits(tmp_path / "d.npz")), *DCGAN, "steps=2", "hydra.run.dir=run")
    found = {}
    for n in (1, 2, 101, 102):
        code, text = call("evaluate", "run=run", f"n={n}", "metrics=[pixels]", *my_pixels)
        assert code == 0, text
        found[n] = torch.load("pixels.pt")
    assert [len(x) for x in found.values()] == [1, 2, 101, 102]
    assert all(torch.equal(found[n], found[102][:n]) for n in found)


@pytest.fixture
def my_pixels(tmp_path, monkeypatch):
    """A metric that keeps what it is given."""
    (tmp_path / "my_pixels.py").write_text(
        "import torch\nfrom wgangp.metrics import Metric, Result\n\n"
        "class Pixels(Metric):\n"
        "    higher_is_better = {'pixels': True}\n\n"
        "    def __call__(self, samples, labels, dataset, device):\n"
        "        torch.save(samples, 'pixels.pt')\n"
        "        return Result({'pixels': 0.0}, {})\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    return ["+scores.pixels._target_=my_pixels.Pixels", "allow=[my_pixels]"]


def test_data_that_moved_are_found_by_path(call, tmp_path, classifier):
    before, after = tmp_path / "before.npz", tmp_path / "7"
    call("train", *images(digits(before)), *DCGAN, "steps=2", "hydra.run.dir=run")
    before.rename(after)
    options = ["run=run", "n=20", "metrics=[classifier]", f"classifier={classifier}"]
    code, text = call("evaluate", *options)
    assert code == 1 and "before.npz: there is no such file" in text
    code, text = call("evaluate", *options, "dataset.path=7")
    assert code == 0, text
    code, text = call("evaluate", *options, "dataset.root=elsewhere", "dataset.path=7")  # arrays have no root
    assert code == 0, text


def test_a_file_of_held_out_samples_that_moved_is_found_by_its_key(call, tmp_path):
    rows = "a,b\n" + "".join(f"{i % 7},{i % 5}.5\n" for i in range(60))
    for name in ("train.csv", "test.csv"):
        (tmp_path / name).write_text(rows)
    table = ["dataset=table", "dataset.path=train.csv", "dataset.held_out=test.csv", "batch_size=8", "compile=false"]
    assert call("train", *table, "generator.width=4", "critic.width=4", "steps=1", "hydra.run.dir=run")[0] == 0
    for name in ("train.csv", "test.csv"):
        (tmp_path / name).rename(tmp_path / f"moved_{name}")
    options = ["run=run", "n=100", "metrics=[ks]", "dataset.path=moved_train.csv"]
    code, text = call("evaluate", *options)
    assert code == 1 and "test.csv: there is no such file" in text
    code, text = call("evaluate", *options, "dataset.held_out=moved_test.csv")
    assert code == 0, text


def test_data_of_a_folder_of_datasets_are_found_there_and_nothing_is_downloaded_elsewhere(call, tmp_path, monkeypatch):
    for name in ("before", "after"):
        write_mnist(tmp_path / name / "MNIST" / "raw")
    mnist = ["dataset=mnist", "dataset.root=before", "generator.width=4", "critic.width=4", "batch_size=8", *DCGAN]
    code, text = call("train", *mnist, "steps=1", "hydra.run.dir=run")
    assert code == 0, text
    (tmp_path / "before").rename(tmp_path / "gone")
    options = ["run=run", "n=20", "metrics=[modes]"]
    for given, environment in [("dataset.root=after", None), ("seed=1", "after")]:
        if environment:
            monkeypatch.setenv("WGANGP_DATA", environment)
        code, text = call("evaluate", *options, given)
        assert "modes does not apply to this dataset" in text  # so the data were found
    monkeypatch.delenv("WGANGP_DATA")
    monkeypatch.setattr(
        "torchvision.datasets.MNIST", lambda root, train, download: pytest.fail("downloads") if download else 1 / 0
    )
    code, text = call("evaluate", *options)
    assert code == 1 and "MNIST cannot be read" in text
    code, text = call("evaluate", *options, "dataset.path=here")
    assert code == 1 and "this run's dataset has no path; try dataset.root=FOLDER" in text


def test_two_metrics_with_a_score_of_one_name_are_refused():
    two = {"some": Modes(samples=100), "all": Modes(samples=2500)}
    with pytest.raises(ValueError, match=r"some and all both give \w+: choose one of them"):
        choose(two, gaussians8(seed=0, device=CPU), ["some", "all"], only_quick=False)
    assert choose(two, gaussians8(seed=0, device=CPU), ["all"], only_quick=False) == {"all": two["all"]}


def test_results_may_have_numbers_of_numpy_and_tensors():
    how = {"samples": np.int64(5), "reference": "train"}
    result = plain_result(
        Result({"a": torch.tensor(1.5)}, how, {"a": {"floor": np.float32(0.5), "draws": torch.tensor(3)}})
    )
    assert result == Result({"a": 1.5}, {"samples": 5, "reference": "train"}, {"a": {"floor": 0.5, "draws": 3}})
    with pytest.raises(TypeError, match="ndarray is not JSON serializable"):
        plain_result(Result({"a": 1.0}, {"samples": np.ones(3)}))


def test_scores_of_two_futures_that_were_given_up_are_both_kept(tmp_path):
    for value in (1.0, 2.0):
        write_scores(tmp_path, 10, {}, [Result({"fid": value}, {"samples": 5})])
        set_aside_later(tmp_path, 5)
    kept = [json.loads((tmp_path / name).read_text()) for name in ("evaluation.json.later", "evaluation.json.later.2")]
    assert [scores["metrics"]["eval/fid"] for scores in kept] == [1.0, 2.0]


@pytest.mark.parametrize("content", ["", "[1]", '{"step": 3}', '{"step": 3, "metrics": [], "measured_with": {}}', "{"])
def test_a_foreign_evaluation_is_replaced_as_a_whole(tmp_path, content):
    (tmp_path / "evaluation.json").write_text(content)
    result = Result({"a": 1.0, "b": 2.0}, {"samples": 5}, {"b": {"floor": {"mean": 1.0, "std": 0.5}}})
    assert write_scores(tmp_path, 3, {"seed": 0}, [result]) == tmp_path / "evaluation.json"
    assert evaluation(tmp_path) == {
        "step": 3,
        "metrics": {"eval/a": 1.0, "eval/b": 2.0},
        "measured_with": {
            "eval/a": {"seed": 0, "samples": 5},
            "eval/b": {"seed": 0, "samples": 5, "floor": {"mean": 1.0, "std": 0.5}},
        },
    }
    assert [path.name for path in tmp_path.iterdir()] == ["evaluation.json"]
