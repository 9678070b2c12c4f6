"""What every dataset offers to metrics, pictures and messages."""

import pytest
import torch

from wgangp.data import Dataset, draw_positions, sources
from wgangp.data.images import Images
from wgangp.data.splits import Split
from wgangp.data.text import PAD, Text
from wgangp.data.toy import gaussians8, gaussians25, swissroll

CPU = torch.device("cpu")


def images(held_out=True):
    """Training image i is all i, held-out image i all 200 + i; the label is i % 3."""
    parts = [
        Split(torch.arange(a, b).to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 4, 4), torch.arange(a, b) % 3)
        for a, b in ((0, 90), (200, 210))
    ]
    options = {"class_names": ("cat", "dog", "cow"), "flip": True, "dequantise": True, "seed": 0, "device": CPU}
    return Images(parts[0], parts[1] if held_out else None, 3, **options)


def lines():
    return Text([f"line {i:02d}" for i in range(30)], 5, 8, 0, CPU)


def test_images_as_metrics_take_them():
    x, y = images().reference()
    assert (
        x.dtype == torch.uint8
        and x[:, 0, 0, 0].tolist() == list(range(90))
        and y.tolist() == [i % 3 for i in range(90)]
    )
    x, y = images().reference(n=20, seed=1)
    numbers = x[:, 0, 0, 0].tolist()
    assert len(set(numbers)) == 20 and y.tolist() == [i % 3 for i in numbers] and len(set(y.tolist())) == 3
    assert torch.equal(images().reference(n=20, seed=1)[0], x) and not torch.equal(images().reference(n=20)[0], x)
    assert images().reference("held_out")[0][:, 0, 0, 0].tolist() == list(range(200, 210))
    assert images(held_out=False).reference("held_out") is None and images().reference("other") is None
    assert len(images().reference("held_out", 99)[1]) == 10  # all


def test_generated_images_become_pixels():
    x = torch.tensor([-2.0, -1, 0, 1, 2]).view(5, 1, 1, 1)
    pixels = images().to_metric_input(x)
    assert pixels.flatten().tolist() == [0, 0, 127, 255, 255] and pixels.dtype == torch.uint8


def test_text_as_metrics_take_it():
    data = lines()
    held_out, y = data.reference("held_out")
    train, _ = data.reference()
    assert sorted(line.rstrip(PAD) for line in held_out + train) == [f"line {i:02d}" for i in range(30)]
    assert held_out == data.to_metric_input(data.held_out(0, 5)[0]) and len(y) == 5 and data.reference("other") is None
    few, _ = data.reference(n=7, seed=3)
    assert len(set(few)) == 7 and set(few) <= set(train) and few == data.reference(n=7, seed=3)[0]


def test_points_as_metrics_take_them():
    data = gaussians25(seed=0, device=CPU)
    x, y = data.reference()
    assert len(data) == len(x) == 100_000 and not y.any() and torch.equal(x[:50], data.batch(0, 50)[0])
    few, _ = data.reference(n=500, seed=2)
    assert len(few.unique(dim=0)) == 500 and (few[:, None] == x[None, :2000]).all(2).any(1).sum() < 30  # of all
    assert data.reference("held_out") is None and torch.equal(data.to_metric_input(x), x)


@pytest.mark.parametrize("make", [gaussians8, swissroll])
def test_points_of_an_endless_stream(make):
    data = make(seed=0, device=CPU)
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    x, _ = data.reference(n=300, seed=1)
    assert torch.equal(torch.random.get_rng_state(), before)  # the training's numbers stay as they are
    assert torch.equal(x, data.reference(n=300, seed=1)[0]) and not torch.equal(x, data.reference(n=300)[0])
    for refused in (data.reference, lambda: len(data)):
        with pytest.raises(TypeError, match="endless stream"):
            refused()


def test_one_line_says_what_the_data_are():
    assert images().describe() == "90 images of 3x4x4, 3 classes: cat (30), dog (30), cow (30); 10 held out"
    assert lines().describe() == f"25 lines of 8 characters, {lines().shape[0]} different ones; 5 lines held out"
    assert gaussians25(seed=0, device=CPU).describe().startswith("100,000 points in the plane, 25 Gaussians of")
    assert swissroll(seed=0, device=CPU).describe() == "an endless stream of points in the plane"
    many = Split(torch.zeros(40, 1, 2, 2, dtype=torch.uint8), torch.arange(40))
    text = Images(many, None, 40, flip=False, dequantise=False, seed=0, device=CPU).describe()
    assert text.startswith("40 images of 1x2x2, 40 classes: 0 (1), 1 (1), ") and text.endswith("9 (1) and 30 more")


def test_a_dataset_of_ones_own_needs_a_few_methods_only():
    class Mine(Dataset):
        shape, num_classes = (7, 5, 3, 2), 0

    data = Mine()
    assert data.describe() == "samples of shape 7x5x3x2" and data.picture(torch.zeros(1)) is None
    assert (
        data.reference() is None and data.held_out(0, 3) is None and (data.class_names, data.vocabulary) == ((), None)
    )


def test_draws_are_without_replacement():
    assert len(draw_positions(100, 60, 0).unique()) == 60 and torch.equal(draw_positions(5, 9, 0), torch.arange(5))


@pytest.mark.parametrize("name", ["torchvision_dataset", "array", "image_folder", "celeba"])
def test_what_recorded_runs_name_is_there(name):
    found = getattr(sources, name)
    assert callable(found) and found.__module__.startswith("wgangp.data.sources.")
