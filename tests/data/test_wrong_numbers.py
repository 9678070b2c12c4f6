"""Files that were once read as other numbers than they hold, or refused by another name."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

import wgangp
from wgangp.app.compose import load_config
from wgangp.app.recorded_data import recorded_dataset
from wgangp.app.sample_names import name_of
from wgangp.data import Order
from wgangp.data.files.listing import Files
from wgangp.data.files.pixels import decode_bytes, decode_file
from wgangp.preflight import check_disk, checkpoint_bytes
from wgangp.run_dir.checkpoint import load_newest
from wgangp.run_dir.header import header_of

SMALL = ["generator=mlp", "critic=mlp", "generator.width=4", "critic.width=4", "batch_size=4"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def dataset(*overrides):
    return wgangp.make_trainer(*SMALL, *overrides).dataset


def refused(*overrides):
    with pytest.raises(ValueError) as error:
        dataset(*overrides)
    return str(error.value)


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_files_are_joined_along_the_axis_of_the_samples(dtype):
    x = np.random.default_rng(0).integers(0, 200, (8, 9, 60)).astype(dtype)
    np.save("a.npy", x[..., :20])
    np.save("b.npy", x[..., 20:])
    data = dataset("dataset=array", "dataset.path=[a.npy,b.npy]", "dataset.axes=hwn")
    assert data.shape == (1, 8, 9)
    assert torch.equal(data.train.all()[:, 0].float(), torch.tensor(x.transpose(2, 0, 1)).float())


def test_a_condition_is_counted_along_its_own_samples():
    np.save("x.npy", np.random.default_rng(0).normal(size=(8, 9, 60)))
    np.save("y.npy", np.arange(60.0))
    data = dataset(
        "dataset=array", "dataset.path=x.npy", "dataset.axes=hwn", "dataset.condition=y.npy", "conditional=true"
    )
    assert len(data) == 60 and data.condition_shape == (1,)
    np.save("y.npy", np.arange(8.0))
    assert "has 8 entries, and there are 60 samples" in refused(
        "dataset=array", "dataset.path=x.npy", "dataset.axes=hwn", "dataset.condition=y.npy", "conditional=true"
    )


@pytest.mark.parametrize(("base", "step"), [(16777216, 2), (1e8, 8), (0, 1), (-3e7, 2)])
def test_float32_far_from_zero_is_scaled_without_a_shift(base, step):
    x = (base + step * np.random.default_rng(0).integers(0, 4, (400, 2))).astype(np.float32)
    np.save("x.npy", x)
    data = dataset("dataset=table", "dataset.path=x.npy")
    y = data.scale(data.train.all())
    assert y.double().mean(0).abs().max() < 1e-5
    np.testing.assert_allclose(data.units.invert(y).numpy(), x, rtol=6e-8, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.int64, np.uint64])
def test_whole_numbers_that_float64_rounds_are_refused(dtype):
    np.save("x.npy", (2**60 + np.arange(300)).astype(dtype).reshape(150, 2))
    assert "whole numbers beyond 2^53, which float64 rounds" in refused("dataset=table", "dataset.path=x.npy")
    np.save("x.npy", (2**53 - np.arange(300)).astype(dtype).reshape(150, 2))
    assert len(dataset("dataset=table", "dataset.path=x.npy")) == 150


def test_long_whole_numbers_of_a_table_are_refused(tmp_path):
    (tmp_path / "x.csv").write_text("a,id\n" + "".join(f"{i},{2**60 + i}\n" for i in range(20)))
    text = refused("dataset=table", "dataset.path=x.csv")
    assert text.startswith("dataset.path=x.csv: the column id has whole numbers beyond 2^53")
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow

    parquet.write_table(
        pyarrow.table({"a": [1.0, 2.0], "id": pyarrow.array([2**63, 2**63 + 1], "uint64")}), "x.parquet"
    )
    assert "the column id has whole numbers beyond 2^53" in refused("dataset=table", "dataset.path=x.parquet")
    parquet.write_table(pyarrow.table({"a": [1.0, 2.0], "k": [[1.0], [2.0]]}), "l.parquet")
    assert "the column k has lists" in refused("dataset=table", "dataset.path=l.parquet", "dataset.labels=k")
    twice = pyarrow.Table.from_arrays([pyarrow.array([1.0, 2.0])] * 2, names=["a", "a"])
    parquet.write_table(twice, "d.parquet")
    assert "has several columns a: rename them" in refused("dataset=table", "dataset.path=d.parquet")


def test_a_class_keeps_a_training_sample(tmp_path):
    (tmp_path / "x.csv").write_text("a,k\n" + "".join(f"{i},k{i}\n" for i in range(30)))
    options = ["dataset=table", "dataset.path=x.csv", "dataset.labels=k", "conditional=true"]
    assert "dataset.held_out=0.1 leaves no training sample of the classes k" in refused(
        *options, "dataset.held_out=0.1"
    )
    assert dataset(*options).num_classes == 30


def test_a_fault_of_the_held_out_samples_is_theirs(tmp_path):
    (tmp_path / "tr.csv").write_text("a,b\n" + "1,2\n2,3\n" * 8)
    (tmp_path / "te.csv").write_text("a,b\n1,\n")
    text = refused("dataset=table", "dataset.path=tr.csv", "dataset.held_out=te.csv")
    assert text.startswith("dataset.held_out=te.csv has 1 numbers that are missing")
    np.savez("x.npz", x=np.ones((9, 2)), test_x=np.full((2, 2), np.nan))
    text = refused("dataset=table", "dataset.path=x.npz")
    assert text.startswith("dataset.path=x.npz, held-out samples: has 4 numbers that are missing")


def test_delimiters_within_names_and_names_twice(tmp_path):
    (tmp_path / "de.csv").write_text('"Umsatz, EUR";"Kosten, EUR"\n' + "1;2\n3;4\n" * 4)
    assert dataset("dataset=table", "dataset.path=de.csv").units.names == ("Umsatz, EUR", "Kosten, EUR")
    (tmp_path / "dup.csv").write_text("a,a\n" + "1,2\n3,4\n" * 4)
    assert "has several columns a: rename them" in refused("dataset=table", "dataset.path=dup.csv")


@pytest.mark.parametrize("factor", [1e45, 1e-50])
def test_numbers_beyond_float32_need_a_scaling(factor):
    np.save("x.npy", np.random.default_rng(0).normal(size=(40, 2)) * factor)
    assert "dataset.scaling=none: float32" in refused("dataset=table", "dataset.path=x.npy", "dataset.scaling=none")
    assert len(dataset("dataset=table", "dataset.path=x.npy")) == 40


def test_scores_ask_for_classes_as_often_as_the_data_have_them(tmp_path):
    (tmp_path / "x.csv").write_text("a,k\n" + "1,common\n" * 95 + "2,rare\n" * 5)
    options = ["dataset=table", "dataset.path=x.csv", "dataset.labels=k"]
    y = dataset(*options, "conditional=true").training_conditions(10_000)
    assert y.shape == (10_000,)
    assert y.float().mean() == pytest.approx(0.05, abs=0.01)


def test_a_file_that_is_in_no_run_is_not_taken_for_one(tmp_path):
    (tmp_path / "h.pt").write_bytes(b"")
    with pytest.raises(ValueError, match=r"h\.pt"):
        wgangp.Run("h.pt").metrics()


def test_large_seeds_have_orders_of_their_own():
    orders = [Order(50, seed, torch.device("cpu"))(0, 50).tolist() for seed in (2**53 - 1, 2**53 - 2)]
    assert orders[0] != orders[1]


def test_films_of_other_lengths_have_other_names():
    films = [
        load_config("run=x", "interpolate=true", "format=gif", f"frames={n}", config_name="sample") for n in (12, 48)
    ]
    assert len({name_of(film, 1) for film in films}) == 2


def test_a_resumed_runs_own_checkpoints_count_as_room(tmp_path, monkeypatch):
    trainer = wgangp.make_trainer(*SMALL, "dataset=gaussians8")
    size = checkpoint_bytes(trainer)
    monkeypatch.setattr(shutil, "disk_usage", lambda run: shutil._ntuple_diskusage(9 * size, 6 * size, 3 * size))
    with pytest.raises(ValueError, match="checkpoints need"):
        check_disk(tmp_path, trainer, 3)
    (tmp_path / "checkpoints").mkdir()
    for step in (1, 2, 3):
        (tmp_path / "checkpoints" / f"step_{step:08d}.pt").write_bytes(bytes(size))
    check_disk(tmp_path, trainer, 3)


def table(text, *more):
    Path("t.csv").write_text(text)
    return "dataset=table", "dataset.path=t.csv", *more


def images(**arrays):
    np.savez("i.npz", **arrays)
    return "dataset=array", "dataset.path=i.npz"


PIXELS = np.random.default_rng(0).integers(0, 256, (12, 8, 8), dtype=np.uint8)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: images(images=PIXELS, test_images=PIXELS / 255), "held-out samples some are uint8 and some float64"),
        (lambda: images(x=PIXELS, labels=np.zeros((4, 3), int)), "labels of shape (4, 3): give one for each sample"),
        (lambda: images(x=PIXELS, labels=np.array(["a", "nan", "b"] * 4)), "sample 2 has no class"),
        (lambda: table("a,l\n1,x\n2,nan\n3,y\n", "dataset.labels=l"), "row 2 has no class in the column l"),
        (lambda: table("1.5,,3.5\n4,5,6\n7,8,9\n"), "missing (NaN) or infinite, the first in column 1, row 1"),
        (lambda: table(f"a,b\n{'9' * 5000},1\n2,3\n"), "the column a has whole numbers beyond 2^53"),
        (lambda: table('a,b\n"1,500",1\n2,3\n'), "row 1 (write it without a comma"),
        (lambda: (*images(x=PIXELS), "dataset.size=0"), "dataset.size=0: give a whole number of at least 1"),
    ],
)
def test_what_would_be_other_numbers_is_refused(make, message):
    assert message in refused(*make())


def test_missing_categories_of_parquet_are_told():
    pandas = pytest.importorskip("pandas")
    kinds = pandas.Categorical(["x", "y", None] * 3)
    pandas.DataFrame({"a": np.arange(9.0), "kind": kinds}).to_parquet("t.parquet", index=False)
    assert "row 3 has no class in the column kind" in refused(
        "dataset=table", "dataset.path=t.parquet", "dataset.labels=kind"
    )


def test_whole_numbers_are_the_same_classes_with_a_point():
    """pandas writes 1.0 where another row of the column is empty."""
    for name, end in (("a", ""), ("b", ".0")):
        Path(f"{name}.csv").write_text("x,l\n" + "".join(f"{i},{i % 2}{end}\n" for i in range(6)))
    data = dataset("dataset=table", "dataset.path=[a.csv,b.csv]", "dataset.labels=l")
    assert data.class_names == ("0", "1") and data.train.labels.tolist() == [0, 1] * 6
    data = dataset("dataset=table", "dataset.path=a.csv", "dataset.held_out=b.csv", "dataset.labels=l")
    assert len(data.held_out_split) == 6
    Path("b.csv").write_text("x,l\n1,q\n")
    assert "dataset.held_out=b.csv: no sample is of a class that is trained on, 0, 1" in refused(
        "dataset=table", "dataset.path=a.csv", "dataset.held_out=b.csv", "dataset.labels=l"
    )


@pytest.mark.parametrize("text", ["a,b,\n1,2,\n3,4,\n", ",,a,b\n0,0,1,2\n1,1,3,4\n", "Unnamed: 0,a,b\n0,1,2\n1,3,4\n"])
def test_columns_without_a_name_are_left_out(text):
    assert dataset(*table(text), "batch_size=2").units.names == ("a", "b")


@pytest.mark.parametrize("shape", [(12, 2, 2), (12, 1, 2, 2), (12, 2, 2, 1)])
def test_small_pictures_are_conditions_wherever_their_channel_is(shape):
    options = images(x=PIXELS, small=PIXELS[:, ::4, ::4].reshape(shape))
    networks = ["conditional=true", "dataset.condition=small", "generator=unet", "critic=dcgan"]
    assert dataset(*options, *networks).condition_shape == (1, 2, 2)


def test_pictures_of_runs_below_the_data_are_no_data(caplog):
    for name in ("0.png", "1.png", "outputs/run/samples/step_1.png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(PIXELS[0]).save(name)
    Path("outputs/run/.hydra").mkdir()
    Path("loop").symlink_to("loop")
    Image.fromarray(PIXELS[0]).save("pages.tif", save_all=True, append_images=[Image.fromarray(PIXELS[1])])
    data = dataset(
        "dataset=image_folder", "dataset.path=.", "dataset.size=8", "batch_size=2", "generator=dcgan", "critic=dcgan"
    )
    assert len(data) == 3 and "the first of each is taken" in caplog.text


def test_a_resumed_run_tells_that_its_data_are_others(caplog):
    overrides = [*table("a,b\n" + "1,2\n3,4\n" * 8), *SMALL, "compile=false", "sample_every=0"]
    wgangp.train(*overrides, "steps=1", run_dir="run")
    table("a,b\n" + "5001,2\n5003,4\n" * 5)
    differ = "the data differ from those that the run was trained with, which were: 16 vectors of 2 columns (a, b)"
    header = header_of(load_newest(Path("run"))[1])
    given = OmegaConf.create({"dataset": {"path": None, "root": None}, "allow": []})
    with caplog.at_level("WARNING"):
        recorded_dataset(header, given, Path("run"), torch.device("cpu"))  # of wgangp-evaluate
    assert caplog.text.count(differ) == 1
    with caplog.at_level("WARNING"):
        wgangp.train(*overrides, "steps=2", run_dir="run")
    assert caplog.text.count(differ) == 2


def test_the_names_that_pandas_gives_beside_its_index_are_no_sample(caplog):
    assert dataset(*table(",0,1\n0,5,6\n1,7,9\n2,7,8\n"), "batch_size=2").units.names == ("0", "1")
    text = ",0,1,kind\n0,5,6,a\n1,7,9,b\n2,7,8,a\n"
    assert dataset(*table(text, "dataset.labels=kind"), "batch_size=2").units.names == ("0", "1")
    assert "if it is a sample" not in caplog.text


def test_a_damaged_page_after_the_first_does_not_matter(caplog):
    Image.fromarray(PIXELS[0]).save("a.gif", save_all=True, append_images=[Image.fromarray(p) for p in PIXELS[1:3]])
    whole = Path("a.gif").read_bytes()
    cut = [name for name in range(120, len(whole)) if decodes(whole[:name])]
    assert cut  # the first page is whole in these


def decodes(content):
    try:
        decode_bytes(content, ".gif", 8, 1, None)
    except Exception:
        return False
    Path("cut").mkdir(exist_ok=True)
    Path("cut/a.gif").write_bytes(content)
    decode_file(Files(Path("cut")), "a.gif", 8, 1, None)  # raises if the later pages count
    return True
