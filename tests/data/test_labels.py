"""Classes: those that have images are numbered, drawn from alike, and named."""

import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import array, composed, write_idx, write_mnist
from omegaconf import OmegaConf

from wgangp.app.build import make_dataset
from wgangp.app.sample_conditions import as_in_data, class_number
from wgangp.data.labels import draw_evenly, renumbered, wanted_labels
from wgangp.data.sources import torchvision_dataset

AS_IS = {"size": None, "channels": None, "classes": None, "limit": None, "flip": False, "dequantise": False}
AS_IS |= {"held_out": None, "seed": 0, "device": torch.device("cpu")}


def yaml_value(text):
    return OmegaConf.to_container(OmegaConf.from_dotlist([f"x={text}"]))["x"]


def saved(tmp_path, labels, test_labels=None):
    """Image i is all 100 + i."""
    arrays = {}
    for prefix, y in (("", labels), ("test_", test_labels)):
        if y is not None:
            x = np.arange(len(y), dtype=np.uint8)[:, None, None] + np.full((len(y), 4, 4), 100, np.uint8)
            arrays |= {f"{prefix}images": x, f"{prefix}labels": np.array(y)}
    np.savez(tmp_path / "x.npz", **arrays)
    return str(tmp_path / "x.npz")


@pytest.mark.parametrize("labels", [[1, 2, 3, 4], [3, 100, 2000, 65535], [7, 0]])
def test_labels_with_gaps_are_numbered_and_that_is_said(tmp_path, caplog, labels):
    caplog.set_level(logging.INFO)
    data = array(path=saved(tmp_path, labels * 3), **AS_IS)
    ordered = sorted(labels)
    assert data.num_classes == len(labels) and data.class_names == tuple(map(str, ordered))
    assert data.train.labels.tolist() == [ordered.index(y) for y in labels * 3]
    assert f"classes {', '.join(map(str, ordered))} are numbered from 0 to {len(labels) - 1}" in caplog.text
    assert f"{len(labels)} classes: {ordered[0]} (3), {ordered[1]} (3)" in data.describe()


def test_a_number_is_the_name_of_a_class_where_names_are_numbers():
    assert wanted_labels([1, 3], [0, 1, 2], ["1", "2", "3"]) == [0, 2]
    with pytest.raises(ValueError, match="no sample is of class 0; choose from 1, 2, 3"):
        wanted_labels([0, 3], [0, 1, 2], ["1", "2", "3"])
    with pytest.raises(ValueError, match=r"no sample is of class 1; choose from 1\.5, 2\.5, 4\.0"):
        wanted_labels([1], [0, 1, 2], ["1.5", "2.5", "4.0"])
    assert wanted_labels([4, 1.5], [0, 1, 2], ["1.5", "2.5", "4.0"]) == [2, 0]
    assert wanted_labels([0, 2], [0, 1, 2], ["cat", "dog", "owl"]) == [0, 2]  # positions, where names are words


@pytest.mark.parametrize(
    ("labels", "names", "chosen", "position"),
    [
        ([-1, 1], ["-1", "1"], "[-1]", 0),  # of support vector machines
        ([10115, 80331], ["10115", "80331"], "[80331]", 1),  # postcodes
        ([True, False], ["0", "1"], "[1]", 1),
        (["1.5", "2.0"], ["1.5", "2.0"], "[2]", 1),
        ([b"cat", "über".encode()], ["cat", "über"], "['über']", 1),
        ([1.0, 2.0], ["1", "2"], "[2.0]", 1),
        (["1.50", "2.50"], ["1.50", "2.50"], "[1.50]", 0),
        (["true", "false"], ["false", "true"], "[True]", 1),
    ],
)
def test_labels_of_any_kind_are_classes_by_their_names(labels, names, chosen, position, tmp_path):
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(0).normal(size=(40, 3)), labels=np.array(labels * 20))
    given = ["dataset=table", f"dataset.path={tmp_path / 'x.npz'}"]
    every = make_dataset(composed(*given), torch.device("cpu"))
    assert list(every.class_names) == names and every.class_counts().tolist() == [20, 20]
    one = make_dataset(composed(*given, f"dataset.classes={chosen}"), torch.device("cpu"))
    assert len(one) == 20 and torch.equal(one.train.samples, every.train.samples[every.train.labels == position])
    known = SimpleNamespace(class_names=every.class_names, num_classes=2)
    assert class_number(yaml_value(chosen)[0], known) == position
    written = as_in_data(torch.arange(2), known).tolist()
    assert [str(label) for label in written] == names
    assert all(type(label) is int for label in written) == all(name.lstrip("-").isdecimal() for name in names)


def test_a_size_beyond_any_network_is_refused_before_anything_is_decoded(tmp_path):
    with pytest.raises(ValueError, match=r"dataset\.size=4097: give at most 4096"):
        make_dataset(composed("dataset=image_folder", f"dataset.path={tmp_path}", "dataset.size=4097"), None)


def test_labels_without_gaps_stay(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    data = array(path=saved(tmp_path, [2, 0, 1, 1]), **AS_IS)
    assert data.train.labels.tolist() == [2, 0, 1, 1] and "numbered" not in caplog.text


def test_emnist_letters_in_mnists_place(tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    write_mnist(raw)
    write_idx(raw / "train-labels-idx1-ubyte", np.arange(30, dtype=np.uint8) % 26 + 1)
    write_idx(raw / "t10k-labels-idx1-ubyte", np.arange(12, dtype=np.uint8) + 1)
    data = torchvision_dataset(name="MNIST", root=str(tmp_path), download=False, **AS_IS)
    assert data.num_classes == 26 and data.class_names == tuple(str(i) for i in range(1, 27))
    assert data.held_out_split.labels.tolist() == list(range(12))


def test_held_out_images_of_classes_that_are_not_trained_on_are_left_out(tmp_path):
    path = saved(tmp_path, [0, 0, 5, 5], [5, 9, 0, 1])
    data = array(path=path, **AS_IS)
    assert data.held_out_split.labels.tolist() == [1, 0]
    assert data.held_out_split.samples[:, 0, 0, 0].tolist() == [100, 102]
    assert array(path=saved(tmp_path, [0, 0, 5, 5], [7, 7]), **AS_IS).held_out_split is None


def test_one_class_is_none(tmp_path):
    data = array(path=saved(tmp_path, [5, 5, 5], [5, 6]), **AS_IS)
    assert (
        data.num_classes == 0
        and data.class_names == ()
        and not data.train.labels.any()
        and len(data.held_out_split) == 1
    )


@pytest.mark.parametrize("limit", [2, 3, 6, 9])
def test_a_limit_leaves_no_class_empty(tmp_path, limit):
    data = array(path=saved(tmp_path, [0] * 4 + [1] * 4 + [9]), **(AS_IS | {"limit": limit}))
    counts = torch.bincount(data.train.labels)
    assert len(data) == limit and counts.min() > 0 and len(counts) == data.num_classes == min(limit, 3)


def test_an_even_draw_takes_the_same_part_of_each_class():
    labels = torch.arange(1000) % 10 // 7  # 700 of class 0, 300 of class 1
    drawn = draw_evenly(labels, 100)
    assert torch.bincount(labels[drawn]).tolist() == [70, 30] and len(drawn.unique()) == 100
    assert torch.equal(drawn, drawn.sort().values) and drawn.float().mean() == pytest.approx(500, abs=100)
    assert torch.equal(drawn, draw_evenly(labels, 100)) and torch.equal(draw_evenly(labels, None), torch.arange(1000))


def test_classes_by_number_and_by_name(tmp_path):
    path = saved(tmp_path, [1, 2, 3, 4])
    for classes in ([3, 1], ["3", "1"], ["3", 1]):
        data = array(path=path, **(AS_IS | {"classes": classes}))
        assert data.class_names == ("3", "1") and data.train.samples[:, 0, 0, 0].tolist() == [100, 102]
        assert data.train.labels.tolist() == [1, 0]


def test_the_names_of_published_classes(tmp_path):
    for name, chosen, names in (("MNIST", [7], ("7",)), ("FashionMNIST", ["Coat", 9], ("Coat", "Ankle boot"))):
        write_mnist(tmp_path / name / "raw")
        options = AS_IS | {"classes": [*chosen, 0]}
        data = torchvision_dataset(name=name, root=str(tmp_path), download=False, **options)
        assert data.class_names[:-1] == names and data.train.labels.max() == len(chosen)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (["cat"], "no sample is of class cat; choose from 1, 2, 3, 4"),
        ([0], "no sample is of class 0; choose from 1, 2, 3, 4"),
        ([3, 3], "class 3 is named twice"),
        ([3, "3"], "class 3 is named twice"),
        ([], "give a list of names or numbers"),
        (3, "give a list of names or numbers, as in \\[3\\]"),
        ("cat", "give a list of names or numbers, as in \\[cat\\]"),
        ([1.5], "no sample is of class 1.5"),
        ([None], "no sample is of class None"),
        ([True], "no sample is of class True"),
        ([[1]], "no sample is of class \\[1\\]"),
        ([-1], "no sample is of class -1"),
    ],
)
def test_classes_that_are_not_there_are_refused(tmp_path, classes, message):
    with pytest.raises(ValueError, match=f"dataset.classes=.*{message}") as error:
        array(path=saved(tmp_path, [1, 2, 3, 4]), **(AS_IS | {"classes": classes}))
    assert "\n" not in str(error.value)


def test_data_without_classes_say_so(tmp_path):
    with pytest.raises(ValueError, match="no sample is of class cat; this data has no classes"):
        array(path=saved(tmp_path, [0, 0]), **(AS_IS | {"classes": ["cat"]}))


def test_numbers_of_a_huge_label_take_little_memory():
    table, names = renumbered(torch.tensor([0, 65535]), [0, 65535], None)
    assert len(table) == 65536 and table[65535] == 1 and names == ("0", "65535")
