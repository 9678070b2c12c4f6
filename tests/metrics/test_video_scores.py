"""Scores of clips: the way of the centre of brightness, and the features of a classifier that learned velocities."""

import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import write_mnist

from wgangp import train_classifier
from wgangp.app.build import make_dataset
from wgangp.app.compose import load_config
from wgangp.data.images import Images
from wgangp.data.splits import Split
from wgangp.metrics import extractors
from wgangp.metrics.classifier import sha256
from wgangp.metrics.images import FVD, ByClassifier
from wgangp.metrics.videos import Motion, measured, paths

CPU = torch.device("cpu")


def moving(root, **options):
    given = {"digits": 1, "clips": 400, "root": root} | options
    return ["dataset=moving_mnist", "dataset.download=false", *(f"dataset.{k}={v}" for k, v in given.items())]


@pytest.fixture
def root(tmp_path):
    write_mnist(tmp_path / "MNIST" / "raw")
    return tmp_path


def spot(ways):
    """Clips (n, 1, t, 16, 16) of one bright pixel at the places (n, t, 2)."""
    clips = torch.zeros(len(ways), 1, len(ways[0]), 16, 16, dtype=torch.uint8)
    for clip, way in zip(clips, ways, strict=True):
        for frame, (y, x) in zip(clip[0], way, strict=True):
            frame[y, x] = 200
    return clips


def test_the_way_of_a_spot():
    way = [(1, 2), (4, 6), (7, 10), (7, 5)]  # 5 pixels a frame, and one turn
    assert paths(spot([way])).tolist() == [[list(map(float, place)) for place in way]]
    assert measured(spot([way])) == pytest.approx({"speed_difference": 5, "turn_difference": (9**2 + 3**2) ** 0.5 / 2})


def test_motion_is_that_of_the_data(root):
    data = make_dataset(load_config(*moving(root, clips=800)), CPU)
    clips, _ = data.reference("held_out")
    frozen = clips[:, :, :1].expand_as(clips)
    scores = {name: Motion(2000)(x, None, data, CPU) for name, x in {"real": clips, "frozen": frozen}.items()}
    assert scores["frozen"].values == {"speed_difference": 1.0, "turn_difference": 1.0}
    assert max(scores["real"].values.values()) < 0.2
    still = SimpleNamespace(reference=lambda *a: (frozen, None))
    with pytest.raises(ValueError, match="of the data does not move"):
        Motion(2000)(clips, None, still, CPU)
    assert 1.5 < scores["real"].how("speed_difference")["real"] < 2  # 0.1 of a room of 18 pixels, less at walls
    assert not Motion(10).suits(make_dataset(load_config("dataset=gaussians8"), CPU))


def test_features_of_a_clip_classifier_see_motion(root, monkeypatch, tmp_path):
    """Frames in another order, and frozen ones, are farther from the data than held-out clips."""
    file, data = tmp_path / "c.pt", moving(root)
    monkeypatch.setattr(sys, "argv", ["-", *data, "--out", str(file), "--epochs", "8", "--device", "cpu"])
    train_classifier.main()
    clips = make_dataset(load_config(*moving(root, clips=200)), CPU)
    real = clips.train.all()
    other = real[:, :, torch.tensor([3, 0, 6, 1, 7, 4, 2, 5])]
    shown = {"real": real.clone(), "frozen": real[:, :, 3:4].expand_as(real).clone(), "shuffled": other}
    metric = ByClassifier(str(file))
    scores = {name: metric(x, None, clips, CPU).values["classifier_frechet"] for name, x in shown.items()}
    assert scores["real"] < 0.05 * scores["frozen"] and scores["frozen"] < scores["shuffled"]


class Script(torch.nn.Module):
    """Called as I3D's TorchScript is; its features are the mean and the contrast of each channel, in [-1, 1]."""

    def forward(self, x: torch.Tensor, rescale: bool = False, resize: bool = False, return_features: bool = False):
        assert rescale and resize and return_features and x.shape[1] == 3
        x = (x / 127.5 - 1).flatten(2)
        return torch.cat([x.mean(2), x.std(2)], dim=1)


@pytest.fixture
def script(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    with warnings.catch_warnings(action="ignore", category=FutureWarning):
        torch.jit.script(Script()).save(str(tmp_path / "i3d.pt"))
    monkeypatch.setattr(extractors, "I3D_SHA256", sha256(tmp_path / "i3d.pt"))
    return tmp_path / "i3d.pt"


def test_fvd_is_the_frechet_distance_of_the_features_of_clips(root, script):
    data = make_dataset(load_config(*moving(root, frames=9)), CPU)
    real = data.train.all()
    assert FVD(str(script), 2048)(real, None, data, CPU).values["fvd"] == pytest.approx(0, abs=1e-5)
    brighter = (real.float() * 0.5 + 64).to(torch.uint8)
    here, there = (Script()(x.float().expand(-1, 3, -1, -1, -1), True, True, True).double() for x in (real, brighter))
    a, b = (torch.cov(x.T).numpy() for x in (here, there))
    root_of_product = np.sqrt(np.linalg.eigvals(a @ b).astype(complex)).real.sum()
    distance = (here.mean(0) - there.mean(0)).square().sum() + np.trace(a + b) - 2 * root_of_product
    found = FVD(str(script), 2048)(brighter, None, data, CPU)
    assert found.values["fvd"] == pytest.approx(float(distance), rel=1e-4)
    assert found.measured_with["extractor"] == "i3d"


def test_fvd_is_of_so_many_clips_of_both(root, script):
    data = make_dataset(load_config(*moving(root, frames=9)), CPU)
    found = FVD(str(script), 50)(data.train.all(), None, data, CPU)
    assert found.measured_with["samples"] == 50 and found.values["fvd"] == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(("channels", "frames", "suits"), [(1, 9, True), (3, 16, True), (2, 16, False), (1, 8, False)])
def test_clips_that_i3d_takes(channels, frames, suits):
    clips = torch.zeros(4, channels, frames, 16, 16, dtype=torch.uint8)
    split = Split(clips, torch.zeros(4, dtype=torch.long))
    data = Images(split, None, 0, flip=False, dequantise=False, seed=0, device=CPU)
    assert FVD("i3d.pt", 10).suits(data) == suits


def test_no_other_program_is_called_fvd_or_run(script, monkeypatch):
    """A TorchScript is a program, and a run directory may name any file."""
    FVD(str(script), 10).check()
    monkeypatch.undo()
    with pytest.raises(ValueError, match="does not hold StyleGAN-V's"):
        FVD(str(script), 10).check()
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        FVD("none.pt", 10).check()
    assert FVD(None, 10).missing.startswith("scores.fvd.weights=FILE")
