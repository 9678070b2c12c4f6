"""Networks of one, two and three dimensions and of any length."""

import functools
import math

import pytest
import torch
from conftest import PENALTY, composed, options
from test_models import CountedProducts
from torch import nn
from torch.nn import functional as F

from wgangp.app.build import build
from wgangp.app.compose import load_config
from wgangp.app.defaults import with_defaults
from wgangp.app.plain import plain
from wgangp.models.layers import conv, deconv
from wgangp.models.resampling import conv_mean_pool, even, mean_pool, sizes_of, upsample, upsample_conv
from wgangp.penalties import GradientPenalty

SHAPES = [
    (1, 7),
    (3, 128),
    (2, 1000),
    (5, 48, 80),
    (13, 33, 20),
    (1, 28, 28),
    (2, 6, 90),
    (1, 32, 32, 32),
    (1, 9, 12, 7),
]
NETWORKS = ["dcgan", "resnet", "resnet_pyramid"]
POOL = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)


@functools.cache
def option_of(part, option):
    return composed(f"{part}={option}")[part]


def network(part, option, shape, num_classes=0, condition_shape=None, **changes):
    """A narrow network of an option of conf/."""
    narrow = {"width": 4, "max_width": 8, "nz": 3} | changes
    node = option_of(part, option).copy()
    node.update({key: value for key, value in narrow.items() if key in node})
    data = {"condition_shape": list(condition_shape)} if condition_shape else {}
    return build(node, shape=list(shape), num_classes=num_classes, **data)


def pair(option, shape, num_classes=0):
    return network("generator", option, shape, num_classes), network("critic", option, shape, num_classes)


@pytest.mark.parametrize("option", [*NETWORKS, "mlp_residual"])
@pytest.mark.parametrize("shape", SHAPES)
def test_samples_have_the_datas_shape_and_scores_have_gradients(option, shape):
    torch.manual_seed(0)
    generator, critic = pair(option, shape, num_classes=2)
    x = generator(torch.randn(3, 3), torch.arange(3) % 2)
    assert x.shape == (3, *shape)
    out = critic(x)
    assert out.shape == (3, 3)
    (gradient,) = torch.autograd.grad(out[:, 0].sum(), x)
    assert gradient.ne(0).flatten(2).any(dim=(0, 1)).all()  # every position counts, the last of an odd axis too


def test_sizes_are_halved_until_each_axis_is_short():
    assert sizes_of((1, 28, 28), "dcgan") == [(4, 4), (7, 7), (14, 14), (28, 28)]
    assert sizes_of((5, 48, 10), "dcgan") == [(3, 3), (6, 3), (12, 3), (24, 5), (48, 10)]
    assert sizes_of((3, 32, 32), "resnet", least=8) == [(8, 8), (16, 16), (32, 32)]
    assert sizes_of((3, 8, 8), "resnet", least=8) == [(4, 4), (8, 8)]
    assert sizes_of((2, 9), "dcgan") == [(3,), (5,), (9,)]


@pytest.mark.parametrize("shape", [(2,), (3, 4), (3, 4, 4), (1, 8, 8, 8, 8)])
@pytest.mark.parametrize("option", NETWORKS)
def test_sizes_that_do_not_fit_are_refused_in_one_line(option, shape):
    for part in ("generator", "critic"):
        with pytest.raises(ValueError, match=r"generator=mlp critic=mlp") as error:
            network(part, option, shape)
        assert "\n" not in str(error.value)


RESAMPLED = [((7,), (2,)), ((6, 8), (2, 2)), ((6, 7), (2, 1)), ((5, 3, 6), (2, 2, 2)), ((4, 3, 5), (1, 2, 2))]


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize(("size", "factors"), RESAMPLED)
def test_resampling_inside_a_convolution_equals_the_two_apart(kernel, size, factors):
    """To the second derivative, in float64, for even and odd lengths."""
    layer = conv(3, 5, kernel, (1,) * len(size)).double()
    nn.init.normal_(layer.bias)
    x = torch.randn(2, 3, *size, dtype=torch.float64, requires_grad=True)
    pool = POOL[len(size) - 1]
    compare(
        (layer, x),
        lambda x: conv_mean_pool(layer, even(x, factors), factors),
        lambda x: pool(layer(padded(x, factors)), factors),
    )
    compare(
        (layer, x), lambda x: upsample_conv(layer, x, factors), lambda x: layer(F.interpolate(x, scale_factor=factors))
    )


def padded(x, factors):
    odd = [x.shape[axis] % factor for axis, factor in enumerate(factors, start=2)]
    return F.pad(x, [p for end in reversed(odd) for p in (0, end)], mode="replicate")


def compare(weights, ours, stock):
    layer, x = weights
    values = []
    for f in (ours, stock):
        y = f(x)
        (first,) = torch.autograd.grad(y.tanh().sum(), x, create_graph=True)
        values.append((y, first, *torch.autograd.grad(first.square().sum(), (x, *layer.parameters()))))
    for a, b in zip(*values, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(("size", "factors"), RESAMPLED)
def test_pooling_and_upsampling_equal_the_stock_ones(size, factors):
    x = torch.randn(2, 3, *size, dtype=torch.float64, requires_grad=True)
    pairs = [(upsample(x, factors), F.interpolate(x, scale_factor=factors))]
    pairs += [(mean_pool(even(x, factors), factors), POOL[len(size) - 1](x, factors, ceil_mode=True))]
    for ours, stock in pairs:
        torch.testing.assert_close(ours, stock, rtol=1e-13, atol=0)
        scale = torch.randn_like(stock)
        gradients = [torch.autograd.grad((y * scale).sum(), x)[0] for y in (ours, stock)]
        torch.testing.assert_close(*gradients, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("stride", [(2,), (2, 2), (2, 1), (2, 2, 2), (1, 2, 2)])
def test_first_weights_count_the_taps_of_every_axis(stride):
    taps, steps = 3 ** len(stride), math.prod(stride)
    for layer, fans in ((conv(40, 60, 3, stride), 40 + 60 / steps), (deconv(40, 60, 3, stride), 40 / steps + 60)):
        assert layer.weight.std().item() == pytest.approx(math.sqrt(4 / (taps * fans)), rel=0.05)


@pytest.mark.parametrize("option", NETWORKS)
@pytest.mark.parametrize("length", [29, 32])
def test_a_signal_is_an_image_of_height_one(option, length):
    """The same function, if the image's kernels have the signal's weights in their middle row."""
    shapes = (2, length), (2, 1, length)
    z, x = torch.randn(4, 3), torch.randn(4, 2, length)
    for part in ("generator", "critic"):
        signal, image = (network(part, option, shape, output="none") for shape in shapes)
        weights = {name: as_image(w) if w.ndim == 3 else w for name, w in signal.state_dict().items()}
        image.load_state_dict(weights)
        for a, b in [(signal(z), image(z)[:, :, 0])] if part == "generator" else [(signal(x), image(x[:, :, None]))]:
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def as_image(weight):
    """A kernel (a, b, k) as (a, b, k, k)."""
    k = weight.shape[-1]
    return F.pad(weight[:, :, None], [0, 0, k // 2, k // 2])


@pytest.mark.parametrize("option", NETWORKS)
def test_volumes_of_another_memory_layout_have_the_same_scores(option):
    generator, critic = pair(option, (2, 9, 5, 6))
    z, values = torch.randn(4, 3), []
    for layout in (torch.preserve_format, torch.channels_last_3d):
        generator, critic = generator.to(memory_format=layout), critic.to(memory_format=layout)
        x = generator(z)
        values.append((x, critic(x), *torch.autograd.grad(critic(x).sum(), list(generator.parameters()))))
    for a, b in zip(*values, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("shape", [(2, 29), (2, 16, 16, 16)])
def test_a_critic_update_costs_ten_forward_passes(shape):
    """As that of images (test_models.py)."""
    penalty = GradientPenalty(**PENALTY)
    for option in NETWORKS:
        critic = network("critic", option, shape, norm="none")
        real, fake = torch.randn(2, 2, *shape)
        with CountedProducts() as forward:
            critic(real)
        with CountedProducts() as update:
            out = critic(torch.cat([real, fake]))[:, 0]
            loss = out[2:].mean() - out[:2].mean() + penalty(critic, real, fake)
            loss.backward(inputs=list(critic.parameters()))
        assert 7.9 < update.flops / forward.flops < 10.3


@pytest.mark.parametrize("option", options("penalty"))
def test_every_penalty_goes_with_every_dimension(option):
    """Odd lengths too: one update changes the critic, and all stays finite."""
    for name, shape in (
        ("dcgan", (2, 13)),
        ("resnet", (1, 9, 5, 6)),
        ("resnet_pyramid", (2, 21)),
        ("mlp_residual", (7,)),
    ):
        torch.manual_seed(0)
        critic = network("critic", name, shape)
        penalty = build(option_of("penalty", option))
        critic = penalty.wrap(critic)
        real, fake = torch.randn(2, 4, *shape)
        out = critic(torch.cat([real, fake]))[:, 0]
        loss = out[4:].mean() - out[:4].mean() + penalty(critic, real, fake)
        gradients = torch.autograd.grad(loss, list(critic.parameters()), allow_unused=True)
        assert all(g is None or g.isfinite().all() for g in gradients)
        assert sum(g is not None and bool(g.any()) for g in gradients) > len(gradients) / 2


@pytest.mark.parametrize("option", ["mlp", "mlp_residual", "dcgan", "resnet"])
def test_the_end_of_a_generator(option):
    for shape, output, bounded in [
        ((3, 8, 8), "auto", True),
        ((3, 8), "auto", False),
        ((3, 8), "tanh", True),
        ((3, 8, 8), "none", False),
    ]:
        generator = network("generator", option, shape, output=output)
        with torch.no_grad():
            for p in generator.parameters():
                p.mul_(10)
        assert (generator(torch.randn(8, 3)).abs().max() <= 1) == bounded
    with pytest.raises(ValueError, match=r"generator\.output is 'relu': choose auto, tanh or none"):
        network("generator", option, (3, 8), output="relu")


def test_networks_recorded_before_get_the_new_keys():
    recorded = {"generator": {"_target_": "wgangp.models.dcgan.Generator", "nz": 5}}
    recorded |= {"critic": {"_target_": "wgangp.models.dcgan.Critic", "width": 5}}
    config = with_defaults(recorded)
    assert config["generator"]["output"] == "auto" and config["generator"]["nz"] == 5
    assert config["critic"]["max_width"] is None


def test_the_critics_width_is_limited_except_for_square_images():
    def widths(shape, max_width):
        with torch.device("meta"):
            critic = network("critic", "dcgan", shape, width=64, max_width=max_width)
        return [layer.out_channels for layer in critic.convs]

    assert widths((3, 256, 256), None) == [64, 128, 256, 512, 1024, 2048]  # as ever
    assert widths((3, 256), None) == [64, 128, 256, 512, 1024, 1024]
    assert widths((3, 256, 256), 128) == [64, 128, 128, 128, 128, 128]


def test_residual_networks_of_vectors_equal_their_formula():
    torch.manual_seed(0)
    critic = network("critic", "mlp_residual", (5,), blocks=2)
    x = torch.randn(3, 5)
    h = F.linear(x, critic.input.weight, critic.input.bias)
    for block in critic.blocks:
        inner = F.linear(F.layer_norm(h, (4,)).relu(), block.linear1.weight, block.linear1.bias)
        h = h + F.linear(F.layer_norm(inner, (4,)).relu(), block.linear2.weight, block.linear2.bias)
    expected = F.linear(F.layer_norm(h, (4,)).relu(), critic.output.weight, critic.output.bias)
    torch.testing.assert_close(critic(x), expected)
    with pytest.raises(ValueError, match="norm is 'instance'"):
        network("critic", "mlp_residual", (5,), norm="instance")


def test_keys_that_are_not_recorded_are_those_of_the_option_and_of_no_other_dataset():
    """A gradient penalty got DRAGAN's points, and every run the schedule of 25 Gaussians."""
    today = load_config("dataset=mnist", "generator=resnet_pyramid")
    recorded = plain(today)
    for part, key in (("penalty", "points"), ("generator", "max_width")):
        del recorded[part][key]
    del recorded["monitor"], recorded["lr_decay"]
    found = with_defaults(recorded)
    assert found["penalty"]["points"] == today.penalty.points and found["generator"] == today.generator
    assert found["monitor"] == "critic/wasserstein" and found["lr_decay"] == "none"
