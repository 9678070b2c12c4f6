"""Single samples: the same seed and index give the same image, whatever is drawn beside it."""

import errno
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from test_commands import SMALL, digits, images

import wgangp
from wgangp.app.sample_draws import classes_of
from wgangp.sampling import CHUNK, class_rows, latents, latents_of, slerp

OPTIONS = ["generator=dcgan", "critic=dcgan", "generator.first_norm=units", "device=cpu", "steps=2", "sample_every=0"]


@pytest.fixture(params=["true", "false"], ids=["conditional", "unconditional"])
def run(request, call, tmp_path):
    """A run whose generator has BatchNorm on 1x1 features, which has no variance for a single sample."""
    data = [*images(digits(tmp_path / "d.npz")), "evaluation_samples=201"]
    own = [f"conditional={request.param}", "hydra.run.dir=run", "n_critic=1"]
    code, text = call("train", *data, *OPTIONS, *own)
    assert code == 0, text
    return tmp_path / "run"


def files(call, *options):
    """The images that wgangp-sample writes, by their numbers."""
    code, text = call("sample", "run=run", "format=files", *options)
    assert code == 0, text
    return [np.asarray(Image.open(file)) for file in sorted(Path(text.strip().splitlines()[-1]).glob("*.png"))]


def test_pictures_of_one_row_keep_their_axes(call):
    np.save("x.npy", np.random.default_rng(0).integers(0, 256, (20, 1, 16, 3), dtype=np.uint8))
    small = ["generator=mlp", "critic=mlp", "generator.width=4", "critic.width=4", "batch_size=8", "device=cpu"]
    code, text = call("train", "dataset=array", "dataset.path=x.npy", *small, "steps=1", "hydra.run.dir=run")
    assert code == 0, text
    assert [picture.shape for picture in files(call, "n=2")] == [(1, 16, 3)] * 2


def test_an_image_is_the_same_whatever_n_is(call, run):
    conditional = wgangp.load_generator(run).num_classes > 0
    for batchnorm in ("batch", "standing", "running"):
        for more in [[], ["label=2"]] if conditional else [[]]:
            drawn = {n: files(call, f"n={n}", f"batchnorm={batchnorm}", *more) for n in (1, 101, 102)}
            for n in (1, 101):
                assert len(drawn[n]) == n
                assert all(np.array_equal(a, b) for a, b in zip(drawn[n], drawn[102], strict=False)), (batchnorm, n)
            listed = next(Path("run/samples").glob("*_labels.csv"), None)
            assert (listed is not None) == conditional and (not listed or listed.read_text().startswith("file,class\n"))
            picked = files(call, "seeds=[100,0]", f"batchnorm={batchnorm}", *more)
            assert np.array_equal(picked[0], drawn[101][100]) and np.array_equal(picked[1], drawn[101][0])


def test_a_far_sample_is_drawn_without_those_before_it(run):
    generator = wgangp.load_generator(run)
    torch.manual_seed(0)
    all_z, _ = latents(generator, 12_346)
    torch.manual_seed(0)
    z, numbers = latents_of(generator, [12_345, 3])
    assert len(z) == 2 * CHUNK and torch.equal(z, all_z[numbers]) and {3, 12_345} <= set(numbers.tolist())


def test_a_single_latent_by_load_generator(run):
    generator = wgangp.load_generator(run)
    torch.manual_seed(0)
    z, y = torch.randn(3, generator.nz), torch.tensor([0, 1, 2])
    one, three = generator(z[:1], y[:1]), generator(z, y)
    assert one.shape == (1, 3, 8, 8)
    torch.testing.assert_close(one, three[:1])  # as close as matrix products of different sizes are


def test_interpolations_are_on_the_circle_or_straight():
    """From one unit vector to another halfway round; of one number there is no circle."""
    a, b, t = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]), torch.tensor([0.0, 1 / 3, 1.0])
    torch.testing.assert_close(slerp(a, b, t)[0, 1], torch.tensor([3**0.5 / 2, 0.5]))
    for x, y in ([[2.0]], [[-1.0]]), ([[2.0]], [[2.0]]), ([[1.0, 0.0]], [[-1.0, 0.0]]):
        x, y = torch.tensor(x), torch.tensor(y)
        torch.testing.assert_close(slerp(x, y, t)[0], x + t[:, None] * (y - x))


def test_rows_of_two_kinds_are_refused(call, run):
    code, text = call("sample", "run=run", "interpolate=true", "sweep_condition=a")
    assert code == 1 and "are two kinds of rows: leave out one" in text and text.count("\n") == 1, text


def test_names_never_meet(call, run):
    """Each setting has a file of its own."""
    settings = ["n=9", "seed=1", "numbers=true", "truncation=0.7", "seeds=[3,17]", "batchnorm=standing", "ema=false"]
    settings += ["interpolate=true", f"seeds=[{','.join(map(str, range(90)))}]", "format=files"]
    if wgangp.load_generator(run).num_classes:
        settings.append("label=2")
    written = set()
    for setting in ["n=64", *settings]:
        code, text = call("sample", "run=run", setting)
        assert code == 0, text
        written.add(text.strip().splitlines()[-1])
    assert len(written) == len(settings) + 1 and all(Path(name).exists() for name in written)


@pytest.mark.parametrize("batchnorm", ["batch", "standing"])
def test_rows_of_classes_have_the_same_images_whatever_their_length(batchnorm, run):
    _, generator = wgangp.Run(run).load(ema=True, batchnorm=batchnorm)
    generator.num_classes = generator.num_classes or 1
    z = torch.randn(30, generator.nz, generator=torch.Generator().manual_seed(0))
    few, many = (class_rows(generator, z[:k]).unflatten(0, (generator.num_classes, k)) for k in (2, 30))
    assert torch.equal(few, many[:, :2]) and not torch.equal(many[:, 0], many[:, 1])


def test_numbers_of_a_grid_are_those_that_seeds_picks(run, call, monkeypatch):
    """Of rows of classes each row counts its own."""
    shown = []
    monkeypatch.setattr(
        "wgangp.pictures.draw", lambda x, numbers, **o: shown.append(numbers) or np.zeros((1, 1, 3), "u1")
    )
    for options in (["n=8"], ["seeds=[7,3]"]):
        assert call("sample", "run=run", "numbers=true", *options)[0] == 0
    assert shown[0] in ([*range(8)], [0, 1] * 4) and shown[1] == [7, 3]
    assert call("sample", "run=run", "numbers=true", "seeds=[7,3]", "interpolate=true")[0] == 0
    assert shown[2] == [7] * 8 + [3] * 8  # of the sample that a row begins with


def test_evaluation_of_101_samples_from_another_folder_where_the_data_have_moved(call, run, tmp_path, monkeypatch):
    moved = tmp_path / "moved" / "d.npz"
    moved.parent.mkdir()
    (tmp_path / "d.npz").rename(moved)
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    (tmp_path / "own.py").write_text(
        "from wgangp.metrics import Metric, Result\n"
        "class Count(Metric):\n"
        "    higher_is_better = {'count': True}\n"
        "    def __call__(self, samples, labels, dataset, device):\n"
        "        return Result({'count': float(len(samples))}, {})\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    own = ["+scores.count._target_=own.Count", "allow=[own]", "metrics=[count]", "n=101"]
    assert call("evaluate", "run=../run", *own)[0] == 1  # the data are gone
    code, text = call("evaluate", "run=../run", "dataset.path=../moved/d.npz", *own)
    assert code == 0 and "101" in text, text


@pytest.mark.parametrize("ending", ["h5", "psd", "mpg", "xbm"])
def test_a_file_is_not_emptied_by_an_ending_that_cannot_be_written(run, call, ending):
    Path(f"keep.{ending}").write_text("precious")
    code, text = call("sample", "run=run", "n=4", f"out=keep.{ending}")
    assert Path(f"keep.{ending}").read_text() == "precious" and "\n" not in text.strip()
    assert code == (0 if Path(f"keep.{ending}.png").exists() else 1), text


def test_no_sample_is_asked_for(run, call):
    code, text = call("sample", "run=run", "seeds=[]")
    assert code == 1 and "seeds=[]: give the numbers of samples" in text
    code, text = call("sample", "run=run", "seeds=[20260131120000]")
    assert code == 1 and "give the numbers of samples, below 100,000,000" in text


def test_a_column_called_class_is_beside_the_classes(call, tmp_path):
    """And a class may be called true."""
    rows = "".join(f"{i % 7},{i % 5},{'true' if i % 2 else 'other'}\n" for i in range(60))
    (tmp_path / "t.csv").write_text("class,b,kind\n" + rows)
    table = ["dataset=table", "dataset.path=t.csv", "dataset.labels=kind", "conditional=true", "steps=1"]
    small = ["batch_size=8", "generator.width=4", "critic.width=4", "compile=false", "hydra.run.dir=run"]
    assert call("train", *table, *small)[0] == 0
    assert call("sample", "run=run", "format=csv", "n=5", "label=true", "out=s.csv")[0] == 0
    head, *lines = Path("s.csv").read_text().splitlines()
    assert head == "class,b,label" and all(line.endswith(",true") for line in lines)
    assert call("sample", "run=run", "format=csv", "n=5", "out=S.CSV")[0] == 0 and Path("S.CSV").is_file()


def test_interpolations_are_pictures_or_arrays(run, call):
    code, text = call("sample", "run=run", "interpolate=true", "format=files")
    assert code == 1 and "interpolate=true is for pictures, films and arrays: leave out format=files" in text
    steps = ["interpolate=true", "format=npy"]  # each step for itself, whatever is drawn with it
    asked = {"steps": [*steps, "n=3"], "more": [*steps, "n=20"], "ends": ["n=3", "format=npy", "batchnorm=standing"]}
    for out, options in asked.items():
        assert call("sample", "run=run", *options, f"out={out}")[0] == 0
    steps, more, ends = (np.load(f"{out}.npy").astype(int) for out in asked)
    assert len(steps) == 24 and np.abs(steps[::8] - ends).max() <= 1  # the first of each row is the sample itself
    assert np.abs(steps[:16] - more[:16]).max() <= 1


@pytest.mark.parametrize("options", [["format=files", "out=s"], ["format=npy", "out=s.npy"]])
def test_labels_of_other_samples_are_never_beside_new_ones(run, call, options):
    assert call("sample", "run=run", "n=3", *options)[0] == 0
    labels = [*Path().glob("s_labels.*")]
    generator = wgangp.load_generator(run)
    assert bool(labels) == bool(generator.num_classes)
    beside = Path("s_labels.csv" if "format=files" in options else "s_labels.npy")
    beside.write_text("old")
    code, text = call("sample", "run=run", "n=3", *options)
    if generator.num_classes:
        assert code == 0 and beside.read_bytes() != b"old"
    else:
        assert code == 1 and f"{beside} belongs to samples of another command" in text


def test_labels_are_those_of_the_data(call, tmp_path):
    """Classes 1 and 7: their numbers are written, and asked for; a run without classes takes none."""
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "d.npz", x=rng.normal(size=(40, 2)), labels=np.where(np.arange(40) % 2, 7, 1))
    small = ["dataset=table", "dataset.path=d.npz", "generator.width=4", "critic.width=4", "steps=1", "batch_size=8"]
    for conditional, asked, told in (
        ("true", "7", ""),
        ("true", "0", "has 2 classes: 1, 7"),
        ("false", "1", "no classes"),
    ):
        run = f"{conditional}{asked}"
        assert call("train", *small, f"conditional={conditional}", f"hydra.run.dir={run}", "sample_every=0")[0] == 0
        code, text = call("sample", f"run={run}", f"label={asked}", "n=3", "format=npy", f"out={run}.npy")
        assert (told in text and code == 1) if told else code == 0, text
    assert np.load("true7_labels.npy").tolist() == [7, 7, 7]


def test_written_conditions_are_those_that_were_asked_for(call, tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "d.npz", x=rng.normal(size=(40, 2)), y=rng.normal(size=(40, 2)) * [1, 1000])
    small = ["dataset=table", "dataset.path=d.npz", "generator.width=4", "critic.width=4", "steps=1", "batch_size=8"]
    run = ["dataset.condition=y", "conditional=true", "hydra.run.dir=run", "sample_every=0"]
    assert call("train", *small, *run)[0] == 0
    assert call("sample", "run=run", "n=2", "format=npy", "condition=[1.5,-200.25]", "out=s")[0] == 0
    assert np.load("s_conditions.npy").tolist() == [[1.5, -200.25]] * 2


def test_an_interpolation_leads_to_the_latent_of_the_next_row(run, call):
    assert call("sample", "run=run", "interpolate=true", "n=3", "out=rows.png")[0] == 0
    grid = np.asarray(Image.open("rows.png"))
    rows = [[grid[i : i + 8, j : j + 8].astype(int) for j in range(2, 82, 10)] for i in range(2, 32, 10)]
    assert all(np.abs(rows[i][-1] - rows[(i + 1) % 3][0]).max() <= 1 for i in range(3))


def test_out_may_be_a_folder_but_not_below_a_file(run, call):
    Path("folder").mkdir()
    assert call("sample", "run=run", "n=4", "out=folder")[0] == 0
    assert [path.suffix for path in Path("folder").iterdir()] == [".png"]
    Path("file").write_text("precious")
    code, text = call("sample", "run=run", "n=4", "out=file/x.png")
    assert code == 1 and text.startswith("file/x.png: ") and "a folder that can be written by out=" in text


def test_a_folder_never_has_samples_of_two_commands(run, call):
    assert call("sample", "run=run", "format=files", "n=3", "out=folder")[0] == 0
    code, text = call("sample", "run=run", "format=files", "n=2", "out=folder")
    assert code == 1 and "folder has more than 2 samples of another command: give another folder by out=" in text


def test_a_table_is_written_as_csv_in_the_proportions_of_the_data(call, tmp_path):
    rows = "".join(f"{i % 7},{i % 3},{'rare' if i % 5 == 0 else 'often'}\n" for i in range(100))
    (tmp_path / "t.csv").write_text(f"length,width,kind\n{rows}")
    small = ["generator.width=4", "critic.width=4", "steps=1", "batch_size=8", "sample_every=0", "hydra.run.dir=run"]
    assert (
        call("train", "dataset=table", "dataset.path=t.csv", "dataset.labels=kind", "conditional=true", *small)[0] == 0
    )
    for proportions, rare in (("data", 20), ("equal", 50)):
        out = f"out={proportions}.csv"
        assert call("sample", "run=run", "format=csv", "n=100", f"proportions={proportions}", out)[0] == 0
        lines = Path(f"{proportions}.csv").read_text().splitlines()
        assert lines[0] == "length,width,class" and len(lines) == 101
        assert abs(sum(line.endswith(",rare") for line in lines) - rare) <= 1
    code, text = call("sample", "run=run", "format=csv", "n=7", "proportions=data", "label=rare")
    assert code == 1 and "label and proportions=data exclude each other" in text
    assert call("sample", "run=run", "format=csv", "n=7", "proportions=data", "out=few.csv")[0] == 0
    code, text = call("sample", "run=run", "n=7", "proportions=data", "out=by_its_name.csv")
    assert code == 0 and Path("by_its_name.csv").read_text() == Path("few.csv").read_text()
    assert call("sample", "run=run", "n=7", "out=by_its_name.npy")[0] == 0 and len(np.load("by_its_name.npy")) == 7
    assert Path("few.csv").read_text().splitlines() == Path("data.csv").read_text().splitlines()[:8]


def test_csv_is_for_tables(run, call):
    code, text = call("sample", "run=run", "format=csv")
    assert code == 1 and "a .csv is for tables: choose format=npy for an array" in text


def test_proportions_are_exact_in_a_million_samples():
    generator = SimpleNamespace(class_counts=(500, 3, 497), num_classes=3)
    found = classes_of(SimpleNamespace(proportions="data"), generator, torch.arange(1_000_000))
    assert np.abs(np.bincount(found) - [500_000, 3_000, 497_000]).max() < 10


def test_lines_of_text_may_be_written_again_and_into_a_folder(call, tmp_path):
    (tmp_path / "t.txt").write_text("one two three\n" * 20)
    text = ["dataset=text", "dataset.path=t.txt", "dataset.held_out=2", "dataset.length=8", "n_critic=1"]
    small = ["batch_size=4", "generator.width=4", "critic.width=4", "steps=1", "sample_every=0", "hydra.run.dir=run"]
    assert call("train", *text, *small)[0] == 0
    (tmp_path / "folder").mkdir()
    for out in ("lines.txt", "lines.txt", "folder"):
        assert call("sample", "run=run", "format=files", "n=3", f"out={out}")[0] == 0
    assert len(Path("lines.txt").read_text().splitlines()) == 3
    assert [path.suffix for path in Path("folder").iterdir()] == [".txt"]


@pytest.mark.parametrize("axes", ["dn", "n"])
def test_a_csv_has_a_row_for_each_sample_whatever_the_axes_of_the_data(axes, call, tmp_path):
    x = np.random.default_rng(0).normal(size=(3, 40)) + 10 * np.arange(3)[:, None]
    np.save(tmp_path / "x.npy", x if axes == "dn" else x[2])
    data = ["dataset=array", "dataset.path=x.npy", f"dataset.axes={axes}", "generator=mlp", "critic=mlp", "device=cpu"]
    small = ["steps=1", "batch_size=8", "generator.width=8", "critic.width=8", "n_critic=1", "evaluation_samples=50"]
    assert call("train", *data, *small, "hydra.run.dir=run")[0] == 0
    assert call("sample", "run=run", "format=csv", "n=5", "out=s.csv")[0] == 0
    rows = np.loadtxt("s.csv", delimiter=",", skiprows=1, ndmin=2)
    assert (
        rows.shape == (5, 3 if axes == "dn" else 1) and (np.abs(rows - 10 * np.arange(3)[-rows.shape[1] :]) < 6).all()
    )


def test_an_ending_that_is_not_written_is_refused(call):
    call("train", *SMALL, "steps=2", "hydra.run.dir=run")
    for name in ("x.tsv", "x.svg", "x.parquet"):
        code, text = call("sample", "run=run", "n=4", f"out={name}")
        assert code == 1 and f"out={name}: samples are written as .npy, .csv, .txt, .png" in " ".join(text.split())
    assert call("sample", "run=run", "n=4", "out=step_1.5")[0] == 0 and Path("step_1.5.png").exists()
    code, text = call("sample", "run=run", "n=4", "truncation=0.7", "ema=false")  # a name of our own with a point
    assert code == 0 and "truncation_0.7_last_weights.png" in text


@pytest.mark.parametrize("options", [["out=x.png"], ["out=x.npy", "format=npy"]])
def test_a_full_disk_keeps_the_samples_before(run, call, monkeypatch, options):
    assert call("sample", "run=run", "n=4", *options)[0] == 0
    file = Path(options[0].removeprefix("out="))
    before = file.read_bytes()

    def full(*paths):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("wgangp.run_dir.files.os.replace", full)
    code, text = call("sample", "run=run", "n=9", *options)
    assert code == 1 and f"{file.name}: No space left on device: make room on the disk" in text
    assert file.read_bytes() == before and not list(Path().glob("*.partial"))
