"""Arrays that are no pictures: files, axes, units, and the parts of the data."""

import importlib.util
import sys
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import array, picture

from wgangp.data.arrays import Arrays
from wgangp.data.images import Images
from wgangp.data.sources import files, image_folder
from wgangp.data.sources.axes import axes_of
from wgangp.units import axes_of_file, channels_first, units_of

CPU = torch.device("cpu")
OPTIONS = {"size": None, "channels": None, "classes": None, "limit": None, "flip": False, "dequantise": False}
OPTIONS |= {"held_out": None, "seed": 0, "device": CPU}
rng = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def here(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


def load(path="x.npy", **options):
    return array(path=path, **(OPTIONS | options))


def saved(x, name="x.npy"):
    np.save(name, x)
    return x


# ---- units


@pytest.mark.parametrize("scaling", ["minmax", "standard", "log", "none"])
@pytest.mark.parametrize("dtype", ["f4", "f8", "i4", "u2", ">f4"])
def test_scaling_has_its_closed_form_and_is_inverted(scaling, dtype):
    x = saved(rng.integers(0, 90, (200, 3, 5)).astype(dtype))
    x[:, 2] = 7  # a constant channel
    saved(x)
    data = load(axes="nct", scaling=scaling)
    y, numbers = data.comparable(data.reference()[0]), torch.from_numpy(x.astype("f8"))
    assert (data.units.invert(y) - numbers).abs().max() < 2e-4 and data.bounded == (scaling == "minmax")
    varying = y[:, :2].transpose(0, 1).flatten(1)
    if scaling == "minmax":
        assert (y[:, 0] - (numbers[:, 0] / 44.5 - 1)).abs().max() < 1e-6
        assert varying.amin(1).tolist() == [-1, -1] and varying.amax(1).tolist() == [1, 1]
    elif scaling != "none":
        torch.testing.assert_close(varying.mean(1), torch.zeros(2), atol=1e-5, rtol=0)
        torch.testing.assert_close(varying.std(1, correction=0), torch.ones(2))
    if scaling != "none":
        assert torch.equal(y[:, 2], torch.zeros(200, 5))
        assert (data.units.invert(torch.randn(4, 3, 5))[:, 2] - 7).abs().max() < 1e-14


def test_a_table_has_units_of_its_own_for_every_column():
    x = saved(np.stack([rng.normal(5, 2, 500), 1.7e9 + rng.normal(0, 1e3, 500)], 1))  # seconds, as float32 has not
    data = load()
    batch, _ = data.batch(0, 500)
    torch.testing.assert_close(batch.mean(0), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(batch.std(0, correction=0), torch.ones(2))
    assert np.abs(data.units.invert(batch).numpy().mean(0) - x.mean(0)).max() < 1e-3


def test_log_keeps_zeros_and_refuses_negative_numbers():
    x = saved(np.concatenate([np.zeros((50, 1)), rng.lognormal(size=(150, 1))]).astype("f4"))
    data = load(scaling="log")
    found = data.units.invert(data.comparable(torch.from_numpy(x)))
    torch.testing.assert_close(found, torch.from_numpy(x), atol=1e-6, rtol=1e-5)
    assert (data.units.invert(torch.full((1, 1), -99.0)) == 0).all()  # below zero there are no data
    saved(x - 1)
    with pytest.raises(ValueError, match=r"scaling=log: channel 0 has negative numbers, such as -1: choose"):
        load(scaling="log")


def test_scaling_is_fitted_on_the_training_part_alone():
    x = saved(rng.normal(size=(40, 2)))
    data = load(scaling="minmax", held_out=10)
    train = data.reference("train")[0].double()
    low, high = train.amin(0), train.amax(0)
    torch.testing.assert_close(data.units.table[0], (low + high) / 2, atol=1e-6, rtol=0)
    assert len(train) == 30 and len(x) == 40


def test_units_survive_a_checkpoint_and_forged_ones_are_refused():
    saved(rng.normal(size=(40, 2)))
    units = load().units
    again = units_of(units.state())
    assert torch.equal(again.table, units.table) and again.state() == units.state()
    state = units.state()
    forged = [None, 3, {}, state | {"scaling": "x"}, state | {"axes": "nn"}, state | {"dtype": "object"}]
    forged += [state | {"names": [1, 2]}, state | {"names": ["a"]}, state | {"table": [[1.0], [1.0]]}]
    forged += [state | {"table": [[1.0, 2.0], [1.0], [0.0, 0.0]]}, state | {"table": [[float("nan")] * 2] * 3}]
    for wrong in forged:
        with pytest.raises(ValueError, match="units that no dataset has"):
            units_of(wrong)


# ---- axes


@pytest.mark.parametrize(
    ("axes", "shape"),
    [
        *[("n", ()), ("nd", (6,)), ("nt", (1, 6)), ("nct", (3, 6)), ("ntc", (3, 6)), ("nhw", (1, 5, 7))],
        *[("nchw", (3, 5, 7)), ("nhwc", (3, 5, 7)), ("hwcn", (3, 5, 7))],
        *[("ndhw", (1, 4, 5, 7)), ("ncdhw", (2, 4, 5, 7)), ("ndhwc", (2, 4, 5, 7))],
    ],
)
def test_axes_are_read_as_they_are_named(axes, shape):
    size = dict(zip("cdthwn", (shape or (1,))[:1] * 2 + (6, 5, 7, 9), strict=True)) | ({"d": 4} if "h" in axes else {})
    x = saved(rng.normal(size=[size[a] for a in axes]))
    data = load(axes=axes)
    assert data.shape == (shape or (1,))
    numbers = channels_first(torch.from_numpy(x), axes)
    torch.testing.assert_close(data.reference()[0], (numbers if numbers.ndim > 1 else numbers[:, None]).double())
    assert np.array_equal(axes_of_file(numbers, axes), x)


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        *[((30,), "n"), ((30, 8), "nd"), ((30, 1, 9), "nct"), ((30, 9, 1), "ntc"), ((30, 13, 48, 80), "nchw")],
        *[((30, 48, 80, 3), "nhwc"), ((30, 2, 8, 9, 8), "ncdhw"), ((30, 8, 9, 8, 1), "ndhwc")],
    ],
)
def test_a_plain_shape_needs_no_axes(shape, axes):
    saved(rng.normal(size=shape))
    assert load().units.axes == axes


def test_several_readings_are_listed():
    saved(np.zeros((9, 20, 20)))
    with pytest.raises(
        ValueError, match=r"set dataset.axes to nct \(9 signals of 20 with 20 channels\), ntc .* or nhw"
    ):
        load()
    for wrong in ("nchw", "nxt", "nnt", "ncd", "nc"):
        with pytest.raises(ValueError, match=rf"dataset.axes={wrong}: .* has 3 axes, of shape \(9, 20, 20\): choose"):
            load(axes=wrong)


def test_pictures_stay_pictures():
    x = saved(rng.integers(0, 256, (9, 12, 12, 3), dtype=np.uint8))
    assert type(load()) is Images and type(load(axes="nhwc")) is Images
    assert load(axes="nchw").shape == (12, 12, 3)
    other = load(scaling="minmax")
    assert type(other) is Arrays and other.shape == (3, 12, 12) and other.bounded
    assert torch.equal(other.reference()[0], load().reference()[0].float()) and x.dtype == np.uint8


# ---- files


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", ["npy", "h5"] if importlib.util.find_spec("h5py") else ["npy"])
def test_mapped_arrays_equal_loaded_ones(monkeypatch, order, kind):
    x = np.asarray(rng.normal(size=(50, 3, 6)), order=order)
    if kind == "npy":
        np.save("x.npy", x)
    else:
        import h5py

        with h5py.File("x.h5", "w") as file:
            file["x"] = x
    loaded = load(f"x.{kind}", axes="nct", held_out=0.2)
    monkeypatch.setattr(files, "LARGE", 0)
    mapped = load(f"x.{kind}", axes="nct", held_out=0.2)
    assert isinstance(files.read_arrays(files.Path(f"x.{kind}"), files.Keys()).x, np.memmap)
    assert torch.equal(loaded.units.table, mapped.units.table)
    for i in (0, 3):
        assert torch.equal(loaded.batch(i, 16)[0], mapped.batch(i, 16)[0])
        assert torch.equal(loaded.held_out(i, 4)[0], mapped.held_out(i, 4)[0])


def test_the_array_of_an_archive_is_found_or_chosen():
    x, y = rng.normal(size=(20, 3)), np.arange(20) % 2
    np.savez("one.npz", spectra=x, labels=y)
    assert load("one.npz").shape == (3,) and load("one.npz").num_classes == 2
    np.savez("named.npz", weights=y, X=x, test_X=x[:5])
    assert load("named.npz").shape == (3,) and len(load("named.npz").held_out_split) == 5
    np.savez("two.npz", a=x, b=x[:, :2], kind=np.array(["high", "low"])[y])
    assert load("two.npz", key="b").shape == (2,)
    assert load("two.npz", key="a", labels="kind").class_names == ("high", "low")
    with pytest.raises(ValueError, match=r"has the arrays a, b, kind: choose one of them by dataset\.key"):
        load("two.npz")
    with pytest.raises(ValueError, match=r"dataset.key=c: .* has no such array; choose from a, b, kind"):
        load("two.npz", key="c")


def test_a_folder_is_no_array():
    Path("many").mkdir()
    with pytest.raises(FileNotFoundError, match=r"path=many: there is no such file, but a folder: give a file, or a"):
        load("many")


def test_files_are_joined():
    x = rng.normal(size=(20, 3))
    np.save("a.npy", x[:12]), np.save("b.npy", x[12:]), np.save("c.npy", x[:, :2])
    assert torch.equal(load(["a.npy", "b.npy"]).reference()[0], torch.from_numpy(x))
    with pytest.raises(ValueError, match=r"samples of shapes .*: make them alike"):
        load(["a.npy", "c.npy"])


def write(text, name="x.csv"):
    with open(name, "w") as file:
        file.write(text)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_keeps_its_header(delimiter, monkeypatch):
    monkeypatch.setattr("wgangp.data.sources.tables.ROWS", 7)  # rows are read in parts
    x = rng.normal(size=(30, 2)).round(3)
    rows = [["height", "kind", "age, in years"]] + [[a, "cat" if a > 0 else "dog", b] for a, b in x]
    write("".join(delimiter.join(f'"{v}"' for v in row) + "\n" for row in rows))
    data = load("x.csv", labels="kind")
    assert data.units.names == ("height", "age, in years") and data.class_names == ("cat", "dog")
    assert np.array_equal(data.reference()[0], x)
    assert np.array_equal(data.reference()[1], (x[:, 0] <= 0).astype(int))
    assert data.describe().startswith("30 vectors of 2 columns (height, age, in years), from ")
    assert load("x.csv", columns=["height"]).shape == (1,)


def test_a_table_without_a_header():
    write("1,2.5,0\n3,-4e2,1\n\n5,6,0\n")
    data = load("x.csv", labels=2)
    assert data.reference()[0].tolist() == [[1, 2.5], [3, -400], [5, 6]] and data.class_names == ("0", "1")
    assert data.units.names == ("0", "1")


if importlib.util.find_spec("pyarrow"):

    def test_a_parquet_file_is_a_table():
        import pyarrow
        from pyarrow import parquet

        x = rng.normal(size=(30, 2))
        columns = {"a": x[:, 0], "kind": ["u", "v"] * 15, "b": x[:, 1], "n": [*range(29), None]}
        parquet.write_table(pyarrow.table(columns), "x.parquet")
        data = load("x.parquet", labels="kind", columns=["b", "a"])
        assert data.units.names == ("b", "a") and data.class_names == ("u", "v")
        assert np.array_equal(data.reference()[0], x[:, ::-1])
        for options, message in (
            ({}, "column kind has values that are no numbers, such as 'u'"),
            ({"labels": "kind"}, "in column n, row 30"),
        ):
            with pytest.raises(ValueError, match=message):
                load("x.parquet", **options)


@pytest.mark.parametrize(("package", "name"), [("h5py", "x.h5"), ("pyarrow", "x.parquet")])
def test_a_missing_package_is_named(monkeypatch, package, name):
    write("", name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ValueError, match=rf"{package} is not installed: pip install -e '\.\[arrays\]'"):
        load(name)


# ---- the held-out part


@pytest.mark.parametrize(("held_out", "n"), [(0.25, 10), (7, 7)])
def test_held_out_samples_are_the_same_for_every_seed_and_never_trained_on(held_out, n):
    np.savez("x.npz", x=np.arange(40.0)[:, None], labels=np.arange(40) % 2)
    data, other = (load("x.npz", held_out=held_out, seed=seed) for seed in (0, 1))
    (train, y), (test, _) = data.reference("train"), data.reference("held_out")
    assert len(test) == n and sorted(torch.cat([train, test]).flatten().tolist()) == list(range(40))
    assert torch.equal(test, other.reference("held_out")[0])
    assert abs(int((y == 0).sum()) - int((y == 1).sum())) <= 1
    seen = torch.cat([data.units.invert(data.batch(i, 8)[0]) for i in range(20)]).round()
    assert not torch.isin(seen, test.double()).any() and f"; {n} held out" in data.describe()


def test_a_held_out_file():
    x = saved(rng.normal(size=(40, 2)))
    saved(x[:5] + 1, "test.npy")
    data = load(held_out="test.npy")
    assert len(data) == 40 and np.array_equal(data.reference("held_out")[0], x[:5] + 1)
    saved(x[:, :1], "test.npy")
    with pytest.raises(ValueError, match=r"held-out samples of shape \(1,\), and training samples of \(2,\)"):
        load(held_out="test.npy")


def test_images_without_a_test_part_can_be_held_out_too(tmp_path):
    for i in range(10):
        picture(tmp_path / "photos" / ("cats", "dogs")[i % 2] / f"{i}.png")
    options = OPTIONS | {"size": 8, "channels": 3, "levels": None, "verify": False, "cache": None, "held_out": 0.2}
    data = image_folder(path="photos", **options)
    assert len(data) == 8 and data.reference("held_out")[1].tolist() == [0, 1]
    whole = torch.cat([data.reference(part)[0] for part in ("train", "held_out")]).flatten(1).unique(dim=0)
    everything = image_folder(path="photos", **(options | {"held_out": None})).reference()[0]
    assert torch.equal(whole, everything.flatten(1).unique(dim=0)) and len(whole) == 10
    (tmp_path / "photos" / "cats").rename(tmp_path / "photos" / "train")
    (tmp_path / "photos" / "dogs").rename(tmp_path / "photos" / "test")
    with pytest.raises(ValueError, match=r"held_out=0\.2: the data have a test part of their own; set it to null"):
        image_folder(path="photos", **options)


@pytest.mark.parametrize("amount", [0.0, 1.5, 0.001, 40, 0, -3])
def test_a_held_out_part_of_none_or_all_is_refused(amount):
    saved(rng.normal(size=(40, 2)))
    with pytest.raises(ValueError, match=r"held_out=.*: of 40 samples give a whole number from 1 to 39, or a share"):
        load(held_out=amount)


# ---- bad input: one line each, with what to do


NAN = np.zeros((6, 3, 4))
NAN[3, 1, 2], NAN[4] = np.nan, np.inf
BAD = {
    "NaN": (lambda: saved(NAN), {"axes": "nct"}, r"13 numbers that are missing .* the first at \[3, 1, 2\]: remove"),
    "complex": (lambda: saved(np.zeros((6, 3), complex)), {}, "complex numbers: give the real and the imaginary part"),
    "objects": (
        lambda: saved(np.array([[1, 2], [3]], object)),
        {},
        r"holds Python objects: save text by .astype\(str\), and rows of one l",
    ),
    "text": (lambda: saved(np.array([["a"], ["b"]])), {}, "has type <U1 .*: give an array of real numbers"),
    "nothing": (
        lambda: saved(np.zeros((0, 3))),
        {},
        r"shape \(0, 3\): give an array of real numbers, of one sample or more",
    ),
    "six axes": (lambda: saved(np.zeros((2,) * 6)), {}, "has 6 axes, .*: give an array of 1 to 5 axes"),
    "scaling": (
        lambda: saved(np.ones((4, 2))),
        {"scaling": "max"},
        "scaling=max: choose auto, minmax, standard, log, n",
    ),
    "flip": (lambda: saved(np.ones((4, 2))), {"flip": True}, "dataset.flip is for pictures, which are uint8"),
    "columns": (lambda: saved(np.ones((4, 2))), {"columns": ["a"]}, "has no named columns; set it to null"),
    "csv, text": (
        lambda: write("a,b\n1,2\n3,x y\n"),
        {},
        "column b has values that are no numbers, such as 'x y' in row 2: leave it out by",
    ),
    "csv, missing": (lambda: write("a,b\n1,2\n3,\nNA,4\n"), {}, "has 2 numbers that are missing .* in column b, row 2"),
    "csv, ragged": (lambda: write("a,b\n1,2\n3\n"), {}, "row 2 has 1 fields, and the first line 2: make them alike"),
    "csv, no rows": (lambda: write("a,b\n"), {}, "has no rows below the names of its columns"),
    "csv, empty": (lambda: write(""), {}, "has no first line with the names of its columns"),
    "csv, no column": (lambda: write("a,b\n1,2\n"), {"columns": ["c"]}, "has no column c: choose from a, b"),
    "csv, labels": (lambda: write("a,b\n1,2\n"), {"labels": "c"}, "has no column c: choose from a, b"),
    "csv, binary": (lambda: Path("x.csv").write_bytes(b"\xff\xfe\0"), {}, "cannot be read as a table"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named_in_one_line(case):
    make, options, message = BAD[case]
    make()
    with pytest.raises(ValueError, match=message) as error:
        load("x.csv" if case.startswith("csv") else "x.npy", **options)
    assert "\n" not in str(error.value)


def test_a_constant_column_is_kept_and_said(caplog):
    write("a,b\n1,7\n2,7\n")
    assert load("x.csv").shape == (2,) and "column b is constant: generated samples" in caplog.text


def of_table(text, name="t.csv", **options):
    Path(name).write_text(text)
    return load(name, **options)


def test_what_the_first_line_of_a_table_is(tmp_path, monkeypatch, caplog):
    """pandas writes 0, 1, 2 where columns have no names, and the rows' index first, without one."""
    monkeypatch.chdir(tmp_path)
    caplog.set_level("INFO")
    assert of_table("0,1\n5,6\n7,9\n").units.names == ("0", "1") and len(load("t.csv")) == 2
    assert len(of_table("5,6\n7,9\n")) == 2 and "the first line has numbers alone" in caplog.text
    assert (
        of_table(",a,b\n0,5,6\n1,7,9\n").units.names == ("a", "b") and "left out columns without a name" in caplog.text
    )
    with pytest.raises(ValueError, match="missing"):
        of_table(",0.4\n5,6\n7,9\n")  # a sample
    spectra = of_table(",400,402.5\n0,5,6\n1,7,9\n")  # by wavelength
    assert spectra.units.names == ("400", "402.5") and len(spectra) == 2
    assert of_table(",a\n0,5\n1,7\n", columns=["", "a"]).units.names == ("", "a")


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("a,a,c\n1,2,3\n4,5,6\n", {"columns": ["a", "c"]}, "has several columns a: rename them"),
        ("a,b\n1,2\n4,5\n", {"columns": ["a", "a"]}, "names a column twice"),
        ("a,b\n2020_01,2\n2020_02,5\n", {}, "column a has values that are no numbers, such as '2020_01' in row 1"),
        ('a,b\n"0,5",2\n"0,7",5\n', {}, "such as '0,5' in row 1 .write decimals with a point"),
        ("a,b\n1,2\n4,5\n", {"axes": "dn"}, "the rows of a table are its samples"),
        ("a,b\n1,2\n4,5\n", {"key": "x"}, "dataset.key=x: a table has no arrays"),
    ],
)
def test_tables_that_would_be_misread(text, options, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        of_table(text, **options)


def test_the_order_of_classes_does_not_depend_on_nan(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert of_table("a,l\n1,-nan\n2,10\n3,2\n4,1\n", labels="l").class_names == ("1", "2", "10", "-nan")


def test_options_that_do_not_fit_an_array_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.ones((5, 3)))
    for options in ({"labels": "y.npy"}, {"key": "x"}):
        with pytest.raises(ValueError, match="is one array"):
            load("x.npy", **options)
    np.savez("n.npz", x=np.random.rand(9, 2), labels=np.arange(9) % 2, test_x=np.random.rand(4, 2))
    with pytest.raises(ValueError, match="either the training or the held-out samples lack labels"):
        load("n.npz")


@pytest.mark.parametrize("note", [b"nojson", b'{"index_columns": null}', b"[1]", b'{"index_columns": ["b"]}'])
def test_the_note_of_pandas_in_a_parquet_file_may_be_anything(note, tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.table({"a": [1.0, 2.0, 3.0], "b": [4.0, 5.0, 7.0]}).replace_schema_metadata({b"pandas": note})
    importlib.import_module("pyarrow.parquet").write_table(table, tmp_path / "t.parquet")
    assert load(tmp_path / "t.parquet").units.names == (("a",) if b'"b"' in note else ("a", "b"))


def test_a_held_out_table_may_have_its_columns_in_another_order():
    write("a,b\n1,10\n2,20\n3,30\n")
    Path("test.csv").write_text("b,a\n40,4\n50,5\n")
    assert load("x.csv", held_out="test.csv").reference("held_out")[0].tolist() == [[4, 40], [5, 50]]
    both = load(["x.csv", "test.csv"]).reference("train")[0]
    assert torch.equal(both[:, 1], 10 * both[:, 0]) and len(both) == 5
    Path("test.csv").write_text("b,c\n40,4\n50,5\n")
    with pytest.raises(ValueError, match="held-out samples have the columns b, c, and the training samples a, b: give"):
        load("x.csv", held_out="test.csv")


def test_decimals_and_booleans_of_parquet_are_numbers():
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    rows = {"price": pa.array([Decimal("0.30"), Decimal("1.25")]), "ok": pa.array([True, False])}
    parquet.write_table(pa.table(rows), "x.parquet")
    found = load("x.parquet").reference("train")[0]
    assert found.double().sub(torch.tensor([[0.3, 1], [1.25, 0]])).abs().max() < 1e-6
    parquet.write_table(pa.table({"ok": pa.array([True, None])}), "x.parquet")
    with pytest.raises(ValueError, match="numbers that are missing"):
        load("x.parquet")


def test_booleans_are_the_same_from_csv_and_parquet():
    pd = pytest.importorskip("pandas")
    table = pd.DataFrame({"ok": [True, False, True], "kind": [False, False, True]})
    table.to_csv("x.csv", index=False)
    table.to_parquet("x.parquet")
    for name in ("x.csv", "x.parquet"):
        data = load(name, labels="kind")
        assert data.reference("train")[0][:, 0].tolist() == [1, 0, 1] and data.num_classes == 2


def test_text_columns_of_parquet():
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pa.table({"x": ["1.5", "-2"], "kind": [b"cat", b"dog"]}), "x.parquet")
    data = load("x.parquet", labels="kind")
    assert (data.reference("train")[0][:, 0].tolist(), data.class_names) == ([1.5, -2], ("cat", "dog"))


def test_measurements_are_no_classes():
    Path("x.csv").write_text("a,k\n1,0.5\n2,0.5\n3,1\n4,1\n5,1.5\n6,1.5\n")
    assert load("x.csv", labels="k").class_names == ("0.5", "1", "1.5")  # of a scale
    Path("x.csv").write_text("a,k\n1,0.5\n2,1.25\n3,2\n")
    with pytest.raises(
        ValueError, match=r"the column k has measurements, such as 0\.5, and classes are names or whole"
    ):
        load("x.csv", labels="k")


@pytest.mark.parametrize("options", [{}, {"fmt": "%10.3f"}, {"header": "a b"}, {"header": "a b", "comments": ""}])
def test_what_numpy_writes_as_text_is_read(options):
    x = np.random.default_rng(0).normal(size=(20, 2))
    np.savetxt("x.csv", x, **options)
    data = load("x.csv")
    assert np.allclose(data.reference("train")[0], x, atol=1e-3)
    assert data.units.names == (("a", "b") if options.get("header") else ("0", "1"))


@pytest.mark.parametrize(
    ("line", "names"),
    [("#,b", ("#", "b")), ("# a,b", ("a", "b")), ("#a,b # 1", ("#a", "b # 1")), ("the a,b", ("the a", "b"))],
)
def test_first_lines_with_other_signs(line, names):
    Path("x.csv").write_text(f"{line}\n1,2\n3,5\n")
    assert load("x.csv").units.names == names


def test_zeros_that_only_held_out_samples_have_shift_the_logarithm():
    x = np.random.default_rng(0).lognormal(size=(60, 2))
    saved(x[10:])
    held = x[:10].copy()
    held[0, 0] = 0
    saved(held, "held.npy")
    data = load(held_out="held.npy", scaling="log")
    real, _ = data.held_out(0, 10)
    assert real.isfinite().all() and data.units.table[2].tolist() == [x[:, 0].min(), 0]
    back = data.units.invert(real).numpy()
    assert np.allclose(np.sort(back, 0), np.sort(held, 0))


def test_arrays_that_are_not_used_are_named(caplog):
    caplog.set_level("INFO")
    np.savez("x.npz", x=np.zeros((9, 2)), y=np.arange(9))
    load("x.npz")
    assert "x.npz: the arrays y are not used: name labels by dataset.labels" in caplog.text


def test_faults_of_a_held_out_file_name_its_option():
    write("a,b\n1,2\n3,4\n")
    write("a,b\n1,x\n", "held.csv")
    with pytest.raises(ValueError, match=r"^dataset\.held_out=held\.csv: the column b"):
        load("x.csv", held_out="held.csv")


def test_a_condition_picture_is_not_cut_beside_its_sample():
    np.savez("x.npz", x=np.zeros((9, 32, 16), np.uint8), small=np.zeros((9, 16, 8), np.uint8))
    with pytest.raises(ValueError, match=r"dataset\.size=16 takes the central square of samples of 32x16"):
        load("x.npz", condition="small", size=16)


def test_commas_separate_the_columns_of_a_tsv_without_tabs():
    write("a,b\n1,2\n3,4\n", "x.tsv")
    assert load("x.tsv").units.names == ("a", "b")


@pytest.mark.parametrize("option", ["path", "held_out"])
def test_the_home_of_nobody_is_a_folder_that_is_not_there(option):
    saved(rng.normal(size=(9, 2)))
    with pytest.raises(FileNotFoundError, match=rf"dataset\.{option}=~nobody1/x\.npy: there is no such file"):
        load(**{option: "~nobody1/x.npy"})


def test_one_sample_alone_is_not_held_out():
    saved(np.zeros((1, 2)))
    with pytest.raises(ValueError, match=r"dataset\.held_out=0\.5: there is one sample alone"):
        load(held_out=0.5)


def test_fill_values_and_packed_numbers_of_hdf5_files():
    h5py = pytest.importorskip("h5py")
    x = np.arange(120, dtype=np.int16).reshape(30, 4)
    with h5py.File("x.h5", "w") as file:
        file.create_dataset("x", data=x).attrs.update({"scale_factor": 0.5, "add_offset": 273.15})
    np.testing.assert_allclose(load("x.h5").reference()[0], 0.5 * x + 273.15, atol=1e-4)
    with h5py.File("x.h5", "a") as file:
        file["x"].attrs["_FillValue"] = np.int16(7)
    with pytest.raises(ValueError, match="1 numbers that are missing"):
        load("x.h5")
    with h5py.File("f.h5", "w") as file:
        lost = np.where(x == 7, np.float32(-999.9), x.astype(np.float32))
        file.create_dataset("x", data=lost).attrs.update({"missing_value": -999.9, "scale_factor": "cm"})  # in float64
        file.create_dataset("y", data=x.astype(np.uint8)).attrs.update({"_FillValue": np.uint8(7), "add_offset": 1.0})
    with pytest.raises(ValueError, match="1 numbers that are missing"):
        load("f.h5", key="x")
    assert np.array_equal(load("f.h5", key="y", axes="nd").reference()[0], x.astype(np.uint8))  # pixels stay


@pytest.mark.parametrize("others", [{"indices": [0], "indptr": [0]}, {"row": [0], "col": [0]}])
def test_sparse_matrices_are_refused(others):
    np.savez("s.npz", data=np.ones(3), shape=(3, 5), format=b"csr", **others)
    with pytest.raises(ValueError, match="holds a sparse matrix: save its toarray"):
        load("s.npz")
    np.savez("x.npz", x=rng.normal(size=(20, 3)), row=np.arange(20))  # of what is no sparse matrix
    assert load("x.npz").shape == (3,)


def test_whole_bytes_of_five_axes_may_be_clips():
    with pytest.raises(ValueError, match=r"nthwc \(40 clips of 8 frames of 16x16 with 3 channels\)"):
        axes_of("x.npy", (40, 8, 16, 16, 3), None, may_be_clips=True)
    assert axes_of("x.npy", (40, 8, 16, 16, 3), None) == "ndhwc"


@pytest.mark.parametrize("large", [2**40, 0])
def test_arrays_behind_links_of_an_h5_file_are_found(monkeypatch, large):
    """Of another place and of another file, also mapped. Links that lead nowhere are no arrays."""
    h5py = pytest.importorskip("h5py")
    x = rng.normal(size=(20, 3, 6)).astype(np.float32)
    with h5py.File("raw.h5", "w") as file:
        file["before"], file["entry/x"] = np.zeros(100), x
    with h5py.File("master.h5", "w") as file:
        file["images"] = h5py.ExternalLink("raw.h5", "/entry/x")
        file["gone"], file["lost"] = h5py.SoftLink("/nowhere"), h5py.ExternalLink("no.h5", "/x")
        file["again"] = h5py.SoftLink("/images")
    monkeypatch.setattr(files, "LARGE", large)
    for key in (None, "again"):
        assert np.array_equal(files.read_arrays(files.Path("master.h5"), files.Keys(key=key)).x, x)


def test_several_files_are_checked_one_by_one():
    """Labels would move to other samples where one file has too many and the next too few."""
    x = rng.normal(size=(6, 2))
    np.savez("p.npz", x=x, labels=np.arange(6) % 2)
    np.savez("column.npz", x=x, labels=np.arange(6)[:, None] % 2)
    assert load(["p.npz", "column.npz"], held_out=None).train.labels.tolist() == [0, 1] * 6
    np.savez("more.npz", x=x, labels=np.arange(7) % 2)
    np.savez("fewer.npz", x=x, labels=np.arange(5) % 2)
    with pytest.raises(ValueError, match="file 1 has 7 labels for 6 samples"):
        load(["more.npz", "fewer.npz"])
    np.save("signed.npy", np.arange(12).reshape(6, 2))
    np.save("unsigned.npy", np.arange(12, dtype=np.uint64).reshape(6, 2))
    with pytest.raises(ValueError, match="whole numbers of int64, uint64: make them alike"):
        load(["signed.npy", "unsigned.npy"])
