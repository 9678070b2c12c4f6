"""What is an image, and what the folders of a tree or a zip file mean."""

import io
import logging
import os
import time
import zipfile
from pathlib import Path

import pytest
import torch
from PIL import Image

from wgangp.data.files import Files
from wgangp.data.sources import celeba, image_folder
from wgangp.data.sources.layout import in_order_of_numbers, read_layout

PHOTOS = {"size": 8, "channels": 1, "classes": None, "limit": None, "levels": None, "verify": False, "cache": None}
PHOTOS |= {"held_out": None}
PHOTOS |= {"flip": False, "dequantise": False, "seed": 0, "device": torch.device("cpu")}


def encoded(value=200, kind="PNG"):
    file = io.BytesIO()
    Image.new("L", (8, 8), value).convert("RGB" if kind == "AVIF" else "L").save(file, kind)
    return file.getvalue()


def tree(folder, names):
    """Picture i of the names is all 100 + i."""
    for i, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(encoded(100 + i))
    return str(folder)


def zipped(path, names):
    with zipfile.ZipFile(path, "w") as archive:
        for i, name in enumerate(names):
            archive.writestr(name, encoded(100 + i))
    return str(path)


def pair(folders):
    return [f"{folder}/{i}.png" for folder in folders for i in range(2)]


HIDDEN = (".thumbnails", "cat/@eaDir", "__MACOSX/cat", "$RECYCLE.BIN", ".git", "cat/.x/y", "#recycle", "lost+found/a")


@pytest.mark.parametrize("packed", [False, True])
def test_hidden_folders_are_not_trained_on(tmp_path, packed):
    names = [*pair(("cat", "dog")), *pair(HIDDEN), "dog/._0.png", "dog/.hidden.png"]
    path = zipped(tmp_path / "x.zip", names) if packed else tree(tmp_path / "x", names)
    data = image_folder(path=path, **PHOTOS)
    assert data.class_names == ("cat", "dog") and data.describe() == "4 images of 1x8x8, 2 classes: cat (2), dog (2)"


def test_a_hidden_folder_may_be_asked_for(tmp_path):
    assert len(image_folder(path=tree(tmp_path / ".cache" / "@eaDir", pair("ab")), **PHOTOS)) == 4


def test_numbered_folders_are_in_the_order_of_their_numbers(tmp_path):
    data = image_folder(path=tree(tmp_path / "x", pair(map(str, range(12)))), **PHOTOS)
    assert data.class_names == tuple(map(str, range(12)))
    assert data.train.samples[data.train.labels == 2].unique().tolist() == [104, 105]
    assert read_layout(["class 10/a", "class 9/a"]).class_names == ["class 9", "class 10"]
    assert read_layout(["1/a", "01/a", "1b/a"]).class_names == ["01", "1", "1b"]


@pytest.mark.parametrize("prefix", ["", "photos/", "a/b/"])
@pytest.mark.parametrize(("train", "held_out"), [("train", "val"), ("Train", "Test"), ("training", "validation")])
def test_train_and_val_are_parts(tmp_path, caplog, prefix, train, held_out):
    names = [
        prefix + n for n in (*pair((f"{train}/cat", f"{train}/dog")), f"{held_out}/dog/0.png", f"{held_out}/x.png")
    ]
    data = image_folder(path=tree(tmp_path / "x", names), **PHOTOS)
    assert data.class_names == ("cat", "dog") and data.train.samples[:, 0, 0, 0].tolist() == [100, 101, 102, 103]
    assert data.held_out_split.labels.tolist() == [1] and data.held_out_split.samples[0, 0, 0, 0] == 104
    assert data.describe().endswith("cat (2), dog (2); 1 held out")
    assert "left out 1 of 2 held-out images, which are in no folder of a class" in caplog.text


def test_parts_below_the_classes_are_parts(tmp_path, caplog):
    names = [*pair(("cat/train", "dog/train")), "cat/test/0.png", "dog/test/0.png"]
    data = image_folder(path=tree(tmp_path / "x", names), **PHOTOS)
    assert data.class_names == ("cat", "dog") and data.train.samples[:, 0, 0, 0].tolist() == [100, 101, 102, 103]
    assert data.train.labels.tolist() == [0, 0, 1, 1] and data.held_out_split.labels.tolist() == [0, 1]
    assert data.held_out_split.samples[:, 0, 0, 0].tolist() == [104, 105]
    for names, classes in (
        ([*pair(("cat", "cat", "dog", "dog")), "dog/train/0", "dog/test/0"], ["cat", "dog"]),
        ([*pair(("cat", "cat")), *pair(("dog/train", "dog/test"))], ["cat", "dog"]),
        (pair(("cat/train", "dog/test")), ["cat", "dog"]),
    ):
        layout = read_layout(names)
        assert (len(layout.train), layout.held_out, layout.class_names) == (len(names), [], classes)
        assert layout.notes == ["not each class has a folder train, so all images are trained on"]
    mixed = read_layout(pair(("cat/train", "cat/test", "cat/masks", "dog/train", "dog/test")))
    assert (len(mixed.train), len(mixed.held_out), mixed.class_names) == (4, 4, ["cat", "dog"])
    assert mixed.notes == ["the 2 images in masks are used neither for training nor as held-out images"]


def test_parts_without_classes_and_a_part_that_is_not_used(tmp_path, caplog):
    data = image_folder(path=tree(tmp_path / "x", pair(("train", "val", "test"))), **PHOTOS)
    assert data.num_classes == 0 and len(data) == 2 and data.held_out_split.samples[:, 0, 0, 0].tolist() == [102, 103]
    assert "the 2 images in test are used neither for training nor as held-out images" in caplog.text
    again = image_folder(path=str(tmp_path / "x"), **PHOTOS)  # from two caches
    assert torch.equal(again.train.samples, data.train.samples) and torch.equal(
        again.held_out_split.samples, data.held_out_split.samples
    )


@pytest.mark.parametrize("folders", [("seg_train", "seg_test", "seg_pred"), ("train2017", "val2017", "unlabeled2017")])
def test_other_folders_beside_train_and_test_are_left_out_and_that_is_said(tmp_path, caplog, folders):
    names = [f"{folder}/{name}" for folder in folders[:2] for name in pair(("sea", "wood"))]
    data = image_folder(path=tree(tmp_path / "x", [*names, *pair(folders[2:])]), **PHOTOS)
    assert data.class_names == ("sea", "wood") and (len(data), len(data.held_out_split.samples)) == (4, 4)
    assert f"the 2 images in {folders[2]} are used neither for training nor as held-out images" in caplog.text


@pytest.mark.parametrize("folders", [("training", "racing", "testing", "hiking"), ("train", "test", "many", "more")])
def test_folders_with_more_images_than_the_training_part_are_not_left_out(folders):
    layout = read_layout(pair(folders))
    assert (len(layout.train), layout.class_names) == (8, sorted(folders)) and "are no parts" in layout.notes[0]
    assert read_layout(pair(("train", "car"))).notes == []  # a vehicle


def test_two_training_parts_are_no_parts_and_that_is_said():
    layout = read_layout(pair(("train2014", "train2017", "val")))
    assert layout.class_names == ["train2014", "train2017", "val"] and "are no parts" in layout.notes[0]


def test_frames_are_in_the_order_of_their_numbers():
    """Times with points, numbers below zero, counts with zeros or without, two counts, and dashes that are no signs."""
    for names in (
        *("0 0.04 0.08 0.12 0.2 1 10", "-5 -1 0 2 10", "t-0.5 t0.25 t2", "f_1 f_2 f_10", "f-1 f-2 f-10", "1.9 1.10"),
        *(
            "0.0 0.05 0.1 0.15 0.2 0.25",
            "t=0.0 t=0.25 t=0.5 t=1.0 t=1.25",
            "10.0 10.25 10.5 10.75",
            "1.1 1.6 1.11 1.21",
        ),
        *("shot1.1 shot1.2 shot1.11 shot2.1", "2024.1 2024.3 2024.11", "1.1 1.2 1.10"),
        *("v1.2_001 v1.2_010", "a1b2 a1b10 a2b1", "1700000000.123456788 1700000000.123456789", "x", "0.05 0.10 0.20"),
    ):
        files = [Path(f"{name}.png") for name in names.split()]
        assert in_order_of_numbers(files[::-1]) == files


def test_a_stray_image_is_left_out_and_named(tmp_path, caplog):
    for prefix in ("", "photos/"):
        data = image_folder(
            path=tree(tmp_path / f"x{prefix}", ["cover.jpg", *(prefix + n for n in pair("ab"))]), **PHOTOS
        )
        assert data.class_names == ("a", "b") and data.train.samples[:, 0, 0, 0].tolist() == [101, 102, 103, 104]
        assert "left out 1 of 5 images, which are in none of the class folders: cover.jpg" in caplog.text
        caplog.clear()


def test_folders_beside_most_of_the_images_are_no_classes(tmp_path, caplog):
    names = [f"{i}.png" for i in range(9)]
    data = image_folder(path=tree(tmp_path / "x", [*names, *pair("ab")]), **PHOTOS)
    assert data.num_classes == 0 and len(data) == 13 and "most are in none of the folders a, b" in caplog.text
    assert "most are in none of the folders a, b" in read_layout([*names, *pair(("one/a", "one/b"))]).notes[0]
    assert read_layout([*names, "one/a.png"]).notes == [] and len(read_layout([*names, "one/a.png"]).train) == 10


@pytest.mark.parametrize(("old", "new"), [("/", "\\"), ("x/", "./x/"), ("/", "//"), ("/", "/./")])
def test_a_zip_by_another_program_has_its_classes(tmp_path, old, new):
    data = image_folder(
        path=zipped(tmp_path / "x.zip", [n.replace(old, new) for n in pair(("x/cat", "x/dog"))]), **PHOTOS
    )
    assert data.class_names == ("cat", "dog") and data.train.labels.tolist() == [0, 0, 1, 1]


ENDINGS = {".jfif": "JPEG", ".jpe": "JPEG", ".JPEG": "JPEG", ".avif": "AVIF", ".jp2": "JPEG2000", ".tga": "TGA"}
ENDINGS |= {".webp": "WEBP", ".dib": "BMP", ".pnm": "PPM", ".apng": "PNG"}


@pytest.mark.parametrize("ending", ENDINGS)
def test_images_of_every_ending(tmp_path, ending):
    (tmp_path / f"a{ending}").write_bytes(encoded(200, ENDINGS[ending]))
    (image,) = image_folder(path=str(tmp_path), **PHOTOS).train.samples
    assert (image.float() - 200).abs().max() <= 2


@pytest.mark.parametrize("packed", [False, True])
def test_files_without_an_ending_are_known_by_their_content(tmp_path, caplog, packed):
    caplog.set_level(logging.INFO)
    files = {f"image{i}": encoded(kind=kind) for i, kind in enumerate(("PNG", "JPEG", "WEBP", "AVIF", "BMP", "TIFF"))}
    others = {
        "README": b"BMW, P5 and GIF are mentioned",
        "bmw": b"BM" * 99,
        "empty": b"",
        "a.heic": b"?",
        "b.HEIC": b"?",
    }
    (tmp_path / "x").mkdir()
    for name, content in (files | others).items():
        (tmp_path / "x" / name).write_bytes(content)
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name, content in (files | others).items():
            archive.writestr(name, content)
    os.mkfifo(tmp_path / "x" / "pipe")  # opening it would wait for ever
    data = image_folder(path=str(tmp_path / ("x.zip" if packed else "x")), **PHOTOS)
    assert len(data) == 6
    assert f"passed over, since they are no images: no ending ({3 if packed else 4}), .heic (2); convert" in caplog.text


def test_many_folders_are_labelled_at_once():
    """Quadratic, it took 24 s."""
    names = sorted(f"{i:05d}/{k}.png" for i in range(40_000) for k in range(2))
    start = time.perf_counter()
    layout = read_layout(names)
    assert len(layout.class_names) == 40_000 and layout.labels.tolist() == [i // 2 for i in range(80_000)]
    assert time.perf_counter() - start < 8


@pytest.fixture
def png_faces(tmp_path):
    names = [f"img_align_celeba_png/{i:06d}.png" for i in range(1, 7)]
    tree(tmp_path, names)
    rows = "".join(f"{i:06d}.jpg {part}\n" for i, part in enumerate([0, 0, 1, 0, 2, 0], 1))
    (tmp_path / "list_eval_partition.txt").write_text(rows)
    return tmp_path


def test_faces_in_png_files_are_matched_with_the_partitions_jpg_names(png_faces):
    data = celeba(root=str(png_faces), download=False, **PHOTOS)
    assert data.train.samples[:, 0, 0, 0].tolist() == [100, 101, 103, 105]
    assert data.held_out_split.samples[:, 0, 0, 0].tolist() == [102]


def test_faces_that_the_partition_does_not_name(png_faces, caplog):
    partition = png_faces / "list_eval_partition.txt"
    partition.write_text(partition.read_text().replace("000004.jpg", "444444.jpg"))
    assert len(celeba(root=str(png_faces), download=False, **PHOTOS)) == 3
    assert "left out 1 of 6 images, which the partition does not name: img_align" not in caplog.text
    assert "left out 1 of 6 images, which the partition does not name: 000004.png" in caplog.text
    partition.write_text("face_1.jpg 0\nface_2.jpg 1\n")
    with pytest.raises(ValueError, match=r"the partition file names none of the images, such as 000001\.png"):
        celeba(root=str(png_faces), download=False, **PHOTOS)


def test_paths_are_taken_as_they_are_typed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    tree(tmp_path / "2024", pair("ab"))
    for path in (2024, "2024", "~/2024"):
        assert len(image_folder(path=path, **PHOTOS)) == 4


def test_files_count_what_they_pass_over(tmp_path):
    (tmp_path / "notes.txt").write_text("?")
    files = Files(tmp_path)
    assert files.names == [] and files.passed_over == {".txt": 1}
    with pytest.raises(ValueError, match=r"has no images .*\.txt \(1\)"):
        image_folder(path=str(tmp_path), **PHOTOS)


def test_names_that_no_terminal_should_see(tmp_path):
    """Escape sequences, line breaks and bytes that are no text."""
    names = [f"{folder}/{i}.png" for folder in ("a\x1b[2Jb", "c\nd", os.fsdecode(b"e\xff")) for i in range(2)]
    data = image_folder(path=tree(tmp_path / "x", names), **PHOTOS)
    assert data.class_names == ("a\\x1b[2Jb", "c d", "e\\udcff") and data.describe().isprintable()


@pytest.mark.parametrize("names", ["train2017 val2017", "Training-Set Test-Set", "seg_train seg_test", "train eval"])
def test_parts_have_many_names(names):
    train, held_out = names.split()
    layout = read_layout([f"{part}/{name}.png" for part in (train, held_out) for name in "abc"])
    assert len(layout.train) == len(layout.held_out) == 3 and layout.class_names is None
