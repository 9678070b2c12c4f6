"""The classifier and what it says about images, in closed form; its training script on a separable dataset."""

import math
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from wgangp import train_classifier as command
from wgangp.metrics.classifier import ResNet, class_balance, load_classifier, nearest, read
from wgangp.metrics.images import ByClassifier


@pytest.mark.parametrize(("channels", "blocks"), [(1, 1), (3, 2)])
def test_files_of_the_network_and_of_its_data_parallel_copy_are_read(tmp_path, channels, blocks):
    torch.manual_seed(0)
    network = ResNet(channels, 7, blocks).eval()
    x = torch.randint(256, (5, channels, 28, 28), dtype=torch.uint8)
    for prefix, zipped in (("", True), ("module.", True), ("module.", False)):  # False: as torch before 1.6
        state = {prefix + name: value for name, value in network.state_dict().items()}
        content = {"state_dict": state, "best": 91.0}
        torch.save(content, tmp_path / "c.th", _use_new_zipfile_serialization=zipped)
        features, logits = read(load_classifier(tmp_path / "c.th"), x, chunk=2)
        assert features.shape == (5, 64) and logits.shape == (5, 7)
        torch.testing.assert_close(logits, network(x)[1])
    assert sum(p.numel() for p in ResNet(3, 10, 3).parameters()) == 269_722  # ResNet-20 (He et al. 2016, table 6)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="train_classifier"):
        load_classifier(tmp_path / "none.pt")
    torch.save({"state_dict": {"conv1.weight": torch.zeros(16, 3, 3, 3)}}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match=r"other\.pt is not a file of"):
        load_classifier(tmp_path / "other.pt")


def test_class_balance_closed_forms():
    uniform = torch.ones(4)
    assert class_balance(torch.arange(8) % 4, uniform) == pytest.approx(0)
    assert class_balance(torch.full((9,), 2), uniform) == pytest.approx(math.log(4))
    assert class_balance(torch.tensor([0, 0, 0, 1]), torch.tensor([30, 10, 0])) == pytest.approx(0)
    assert class_balance(torch.tensor([0, 1]), torch.tensor([3, 1])) == pytest.approx(math.log(4 / 3) / 2)


def test_nearest_is_zero_for_copies_and_the_shift_for_moved_ones():
    grid = torch.cartesian_prod(torch.arange(5.0), torch.arange(5.0))
    assert nearest(grid[7:12], grid, chunk=2).tolist() == [0] * 5
    torch.testing.assert_close(nearest(grid + torch.tensor([0.0, 0.25]), grid), torch.full((25,), 0.25))


@pytest.fixture
def train_classifier(monkeypatch):
    """train_classifier(ARGUMENT, ...) runs the command in this process."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["train_classifier.py", *map(str, arguments), "--device", "cpu"])
        command.main()

    return run


def test_the_script_learns_dark_from_bright(train_classifier, tmp_path):
    rng = np.random.default_rng(0)
    labels = np.arange(1280) % 2
    images = (rng.integers(0, 100, (1280, 8, 8)) + 150 * labels[:, None, None]).astype(np.uint8)
    np.savez(tmp_path / "d.npz", images=images, labels=labels)
    train_classifier("dataset=array", f"dataset.path={tmp_path / 'd.npz'}", "--out", tmp_path / "c.pt", "--epochs", 3)
    saved = torch.load(tmp_path / "c.pt", weights_only=True)
    assert saved["dataset"] == "array" and saved["classes"] == 2 and saved["accuracy"] > 0.95
    assert load_classifier(tmp_path / "c.pt").class_names == ("0", "1")
    logits = read(load_classifier(tmp_path / "c.pt"), torch.from_numpy(images)[:, None])[1]
    assert (logits.argmax(1).numpy() == labels).mean() > 0.95


def test_the_script_refuses_data_without_labels_in_one_line(train_classifier, capsys):
    with pytest.raises(SystemExit, match="1"):
        train_classifier("dataset=gaussians8")
    assert capsys.readouterr().err.strip() == (
        "dataset=gaussians8: a classifier needs images or clips with labels, such as dataset=mnist"
    )


def test_the_script_reads_the_seed_and_whom_to_trust(tmp_path):
    np.savez(tmp_path / "d.npz", images=np.zeros((20, 8, 8), np.uint8), labels=np.arange(20) % 2)
    name, _ = command.load(
        ["dataset=array", f"dataset.path={tmp_path / 'd.npz'}", "seed=3", "allow=[mine]"], torch.device("cpu")
    )
    assert name == "array"


@pytest.mark.parametrize("override", ["epochs=2", "steps=3", "batch_size=64"])
def test_the_script_refuses_overrides_that_nothing_reads(train_classifier, capsys, override):
    with pytest.raises(SystemExit, match="1"):
        train_classifier("dataset=mnist", override)
    assert capsys.readouterr().err.startswith(f"{override}: give dataset=NAME")


@pytest.mark.parametrize(
    ("images", "option", "answer"),
    [
        (200, ["--epochs", "0"], "--epochs and --blocks of at least 1"),
        (64, [], "128 images or more to train on, here 58"),
        (200, ["--out", "nodir/c.pt"], "there is no folder nodir; make it first"),
        (200, ["--out", "."], "--out . cannot be written: give the name of a file"),
    ],
)
def test_what_cannot_be_trained_is_said_before(train_classifier, tmp_path, capsys, images, option, answer):
    np.savez(tmp_path / "d.npz", images=np.zeros((images, 8, 8), np.uint8), labels=np.arange(images) % 2)
    with pytest.raises(SystemExit):
        train_classifier("dataset=array", f"dataset.path={tmp_path / 'd.npz'}", *option)
    assert answer in capsys.readouterr().err


@pytest.mark.parametrize(
    ("ours", "of_classifier", "balance"),
    [
        (("left", "top"), ("left", "top"), 0.0),
        (("top", "left"), ("left", "top"), 0.0),  # the same data, whose classes are in another order
        (("cat", "dog"), ("left", "top"), 0.75 * math.log(1.5) + 0.25 * math.log(0.5)),  # other classes: uniform ones
    ],
)
def test_shares_of_classes_are_compared_by_their_names(tmp_path, ours, of_classifier, balance):
    network = ResNet(1, 2, 1)
    torch.save({"state_dict": network.state_dict(), "class_names": list(of_classifier)}, tmp_path / "c.pt")
    counts = {"left": 30, "top": 10, "cat": 30, "dog": 10}
    data = SimpleNamespace(
        num_classes=2, class_names=ours, class_counts=lambda: torch.tensor([counts[name] for name in ours])
    )
    read_as = torch.tensor([0, 0, 0, 1])  # three of left, one of top
    found = ByClassifier(str(tmp_path / "c.pt")).score_labels(read_as, None, 2, data)["balance"]
    assert found == pytest.approx(balance, abs=1e-6)
