"""Batches of resident images, and images made to fit."""

import pytest
import torch

from wgangp.data.images import Images, resize
from wgangp.data.splits import Split, Streamed, fits_on

OPTIONS = {"flip": False, "dequantise": False, "seed": 0, "device": torch.device("cpu")}


def numbered(n, c=1, size=4):
    """Image i is all i; its label is i."""
    images = torch.arange(n, dtype=torch.uint8).view(n, 1, 1, 1).expand(n, c, size, size).contiguous()
    return Split(images, torch.arange(n))


def make(n=10, held_out=None, **changes):
    return Images(numbered(n), held_out, n, **(OPTIONS | changes))


def test_every_image_once_an_epoch_in_another_order_each_time():
    data = make(10)
    labels = torch.cat([data.batch(i, 4)[1] for i in range(15)]).view(6, 10)  # 60 = 6 epochs, batches straddle them
    assert all(sorted(epoch.tolist()) == list(range(10)) for epoch in labels)
    assert len({tuple(epoch.tolist()) for epoch in labels}) == 6


def test_batches_do_not_depend_on_what_was_asked_before():
    in_order, one = [make().batch(i, 7)[1] for i in range(9)], make()
    for i in (8, 0, 5, 5, 2):
        assert torch.equal(one.batch(i, 7)[1], in_order[i])
    assert not torch.equal(make(seed=1).batch(0, 7)[1], in_order[0])


def test_streamed_batches_are_the_resident_ones():
    """Asked for in order, as the training does, and again or out of order, as measurements do."""
    resident, streamed = make(50, flip=True), make(50, flip=True)
    streamed.feed = Streamed(numbered(50), seed=0, device=torch.device("cpu"))
    for i in (0, 1, 2, 2, 3, 4, 17, 18, 5):
        batches = []
        for data in (resident, streamed):
            torch.manual_seed(i)
            batches.append(data.batch(i, 8))
        assert all(torch.equal(a, b) for a, b in zip(*batches, strict=True))
        assert len(streamed.feed.coming) <= Streamed.AHEAD + 1


def test_a_device_without_room_has_its_data_streamed(monkeypatch):
    split = numbered(100)  # 1,600 bytes
    for free, resident in ((4000, True), (3000, False)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, 10**6))
        assert fits_on(split, torch.device("cuda")) is resident
    assert fits_on(split, torch.device("cpu"))


def test_images_go_with_their_labels():
    x, y = make(200).batch(1, 64)
    torch.testing.assert_close(x[:, 0, 0, 0], y / 127.5 - 1)


def test_scale_meets_the_generators_range():
    data = Images(numbered(256), None, 0, **OPTIONS)
    x, _ = data.batch(0, 256)
    assert x.min() == -1 and x.max() == 1 and x.dtype == torch.float32


def test_dequantisation_is_the_official_one():
    """2 (x / 256 - 1/2) + U[0, 1/128)"""
    torch.manual_seed(0)
    data = Images(numbered(256, size=32), None, 256, **(OPTIONS | {"dequantise": True}))
    x, y = data.batch(0, 256)
    noise = (x - 2 * (y.view(-1, 1, 1, 1) / 256 - 0.5)) * 128
    assert noise.min() >= -1e-4 and noise.max() <= 1 + 1e-4
    assert noise.mean().item() == pytest.approx(0.5, abs=0.01) and noise.var().item() == pytest.approx(
        1 / 12, abs=0.005
    )
    assert x.min() >= -1 and x.max() <= 1


def test_flip_mirrors_half_of_the_images():
    torch.manual_seed(0)
    images = torch.tensor([0, 255], dtype=torch.uint8).expand(1000, 1, 2, 2).contiguous()
    x, _ = Images(Split(images, torch.zeros(1000, dtype=torch.long)), None, 0, **(OPTIONS | {"flip": True})).batch(
        0, 1000
    )
    mirrored = x[:, 0, 0, 0] == 1
    assert 400 < mirrored.sum() < 600 and torch.equal(
        x[mirrored].flip(3), x[~mirrored][:1].expand(mirrored.sum(), 1, 2, 2)
    )


def test_held_out_images_come_in_order_and_without_flip():
    data = make(10, held_out=numbered(6), flip=True)
    assert torch.equal(data.held_out(0, 4)[1], torch.arange(4))
    assert data.held_out(1, 4)[1].tolist() == [4, 5, 0, 1]
    assert make().held_out(0, 4) is None


def test_batch_larger_than_the_dataset_is_refused():
    with pytest.raises(ValueError, match=r"batch_size=11 is larger than the dataset \(10 images\)"):
        make(10).batch(0, 11)


def test_labels_and_images_must_be_as_many():
    with pytest.raises(ValueError, match="3 samples have 2 labels"):
        Split(torch.zeros(3, 1, 4, 4, dtype=torch.uint8), torch.zeros(2))


def test_fit_cuts_the_central_square_and_resizes():
    wide = torch.zeros(2, 1, 8, 16, dtype=torch.uint8)
    wide[..., 4:12] = 200
    assert torch.equal(resize(wide, 4, None), torch.full((2, 1, 4, 4), 200, dtype=torch.uint8))
    assert resize(wide, None, None) is not None and resize(wide, None, None).shape == wide.shape
    assert resize(wide, 8, 3).shape == (2, 3, 8, 8)
    smooth = torch.arange(32, dtype=torch.uint8).view(1, 1, 1, 32).expand(1, 1, 32, 32) * 8
    half = resize(smooth, 16, None)[0, 0, 0].float()
    torch.testing.assert_close(half[2:-2], (torch.arange(16.0) * 16 + 4)[2:-2], atol=1, rtol=0)


def test_grey_is_the_luma_of_rgb():
    rgb = torch.tensor([255, 0, 0], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    assert resize(rgb, None, 1).unique().tolist() == [76]
    with pytest.raises(ValueError, match=r"dataset\.channels=4"):
        resize(rgb, None, 4)
