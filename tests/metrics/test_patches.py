"""The sliced Wasserstein distance of patches: the pyramid's identity, equal sets, and faults at one scale."""

import pytest
import torch
import torch.nn.functional as F

from wgangp.data.images import Images
from wgangp.data.splits import Split
from wgangp.metrics.patches import Patches, laplacian_pyramid, random_patches

CPU = torch.device("cpu")


def pictures(n, seed, size=32):
    """Smooth random RGB images (n, 3, size, size) uint8 with some grain."""
    generator = torch.Generator().manual_seed(seed)
    smooth = F.interpolate(torch.rand(n, 3, 4, 4, generator=generator), size=(size, size), mode="bilinear")
    return (200 * smooth + 40 * torch.rand(n, 3, size, size, generator=generator)).byte()


def dataset(images):
    return Images(Split(images, torch.zeros(len(images))), None, 0, flip=False, dequantise=False, seed=0, device=CPU)


@pytest.mark.parametrize("size, levels", [(64, [64, 32, 16]), (28, [28, 14]), (33, [33, 17]), (14, [14])])
def test_the_levels_of_the_pyramid_add_up_to_the_image(size, levels):
    images = pictures(2, 0, size)
    pyramid = laplacian_pyramid(images)
    assert [level.shape[-1] for level in pyramid] == levels
    total = pyramid[-1]
    for level in reversed(pyramid[:-1]):
        total = level + F.interpolate(total, level.shape[2:], mode="bilinear")
    torch.testing.assert_close(total, images.float(), rtol=0, atol=1e-3)


def test_patches_are_squares_of_their_image():
    """Each pixel's value is its place, so a patch tells where it was."""
    image = torch.arange(20 * 30.0).view(1, 1, 20, 30)
    for patch in random_patches(image, 50)[:, 0]:
        top, left = divmod(int(patch[0]), 30)
        assert torch.equal(patch.view(7, 7), image[0, 0, top : top + 7, left : left + 7])


def test_equal_sets_are_at_distance_zero_and_others_at_the_floor():
    images = pictures(200, 0)
    metric = Patches(samples=100, patches=8, projections=32)
    assert metric.distances(images, images) == [0, 0]
    result = metric(pictures(100, 1), None, dataset(images), CPU)
    how = result.how("swd")
    assert 0.3 < result.values["swd"] / how["floor"]["mean"] < 3 and how["samples"] == 100 and len(how["levels"]) == 2
    assert result.values["swd"] == pytest.approx(sum(how["levels"]) / 2, abs=0.01)
    assert metric(pictures(100, 1), None, dataset(images), CPU) == result


def test_a_fault_is_seen_at_its_scale():
    real, other = pictures(300, 0), pictures(300, 1)
    metric = Patches(samples=300, patches=8, projections=64)
    fine, coarse = metric.distances(other, real)
    blurred = F.avg_pool2d(F.pad(other.float(), (1, 1, 1, 1), "replicate"), 3, stride=1).byte()
    darker = (other * 0.6).byte()
    assert metric.distances(blurred, real)[0] > 5 * fine and metric.distances(blurred, real)[1] < 2 * coarse
    assert metric.distances(darker, real)[1] > 2 * coarse
    one = other[:1].expand(300, -1, -1, -1)  # one picture, again and again
    assert metric.distances(one, real)[1] > 3 * coarse


def test_one_training_image_has_no_floor():
    result = Patches(samples=100, patches=4, projections=8)(pictures(3, 1), None, dataset(pictures(1, 0)), CPU)
    assert result.values["swd"] > 0 and "floor" not in result.how("swd") and result.how("swd")["samples"] == 1


def test_channels_that_are_constant_in_the_data_are_left_out():
    """As an opaque alpha, whose rounding would count as much as all else."""
    real, fake = pictures(60, 0), pictures(60, 1)
    opaque = torch.cat([real, torch.full_like(real[:, :1], 255)], 1)
    nearly = torch.cat([fake, torch.full_like(fake[:, :1], 254)], 1)
    metric = Patches(samples=30, patches=16, projections=16)
    assert metric.distances(nearly, opaque) == metric.distances(fake, real)
    with pytest.raises(ValueError, match="constant"):
        metric.distances(fake, torch.zeros_like(real))
