"""The official parameter counts, output shapes and initialisation of every network family."""

import math

import pytest
import torch
from conftest import DCGAN_CRITIC, DCGAN_GENERATOR
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from wgangp.layers import (
    Norm,
    conv,
    conv_mean_pool,
    couples_samples,
    deconv,
    frozen,
    leaky_relu,
    linear,
    mean_pool,
    relu,
    upsample_conv,
)
from wgangp.models import dcgan, mlp, resnet
from wgangp.penalties import GradientPenalty

TOY, MNIST, CIFAR, FACES = (2,), (1, 28, 28), (3, 32, 32), (3, 64, 64)
G_RESNET = {"nz": 128, "width": 128, "max_width": 128, "norm": "batch", "bias": True, "he_output": False}
G_PYRAMID = {"nz": 128, "width": 64, "max_width": 512, "norm": "batch", "bias": False, "he_output": True}


def count(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("network", "official"),
    [
        (lambda: mlp.Generator(shape=TOY, num_classes=0, nz=2, width=512, depth=3), 527_874),
        (lambda: mlp.Critic(shape=TOY, num_classes=0, width=512, depth=3, spectral=False), 527_361),
        (
            lambda: dcgan.Generator(shape=MNIST, num_classes=0, nz=128, width=64, norm="none", **DCGAN_GENERATOR),
            1_554_177,
        ),
        (
            lambda: dcgan.Critic(shape=MNIST, num_classes=0, width=64, norm="none", spectral=False, **DCGAN_CRITIC),
            1_030_145,
        ),
        (
            lambda: dcgan.Generator(shape=CIFAR, num_classes=0, nz=128, width=128, norm="batch", **DCGAN_GENERATOR),
            5_179_907,
        ),
        (
            lambda: dcgan.Critic(shape=CIFAR, num_classes=0, width=128, norm="none", spectral=False, **DCGAN_CRITIC),
            4_114_689,
        ),
        (lambda: resnet.Generator(shape=CIFAR, num_classes=0, **G_RESNET), 1_204_483),
        (lambda: resnet.Generator(shape=CIFAR, num_classes=10, **G_RESNET), 1_218_307),
        (lambda: resnet.Critic(shape=CIFAR, num_classes=0, width=128, norm="none", spectral=False), 1_053_825),
        (lambda: resnet.Critic(shape=CIFAR, num_classes=10, width=128, norm="none", spectral=False), 1_055_115),
        (lambda: resnet.Generator(shape=FACES, num_classes=0, **G_PYRAMID), 8_540_483),
        (
            lambda: resnet.PyramidCritic(
                shape=FACES, num_classes=0, width=64, max_width=512, norm="layer", spectral=False
            ),
            7_491_841,
        ),
    ],
)
def test_parameter_counts_are_the_official_ones(network, official):
    assert count(network()) == official


def families(shape, num_classes, norm="batch", critic_norm="layer", spectral=False):
    """A narrow network of each family that can make this shape."""
    data = {"shape": shape, "num_classes": num_classes}
    critic = {"norm": critic_norm, "spectral": spectral}
    yield (
        mlp.Generator(**data, nz=5, width=8, depth=2),
        mlp.Critic(**data, width=8, depth=2, spectral=spectral),
    )
    yield (
        dcgan.Generator(**data, nz=5, width=4, norm=norm, **DCGAN_GENERATOR),
        dcgan.Critic(**data, width=4, **critic, **DCGAN_CRITIC),
    )
    if shape[1] != 28:
        small = {"nz": 5, "width": 4, "norm": norm, "bias": True, "he_output": False}
        yield resnet.Generator(**data, max_width=4, **small), resnet.Critic(**data, width=4, **critic)
        yield (
            resnet.Generator(**data, max_width=8, **small),
            resnet.PyramidCritic(**data, width=4, max_width=8, **critic),
        )


@pytest.mark.parametrize("num_classes", [0, 3])
@pytest.mark.parametrize("shape", [(1, 8, 8), (4, 16, 16), (1, 28, 28), (3, 32, 32), (2, 128, 128)])
def test_shapes_and_range(shape, num_classes):
    for generator, critic in families(shape, num_classes):
        x = generator(torch.randn(6, generator.nz), torch.arange(6) % 3)
        assert x.shape == (6, *shape) and x.abs().max() <= 1
        assert critic(x).shape == (6, 1 + num_classes)


@pytest.mark.parametrize("norm", ["batch", "layer", "instance", "none"])
def test_norms_of_generators(norm):
    for generator, _ in families((3, 16, 16), 0, norm=norm):
        assert generator(torch.randn(4, generator.nz)).isfinite().all()


@pytest.mark.parametrize("norm", ["layer", "instance", "none"])
def test_critics_judge_each_sample_alone(norm):
    for _, critic in families((3, 16, 16), 0, critic_norm=norm):
        x = torch.randn(4, 3, 16, 16)
        torch.testing.assert_close(critic(x)[:1], critic(x[:1]))
        assert not couples_samples(critic)


def test_batchnorm_critic_couples_samples():
    critics = [c for _, c in families((3, 16, 16), 0, critic_norm="batch")]
    assert [couples_samples(c) for c in critics] == [False, True, True, True]


def test_labels_change_what_a_conditional_generator_makes():
    for generator, _ in families((1, 16, 16), 3):
        for p in generator.parameters():
            torch.nn.init.normal_(p, std=0.2)
        z = torch.randn(4, generator.nz)
        assert not torch.equal(generator(z, torch.tensor([0, 1, 2, 0])), generator(z, torch.tensor([1, 1, 2, 0])))


@pytest.mark.parametrize(
    ("layer", "std"),
    [
        (lambda: linear(300, 500), math.sqrt(2 / 800)),
        (lambda: linear(300, 500, he=True), math.sqrt(2 / 300)),
        (lambda: conv(64, 128, 3), math.sqrt(4 / (64 * 9 + 128 * 9))),
        (lambda: conv(64, 128, 1, he=False), math.sqrt(2 / (64 + 128))),
        (lambda: conv(64, 128, 5, stride=2), math.sqrt(4 / (64 * 25 + 128 * 25 / 4))),
        (lambda: deconv(128, 64), math.sqrt(4 / (128 * 25 / 4 + 64 * 25))),
    ],
)
def test_official_initialisation(layer, std):
    torch.manual_seed(0)
    layer = layer()
    weight = layer.weight.detach()
    assert weight.std().item() == pytest.approx(std, rel=0.02)
    assert weight.abs().max().item() == pytest.approx(std * math.sqrt(3), rel=0.01)  # uniform, not normal
    assert not layer.bias.any()


@pytest.mark.parametrize(
    ("ours", "stock"),
    [
        (relu, nn.functional.relu),
        (leaky_relu, lambda x: nn.functional.leaky_relu(x, 0.2)),
        (mean_pool, lambda x: nn.functional.avg_pool2d(x, 2)),
    ],
)
def test_activations_equal_the_stock_ones_to_the_second_derivative(ours, stock):
    x = torch.randn(2, 3, 4, 6, dtype=torch.float64, requires_grad=True)
    w = torch.randn(3, 3, dtype=torch.float64)
    values = []
    for f in (ours, stock):
        y = f(torch.einsum("nchw,cd->ndhw", x, w)).tanh()
        (first,) = torch.autograd.grad(y.sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), x)
        values.append((y, first, second))
    for a, b in zip(*values, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize(
    ("fused", "apart"),
    [
        (conv_mean_pool, lambda layer, x: nn.functional.avg_pool2d(layer(x), 2)),
        (upsample_conv, lambda layer, x: layer(nn.functional.interpolate(x, scale_factor=2))),
    ],
)
def test_resampling_inside_a_convolution_equals_the_two_apart(fused, apart, kernel):
    layer = conv(3, 5, kernel).double()
    nn.init.normal_(layer.bias)
    x = torch.randn(2, 3, 6, 8, dtype=torch.float64, requires_grad=True)
    values = []
    for f in (fused, apart):
        y = f(layer, x)
        (first,) = torch.autograd.grad(y.tanh().sum(), x, create_graph=True)
        values.append((y, first, *torch.autograd.grad(first.square().sum(), (x, *layer.parameters()))))
    for a, b in zip(*values, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


class CountedProducts(TorchDispatchMode):
    """Floating-point operations of matrix products and convolutions."""

    flops = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if count := flop_registry.get(func._overloadpacket):
            self.flops += count(*args, **(kwargs or {}), out_val=out)
        return out


def test_a_critic_update_costs_ten_forward_passes():
    """Real 3, fake 3, interpolates 4: the floor of an exact two-sided penalty on a piecewise-linear critic."""
    penalty = GradientPenalty(points="interpolates", cost="two_sided", weight=10.0, interval=1)
    for _, critic in families((3, 32, 32), 0, critic_norm="none"):
        real, fake = torch.randn(2, 2, 3, 32, 32)
        with CountedProducts() as forward:
            critic(real)
        with CountedProducts() as update:
            out = critic(torch.cat([real, fake]))[:, 0]
            loss = out[2:].mean() - out[:2].mean() + penalty(critic, real, fake)
            loss.backward(inputs=list(critic.parameters()))
        assert 7.9 < update.flops / forward.flops < 10.3  # 8 for the first layer, which has no input to go back to


def test_layer_norm_has_statistics_per_sample_and_an_affine_per_channel():
    norm, x = Norm("layer", 6), torch.randn(4, 6, 5, 5) * 3 + 1
    out = norm(x)
    torch.testing.assert_close(out.mean(dim=(1, 2, 3)), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.flatten(1).var(1, unbiased=False), torch.ones(4), atol=1e-3, rtol=0)
    assert norm.norm.weight.shape == (6,)


def test_spectral_norm_bounds_every_weight():
    for _, critic in families((3, 16, 16), 0, critic_norm="none", spectral=True):
        for _ in range(30):  # power iterations
            critic(torch.randn(2, 3, 16, 16))
        for m in critic.modules():
            if hasattr(m, "weight") and getattr(m, "parametrizations", None):
                assert torch.linalg.matrix_norm(m.weight.flatten(1), 2).item() == pytest.approx(1, abs=0.05)


def test_frozen_copy_uses_batch_statistics_and_leaves_the_original():
    generator = resnet.Generator(shape=CIFAR, num_classes=0, **(G_RESNET | {"width": 4, "max_width": 4}))
    before = {k: v.clone() for k, v in generator.state_dict().items()}
    z = torch.randn(8, 128)
    out = frozen(generator)(z)
    assert all(torch.equal(v, before[k]) for k, v in generator.state_dict().items()) and generator.training
    torch.testing.assert_close(out, generator(z))  # training mode: the batch's own statistics too


@pytest.mark.parametrize("size", [4, 24, 48, 100])
def test_sizes_that_do_not_fit_are_refused_in_one_line(size):
    for module in (dcgan, resnet):
        if module is dcgan and size == 100:
            continue  # 100, 50, 25, 13, 7, 4 is fine
        check = module.image_sizes if module is dcgan else module.check_size
        with pytest.raises(ValueError, match=r"set dataset\.size"):
            check((3, size, size))
        with pytest.raises(ValueError, match="square"):
            check((3, 32, size))
