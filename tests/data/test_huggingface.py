"""Data sets of the Hugging Face Hub, as folders: what the package `datasets` reads and writes itself."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from wgangp.app.build import make_dataset
from wgangp.app.compose import load_config

datasets = pytest.importorskip("datasets")
SMALL = ["steps=2", "dataset.size=8", "generator.width=4", "critic.width=4", "batch_size=4", "hydra.run.dir=run"]


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return {"bytes": file.getvalue(), "path": None}


def pictures(n, first):
    return np.random.default_rng(first).integers(0, 256, (n, 8, 8, 3), dtype=np.uint8)


def split(n, first, label, **more):
    data = datasets.Dataset.from_dict({"image": [png(p) for p in pictures(n, first)], "label": label, **more})
    return data.cast_column("image", datasets.Image())


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A folder that save_to_disk wrote, with classes; and the cache of this test alone."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    classes = datasets.ClassLabel(names=["cat", "dog"])
    parts = {"train": split(12, 0, [0, 1] * 6), "test": split(4, 1, [1, 0, 1, 0])}
    folder = datasets.DatasetDict({name: part.cast_column("label", classes) for name, part in parts.items()})
    folder.save_to_disk(str(tmp_path / "pets"))
    return tmp_path


def test_pixels_classes_and_the_test_part_are_those_of_the_folder(hub):
    cfg = load_config("dataset=huggingface", f"dataset.name={hub / 'pets'}", "dataset.size=8")
    data = make_dataset(cfg, torch.device("cpu"))
    assert torch.equal(data.train.samples, torch.from_numpy(pictures(12, 0)).permute(0, 3, 1, 2))
    assert torch.equal(data.held_out_split.samples, torch.from_numpy(pictures(4, 1)).permute(0, 3, 1, 2))
    assert data.train.labels.tolist() == [0, 1] * 6 and data.held_out_split.labels.tolist() == [1, 0, 1, 0]
    assert data.class_names == ("cat", "dog")
    assert len(list((hub / "cache" / "wgangp").glob("*.cache"))) == 2


def test_a_run_trains_on_the_classes_and_is_resumed_from_elsewhere(call, hub, monkeypatch):
    code, text = call("train", "dataset=huggingface", "dataset.name=pets", "conditional=true", *SMALL)
    assert code == 0 and "12 images of 3x8x8, 2 classes: cat (6), dog (6); 4 held out" in text
    monkeypatch.chdir("cache")
    assert call("resume", "run=../run", "steps=3")[0] == 0
    monkeypatch.chdir("..")
    Path("pets").rename("moved")
    code, text = call("evaluate", "run=run", "dataset.path=moved", "n=10", "metrics=[kid]")
    assert code == 1 and "Inception" in text  # found, and then no score of it


def test_parquet_files_with_names_as_labels(call, hub):
    Path("folder").mkdir()
    split(6, 2, ["red", "blue", "red"] * 2).to_parquet("folder/train.parquet")
    code, text = call("train", "dataset=huggingface", "dataset.name=folder", "dataset.label=label", *SMALL)
    assert code == 0 and "6 images of 3x8x8, 2 classes: blue (2), red (4)" in text


def test_a_data_set_may_have_a_format_of_its_own(hub, monkeypatch):
    monkeypatch.chdir(hub)
    split(4, 2, ["a", "b"] * 2).with_format("numpy", columns=["image"]).save_to_disk("folder")
    cfg = load_config("dataset=huggingface", "dataset.name=folder", "dataset.label=label", "dataset.size=8")
    assert make_dataset(cfg, torch.device("cpu")).class_names == ("a", "b")


def test_labels_of_several_values_are_refused(hub, monkeypatch):
    monkeypatch.chdir(hub)
    Path("folder").mkdir()
    split(4, 2, [[0, 1], [1], [0], []]).to_parquet("folder/train.parquet")
    cfg = load_config("dataset=huggingface", "dataset.name=folder", "dataset.label=label", "dataset.size=8")
    with pytest.raises(ValueError, match="has several values a sample"):
        make_dataset(cfg, torch.device("cpu"))


def test_images_beside_a_table_may_change(hub, monkeypatch):
    monkeypatch.chdir(hub)

    def save(value):
        for i in range(4):
            Image.new("RGB", (8, 8), (value, value, value)).save(f"{i}.png")

    save(200)
    Path("folder").mkdir()
    data = datasets.Dataset.from_dict({"image": [str(Path(f"{i}.png").absolute()) for i in range(4)]})
    data.cast_column("image", datasets.Image()).to_parquet("folder/train.parquet")
    cfg = load_config("dataset=huggingface", "dataset.name=folder", "dataset.size=8")
    assert make_dataset(cfg, torch.device("cpu")).train.samples.unique().tolist() == [200]
    save(90)
    assert make_dataset(cfg, torch.device("cpu")).train.samples.unique().tolist() == [90]


def test_a_folder_of_images_and_a_subset_of_parquet_files(call, hub):
    """The package's own readings of a folder: classes by sub-folders, and the configurations of its README."""
    for i, pixels in enumerate(pictures(6, 3)):
        Path(f"tree/train/{'ab'[i % 2]}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(f"tree/train/{'ab'[i % 2]}/{i}.png")
    code, text = call("train", "dataset=huggingface", "dataset.name=tree", *SMALL)
    assert code == 0 and "6 images of 3x8x8, 2 classes: a (3), b (3)" in text
    Path("parts").mkdir()
    configs = "".join(f"- config_name: {name}\n  data_files: {name}.parquet\n" for name in ("few", "many"))
    Path("parts/README.md").write_text(f"---\nconfigs:\n{configs}---\n")
    for name, n in {"few": 4, "many": 9}.items():
        split(n, 4, [0] * n).to_parquet(f"parts/{name}.parquet")
    code, text = call("train", "dataset=huggingface", "dataset.name=parts", "dataset.subset=many", *SMALL[:-1])
    assert code == 0 and "9 images of 3x8x8" in text


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["dataset.name=no/such", "dataset.download=false"], "cannot be loaded, neither as a folder nor from the Hub"),
        (["dataset.name=pets", "dataset.split=dev"], "dataset.split=dev: choose from train, test"),
        (["dataset.name=pets", "dataset.image=label"], "has no such column of images; choose from image"),
        (["dataset.name=pets", "dataset.label=kind"], "has no such column of labels; choose from image, label"),
        (["dataset.name=pairs"], "has several columns of images: set dataset.image to one of image, mask"),
        (["dataset.name=numbers"], "no such column of images; dataset=table takes tables of numbers"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(call, hub, monkeypatch, asked, message):
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    datasets.Dataset.from_dict({"a": [1, 2], "b": [0.5, 1.0]}).save_to_disk("numbers")
    masks = [png(p) for p in pictures(4, 5)]
    split(4, 0, [0, 1, 0, 1], mask=masks).cast_column("mask", datasets.Image()).save_to_disk("pairs")
    code, text = call("train", "dataset=huggingface", *asked, *SMALL)
    assert code == 1 and message in text and not Path("run").exists()


def test_the_package_is_named_if_it_is_missing(call, hub, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    code, text = call("train", "dataset=huggingface", "dataset.name=pets", *SMALL)
    assert code == 1 and "datasets is not installed: pip install -e '.[huggingface]'" in text


def test_a_test_split_without_labels_is_passed_over(hub, caplog):
    """As those of contests, whose labels are -1 or missing: the next split is held out."""
    classes = datasets.ClassLabel(names=["cat", "dog"])
    parts = {name: split(4, i, [0, 1, 0, 1]).cast_column("label", classes) for i, name in enumerate(("train", "valid"))}
    for kind, test in (
        ("hidden", split(4, 7, [-1] * 4).cast_column("label", classes)),
        ("bare", split(4, 8, [0] * 4).remove_columns("label")),
    ):
        datasets.DatasetDict(parts | {"test": test}).save_to_disk(str(hub / kind))
        with caplog.at_level("INFO"):
            data = make_dataset(
                load_config("dataset=huggingface", f"dataset.name={hub / kind}", "dataset.size=8"), torch.device("cpu")
            )
        assert torch.equal(data.held_out_split.samples, torch.from_numpy(pictures(4, 1)).permute(0, 3, 1, 2))
        assert "left out test: without labels" in caplog.text


@pytest.mark.parametrize("labels", [[0, -1, 1, 0], [None, 1, 1, 0]])
def test_samples_without_a_label_are_left_out_and_the_names_stay(hub, caplog, labels):
    classes = datasets.ClassLabel(names=["cat", "dog"])
    datasets.DatasetDict({"train": split(4, 0, labels).cast_column("label", classes)}).save_to_disk(str(hub / "some"))
    with caplog.at_level("INFO"):
        cfg = load_config("dataset=huggingface", f"dataset.name={hub / 'some'}", "dataset.size=8")
        data = make_dataset(cfg, torch.device("cpu"))
    kept = [i for i, label in enumerate(labels) if label not in (None, -1)]
    assert torch.equal(data.train.samples, torch.from_numpy(pictures(4, 0)[kept]).permute(0, 3, 1, 2))
    assert data.class_names == ("cat", "dog") and data.train.labels.tolist() == [labels[i] for i in kept]
    assert "left out 1 of 4 samples of train: without labels" in caplog.text


@pytest.mark.parametrize(("theirs", "kept"), [(["dog", "cat"], [0, 1, 2, 3]), (["dog", "owl"], [0, 2])])
def test_held_out_labels_are_matched_by_the_names_of_their_classes(hub, caplog, theirs, kept):
    """`class_encode_column` numbers each split for itself."""
    names = {"train": ["cat", "dog"], "test": theirs}
    parts = {
        name: split(4, i, [0, 1, 0, 1]).cast_column("label", datasets.ClassLabel(names=names[name]))
        for i, name in enumerate(names)
    }
    datasets.DatasetDict(parts).save_to_disk(str(hub / "named"))
    with caplog.at_level("INFO"):
        cfg = load_config("dataset=huggingface", f"dataset.name={hub / 'named'}", "dataset.size=8")
        data = make_dataset(cfg, torch.device("cpu"))
    assert data.class_names == ("cat", "dog") and data.train.labels.tolist() == [0, 1, 0, 1]
    assert torch.equal(data.held_out_split.samples, torch.from_numpy(pictures(4, 1)[kept]).permute(0, 3, 1, 2))
    assert [data.class_names[y] for y in data.held_out_split.labels] == [theirs[(0, 1, 0, 1)[i]] for i in kept]
    assert ("left out 2 of 4 samples of test: without labels that" in caplog.text) == ("owl" in theirs)
