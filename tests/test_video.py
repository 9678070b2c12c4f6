"""Video: Moving MNIST, videos of any format, clips as windows on frames, films of a run, iVGAN."""

import io
import logging
import math
import shutil
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import array, write_film, write_mnist
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from wgangp.data.files.videos import read_film
from wgangp.data.sources import moving_digits, video_folder
from wgangp.data.sources.moving_digits import render, resized, trajectories
from wgangp.data.windows import Windows, windows
from wgangp.models import video

CPU = torch.device("cpu")
OPTIONS = {"channels": 3, "classes": None, "limit": None, "flip": False, "dequantise": False, "held_out": None}
OPTIONS |= {"seed": 0, "device": CPU}
FOLDER = OPTIONS | {"stacked": False}
rng = np.random.default_rng(0)
FRAMES = rng.integers(0, 256, (6, 16, 16, 3), dtype=np.uint8)
FRAMES //= 64  # few colours, so that a GIF has them all
FRAMES *= 64


# Moving MNIST


def by_the_description(start, angle, frames, room):
    """One digit at a time: a step of 0.1, then the walls, then whole pixels."""
    y, x = start
    v_y, v_x = math.sin(angle), math.cos(angle)
    places = []
    for _ in range(frames):
        y, x = y + 0.1 * v_y, x + 0.1 * v_x
        if x <= 0 or x >= 1:
            x, v_x = min(max(x, 0), 1), -v_x
        if y <= 0 or y >= 1:
            y, v_y = min(max(y, 0), 1), -v_y
        places.append((int(y * room), int(x * room)))
    return places


def test_moving_digits_take_the_way_of_the_description():
    drawn = torch.Generator().manual_seed(3)
    places = (trajectories(40, 20, drawn) * 36).int()  # (t, n, 2)
    drawn.manual_seed(3)
    start, angle = (torch.rand(40, *shape, generator=drawn, dtype=torch.float64) for shape in ((2,), ()))
    for i in range(40):
        expected = by_the_description(start[i].tolist(), 2 * math.pi * angle[i].item(), 20, 36)
        assert [tuple(p) for p in places[:, i].tolist()] == expected
    assert places.min() == 0 and places.max() == 36  # both walls are met


def test_moving_digits_are_drawn_at_their_places(tmp_path):
    digits = torch.randint(256, (3, 2, 4, 4), dtype=torch.uint8)
    places = torch.randint(9, (5, 3, 2, 2))
    clips = render(digits, places, 12)
    for n, t in np.ndindex(3, 5):
        expected = np.zeros((12, 12), np.uint8)
        for k in range(2):
            y, x = places[t, n, k].tolist()
            expected[y : y + 4, x : x + 4] = np.maximum(expected[y : y + 4, x : x + 4], digits[n, k].numpy())
        assert np.array_equal(clips[n, 0, t], expected)
    x, y = write_mnist(tmp_path / "MNIST" / "raw")
    options = OPTIONS | {"channels": None, "root": str(tmp_path), "download": False, "frames": 3}
    small, other = (moving_digits(size=32, digits=1, clips=20, **(options | {"seed": s})) for s in (0, 7))
    assert torch.equal(small.train.samples, other.train.samples)
    assert (small.shape, small.num_classes) == ((1, 3, 32, 32), 10)
    assert "20 clips of 1x3x32x32" in small.describe() and len(small.held_out_split) == 2
    means = torch.from_numpy(x.reshape(30, 14, 2, 14, 2).mean((2, 4))).round()
    assert torch.equal(resized(torch.from_numpy(x)[:, None], 14)[:, 0].float(), means)
    sums = {(int(label), int(m.sum())) for label, m in zip(y, means, strict=True)}
    images, labels = small.train.samples, small.train.labels
    assert all((int(a), int(clip[0, 0].sum())) in sums for a, clip in zip(labels, images, strict=True))
    with pytest.raises(ValueError, match=r"dataset\.size=40: give a multiple of 16"):
        moving_digits(size=40, digits=1, clips=1, **options)


# Clips are windows on frames


def test_windows_share_the_memory_of_their_frames():
    frames = torch.randint(256, (20, 3, 4, 4), dtype=torch.uint8)
    clips = windows(frames, length=5, stride=3)
    assert clips.shape == (8, 3, 5, 4, 4) and clips.untyped_storage().data_ptr() == frames.untyped_storage().data_ptr()
    assert torch.equal(clips[7], frames[7:20:3].transpose(0, 1))
    split = Windows(frames, torch.tensor([4, 5]), torch.tensor([0, 7]), 5, 3)
    x, y = split.pick(torch.tensor([1, 0, 1]))
    assert split.nbytes == frames.nbytes and x.is_contiguous() and y.tolist() == [5, 4, 5]
    assert torch.equal(x, clips[[7, 0, 7]]) and torch.equal(split.all(), clips[[0, 7]])


@pytest.mark.parametrize(("axes", "shape"), [("nthw", (9, 5, 8, 6)), ("nthwc", (9, 5, 8, 6, 3))])
def test_an_array_of_bytes_is_clips_by_its_axes(axes, shape, tmp_path):
    x = rng.integers(0, 256, shape, dtype=np.uint8)
    np.save(tmp_path / "x.npy", x)
    data = array(path=str(tmp_path / "x.npy"), **(OPTIONS | {"channels": None, "size": None, "axes": axes}))
    first = x if axes == "nthw" else x.transpose(0, 4, 1, 2, 3)
    assert data.is_video and np.array_equal(data.train.samples.numpy().reshape(first.shape), first)
    small = array(path=str(tmp_path / "x.npy"), **(OPTIONS | {"channels": 1, "size": 4, "axes": axes}))
    assert small.shape == (1, 5, 4, 4) and f"9 clips of {'x'.join(map(str, data.shape))}" in data.describe()


# Films are read as they were written


def test_a_part_of_the_windows_has_its_own_clips_and_labels():
    clips = Windows(torch.rand(20, 1, 4, 4), torch.arange(8), torch.arange(8) * 2, length=3, stride=2)
    part = clips.part(torch.tensor([5, 1]))
    x, y = part.pick(torch.arange(2))
    assert torch.equal(x, clips.pick(torch.tensor([5, 1]))[0]) and y.tolist() == [5, 1] and len(part) == 2


@pytest.mark.parametrize("kind", ["gif", "webp", "png"])
def test_films_and_folders_are_read_back_bit_for_bit(kind, tmp_path):
    if kind == "png":
        files = [tmp_path / f"{i}.png" for i in range(6)]
        for frame, file in zip(FRAMES, files, strict=True):
            Image.fromarray(frame).save(file)
    else:
        files = [tmp_path / f"x.{kind}"]
        write_film(FRAMES, files[0])
    found = read_film(files, 16, 3)
    assert np.array_equal(found.frames, FRAMES.transpose(0, 3, 1, 2))
    assert kind == "png" or (found.rate == pytest.approx(10) and not found.is_variable)


LOSSLESS = {  # container: codec, pixel format, options
    "mp4": ("libx264rgb", "rgb24", {"qp": "0"}),
    "avi": ("ffv1", "bgr0", {}),
    "webm": ("libvpx-vp9", "gbrp", {"lossless": "1"}),
    "mov": ("png", "rgb24", {}),
    "mkv": ("ffv1", "bgr0", {}),
}


def write_video(path, frames, codec="libx264", pixels="yuv420p", options=None, times=None):
    av = pytest.importorskip("av")
    from fractions import Fraction

    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=10, options=options or {})
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], pixels
        for i, pixel in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixel, format="rgb24").reformat(format=pixels)
            frame.pts, frame.time_base = (i if times is None else times[i]), Fraction(1, 10)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())


@pytest.mark.parametrize("kind", LOSSLESS)
def test_videos_are_read_back_bit_for_bit(kind, tmp_path):
    write_video(tmp_path / f"x.{kind}", FRAMES, *LOSSLESS[kind])
    found = read_film([tmp_path / f"x.{kind}"], 16, 3)
    assert np.array_equal(found.frames, FRAMES.transpose(0, 3, 1, 2))
    assert found.rate == pytest.approx(10, rel=0.02) and not found.is_variable


def test_our_own_mp4_is_close(tmp_path):
    pytest.importorskip("av")
    smooth = np.linspace(0, 250, 6 * 16 * 16).reshape(6, 16, 16, 1).repeat(3, axis=3).astype(np.uint8)
    write_film(smooth, tmp_path / "x.mp4")
    found = read_film([tmp_path / "x.mp4"], 16, 3).frames.transpose(0, 2, 3, 1)
    assert np.abs(found.astype(int) - smooth).mean() < 3 and len(found) == 6


# A folder of videos


@pytest.fixture
def folder(tmp_path):
    """Two classes: a film of odd sides, a folder of frames, a film that is too short, and a damaged one."""
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
    write_film(rng.integers(0, 256, (7, 21, 33, 3), dtype=np.uint8), tmp_path / "cat" / "odd.webp")
    write_film(FRAMES[:3], tmp_path / "cat" / "short.webp")
    (tmp_path / "dog" / "clip").mkdir()
    for i in range(12):  # 10.png comes after 9.png
        Image.new("RGB", (16, 16), (20 * i, 0, 0)).save(tmp_path / "dog" / "clip" / f"{i}.png")
    (tmp_path / "dog" / "damaged.gif").write_bytes(b"GIF89a and no more")
    (tmp_path / "dog" / "holes").mkdir()
    for i in range(5):
        Image.new("RGB", (16, 16)).save(tmp_path / "dog" / "holes" / f"{i}.png")
    (tmp_path / "dog" / "holes" / "3.png").write_bytes(b"no picture")
    (tmp_path / "notes.txt").write_text("")
    return tmp_path


def test_a_folder_of_videos(folder, caplog):
    caplog.set_level(logging.INFO)
    data = video_folder(path=str(folder), size=16, frames=3, stride=2, **FOLDER)
    assert data.describe() == "11 clips of 3x3x16x16, 2 classes: cat (3), dog (8)"
    assert "2 of 5 videos cannot be read: dog/damaged.gif" in caplog.text
    assert "dog/holes (3.png: of no known format)" in caplog.text
    assert "a clip spans 5 frames, and 1 of 5 videos have fewer: cat/short.webp (3)" in caplog.text
    red = data.train.all()[data.train.labels == 1][:, 0, :, 0, 0]
    assert red.tolist() == [[20 * i, 20 * i + 40, 20 * i + 80] for i in range(8)]  # no clip has frames of two videos
    odd = read_film([folder / "cat" / "odd.webp"], 21, 3).frames
    with Image.open(folder / "cat" / "odd.webp") as opened:
        assert np.array_equal(
            odd[0], np.asarray(opened.convert("RGB"))[:, 6:27].transpose(2, 0, 1)
        )  # the central square
    x, _ = data.batch(0, 4)
    assert x.shape == (4, 3, 3, 16, 16) and -1 <= x.min() <= x.max() <= 1 and data.bounded
    with pytest.raises(ValueError, match="held_out=1 leaves no training sample of the classes"):
        video_folder(path=str(folder), size=16, frames=3, stride=2, **(FOLDER | {"held_out": 1}))
    shutil.copy(folder / "cat" / "odd.webp", folder / "cat" / "again.webp")
    shutil.copytree(folder / "dog" / "clip", folder / "dog" / "again")
    held = video_folder(path=str(folder), size=16, frames=3, stride=2, **(FOLDER | {"held_out": 1}))
    assert len(held) + len(held.held_out_split) == 22 and len(held.held_out_split) in (3, 8)  # a whole video


def test_stacked_frames(tmp_path, caplog):
    """One JPEG a video, as Vondrick et al. (2016) publish theirs."""
    for name, clip in {"a": FRAMES, "b": FRAMES[::-1]}.items():
        Image.fromarray(clip.reshape(6 * 16, 16, 3)).save(tmp_path / f"{name}.png")
    Image.new("RGB", (16, 40)).save(tmp_path / "c.jpg")
    data = video_folder(path=str(tmp_path), size=16, frames=6, stride=1, **(FOLDER | {"stacked": True}))
    clips = torch.from_numpy(FRAMES).permute(3, 0, 1, 2)
    assert torch.equal(data.train.all(), torch.stack([clips, clips.flip(1)]))
    assert "c.jpg (16x40 pixels are no squares one below the other)" in caplog.text


def test_stills_beside_videos_are_no_video(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    for name in ("a", "b"):
        write_film(FRAMES // 8, tmp_path / f"{name}.webp")
        Image.new("RGB", (16, 16), "white").save(tmp_path / f"{name}.jpg")
    data = video_folder(path=str(tmp_path), size=16, frames=2, stride=1, **FOLDER)
    assert len(data) == 10 and "passed over files that are no videos: .jpg (2)" in caplog.text
    assert "no training image has a pixel above 24 of 255" in caplog.text  # the films are dark


def test_pictures_are_no_videos_of_one_frame(tmp_path):
    write_film(FRAMES[:1], tmp_path / "a.webp")
    with pytest.raises(ValueError, match=r"a.webp \(1\): give other videos; of frames that are files, make .png"):
        video_folder(path=str(tmp_path), size=16, frames=2, stride=1, **FOLDER)


def test_videos_that_cannot_be_used(folder, tmp_path, monkeypatch, caplog):
    def read(**options):
        return video_folder(**({"path": str(folder), "size": 16, "frames": 3, "stride": 2} | FOLDER | options))

    with pytest.raises(ValueError, match=r"a clip spans 59 frames, and 3 of 5 videos have fewer: cat/odd.webp \(7\)"):
        read(frames=30)
    with pytest.raises(FileNotFoundError, match="there is no such folder"):
        read(path="nowhere")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "x.txt").write_text("")
    with pytest.raises(ValueError, match=r"has no videos .*; it has \.txt \(1\)"):
        read(path=str(tmp_path / "empty"))
    with pytest.raises(ValueError, match=r"dataset\.stride=0: give a whole number"):
        read(stride=0)
    (folder / "dog" / "x.mp4").write_bytes(b"no video")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "av", None)
        with pytest.raises(ValueError, match=r"dog/x\.mp4 cannot be read without PyAV: `pip install av`"):
            read()
    pytest.importorskip("av")
    write_video(folder / "cat" / "uneven.mp4", FRAMES, times=[0, 1, 2, 7, 8, 9])
    assert len(read()) == 13
    assert "3 of 7 videos cannot be read: dog/damaged.gif" in caplog.text and "dog/x.mp4 (" in caplog.text
    assert "1 of 3 videos have a variable frame rate, and their frames are taken one after another: cat/uneven.mp4" in (
        caplog.text
    )


# A run


def test_a_run_on_clips_has_films(call, tmp_path):
    write_mnist(tmp_path / "MNIST" / "raw")
    small = ["dataset.size=16", "dataset.frames=6", "dataset.clips=40", "dataset.digits=1", f"dataset.root={tmp_path}"]
    small += ["generator.width=4", "critic.width=4", "batch_size=4", "n_critic=1", "device=cpu", "conditional=true"]
    code, text = call("train", "dataset=moving_mnist", *small, "steps=2", "sample_every=2", "hydra.run.dir=run")
    assert (
        code == 0
        and "40 clips of 1x6x16x16" in text
        and "validation/critic_loss" in Path("run/metrics.jsonl").read_text()
    )
    with Image.open("run/samples/step_00000002.png") as strip, Image.open("run/samples/step_00000002.webp") as moving:
        named = strip.width - (6 * 18 + 2)  # the names of the classes
        assert named >= 18 and strip.height == 8 * 18 + 2
        assert moving.n_frames == 6 and moving.size == (named + 7 * 18 + 2, 10 * 18 + 2)  # ten classes, 64 clips
    events = EventAccumulator("run", size_guidance={"images": 0}).Reload()
    gif = Image.open(io.BytesIO(events.Images("film")[0].encoded_image_string))
    assert gif.format == "GIF" and gif.n_frames == 6 and events.Images("samples")
    for kind in ("webp", "gif"):
        code, text = call("sample", "run=run", f"format={kind}", "n=4", "label=3")
        with Image.open(text.strip().splitlines()[-1]) as moving:
            assert code == 0 and moving.format == kind.upper() and moving.n_frames == 6
    code, text = call("sample", "run=run", "format=npy", "n=4", "label=3")
    x = np.load(text.strip().splitlines()[-1])
    assert x.shape == (4, 1, 6, 16, 16) and x.dtype == np.uint8
    found = read_film([Path("run/samples/seed_0_step_00000002_n_4_label_3.webp")], 38, 1).frames
    assert np.array_equal(found[:, 0, 2:18, 2:18], x[0, 0])  # lossless: the first clip of the grid
    assert (
        call("sample", "run=run", "out=x.png")[0] == 0 and call("sample", "run=run", "interpolate=true", "n=2")[0] == 0
    )
    code, text = call("sample", "run=run", "format=files")
    assert code == 1 and "format=webp for a film" in text


# iVGAN


def test_ivgan_has_the_official_layers():
    generator = video.Generator(shape=(3, 32, 64, 64), num_classes=0, nz=100, width=64, norm="batch", output="tanh")
    critic = video.Critic(shape=(3, 32, 64, 64), num_classes=0, width=64, norm="layer")
    assert generator.sizes == [(2, 4, 4), (4, 8, 8), (8, 16, 16), (16, 32, 32), (32, 64, 64)]
    maps = [100, 512, 256, 128, 64, 3]
    weights = [100 * 512 * 32, *(64 * a * b for a, b in pairwise(maps[1:]))]
    biases = [512 * 32, *maps[2:]]
    assert sum(p.numel() for p in generator.parameters()) == sum(weights) + sum(biases) + 2 * sum(maps[1:-1])
    sizes = [tuple(conv.weight.shape[:2]) for conv in critic.convs]
    assert sizes == [(64, 3), (128, 64), (256, 128), (512, 256), (1, 512)] and critic.output.weight.shape == (1, 4)
    assert [isinstance(norm, nn.GroupNorm) for norm in (getattr(n, "norm", n) for n in critic.norms)] == [True] * 4 + [
        False
    ]
    for layer, fans in ((critic.convs[1], 64 * 64 + 64 * 128 / 8), (generator.deconvs[0], 64 * 512 + 64 * 256 / 8)):
        assert layer.weight.std().item() == pytest.approx(math.sqrt(4 / fans), rel=0.01)
        assert layer.weight.abs().max() <= math.sqrt(12 / fans)
    assert generator.input.weight.std().item() == pytest.approx(0.01, rel=0.01)
    with pytest.raises(ValueError, match="video is for clips"):
        video.Critic(shape=(3, 64, 64), num_classes=0, width=4, norm="layer")
