"""The official parameter counts, output shapes and initialisation of every network family."""

import math
from dataclasses import replace

import pytest
import torch
from conftest import DCGAN_CRITIC, DCGAN_GENERATOR, PENALTY, composed
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from wgangp.app.build import build
from wgangp.models import char, dcgan, mlp, random_architecture, resnet, resnet101
from wgangp.models.layers import (
    Head,
    Norm,
    conv,
    couples_samples,
    deconv,
    frozen,
    gated,
    leaky_relu,
    linear,
    relu,
    shifted_softplus,
    spectral_norm,
)
from wgangp.models.resampling import mean_pool
from wgangp.penalties import GradientPenalty

TOY, MNIST, CIFAR, FACES = (2,), (1, 28, 28), (3, 32, 32), (3, 64, 64)
G_RESNET = {"nz": 128, "width": 128, "max_width": 128, "norm": "batch", "bias": True, "he_output": False}
G_RESNET |= {"batchnorm_groups": 1, "output": "auto", "condition": "norm"}
G_PYRAMID = G_RESNET | {"width": 64, "max_width": 512, "bias": False, "he_output": True}


def count(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("network", "official"),
    [
        (lambda: mlp.Generator(shape=TOY, num_classes=0, nz=2, width=512, depth=3, output="auto"), 527_874),
        (lambda: mlp.Critic(shape=TOY, num_classes=0, width=512, depth=3, spectral=False, condition="auto"), 527_361),
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
        (
            lambda: resnet.Critic(shape=CIFAR, num_classes=0, width=128, norm="none", spectral=False, condition="auto"),
            1_053_825,
        ),
        (
            lambda: resnet.Critic(
                shape=CIFAR, num_classes=10, width=128, norm="none", spectral=False, condition="auto"
            ),
            1_055_115,
        ),
        (lambda: resnet.Generator(shape=FACES, num_classes=0, **G_PYRAMID), 8_540_483),
        (
            lambda: resnet.PyramidCritic(
                shape=FACES, num_classes=0, width=64, max_width=512, norm="layer", spectral=False, condition="auto"
            ),
            7_491_841,
        ),
        (lambda: char.Generator(shape=(100, 32), num_classes=0, nz=128, width=512, blocks=5), 15_277_156),
        (lambda: char.Critic(shape=(100, 32), num_classes=0, width=512, blocks=5, spectral=False), 13_180_417),
    ],
)
def test_parameter_counts_are_the_official_ones(network, official):
    assert count(network()) == official


def families(shape, num_classes, norm="batch", critic_norm="layer", spectral=False):
    """A narrow network of each family that can make this shape."""
    data = {"shape": shape, "num_classes": num_classes}
    critic = {"norm": critic_norm, "spectral": spectral}
    yield (
        mlp.Generator(**data, nz=5, width=8, depth=2, output="auto"),
        mlp.Critic(**data, width=8, depth=2, spectral=spectral, condition="auto"),
    )
    yield (
        dcgan.Generator(**data, nz=5, width=4, norm=norm, **DCGAN_GENERATOR),
        dcgan.Critic(**data, width=4, **critic, **DCGAN_CRITIC),
    )
    if shape[1] != 28:
        small = G_RESNET | {"nz": 5, "width": 4, "norm": norm}
        yield (
            resnet.Generator(**data, **(small | {"max_width": 4})),
            resnet.Critic(**data, width=4, **critic, condition="auto"),
        )
        yield (
            resnet.Generator(**data, **(small | {"max_width": 8})),
            resnet.PyramidCritic(**data, width=4, max_width=8, **critic, condition="auto"),
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
        (lambda: conv(64, 128, 5, (2, 2)), math.sqrt(4 / (64 * 25 + 128 * 25 / 4))),
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
        (lambda x: mean_pool(x, (2, 2)), lambda x: nn.functional.avg_pool2d(x, 2)),
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


def test_gates_take_even_and_odd_channels():
    x = torch.randn(2, 6, 3, 3)
    expected = torch.stack([x[:, i].sigmoid() * x[:, i + 1].tanh() for i in (0, 2, 4)], dim=1)
    torch.testing.assert_close(gated(x), expected)


def test_the_shifted_softplus_is_the_papers():
    x = torch.tensor([0.0, 50.0, -50.0])
    expected = torch.tensor([math.log(1 + math.exp(2)) / 2 - 1, 50.0, -1.0])
    torch.testing.assert_close(shifted_softplus(x), expected)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "tanh", "shifted_softplus", "gated"])
def test_dcgans_of_every_activation_and_one_standard_deviation(activation):
    data = {"shape": (3, 16, 16), "num_classes": 0}
    options = {"activation": activation, "std": 0.02, "norm": "layer", "unit_range": False}
    ends = {"first_norm": "channels", "crop": "end", "output": "auto", "condition": "norm"}
    generator = dcgan.Generator(**data, nz=5, width=4, max_width=4, **ends, **options)
    critic = dcgan.Critic(**data, width=8, max_width=None, spectral=False, condition="auto", **options)
    assert critic(generator(torch.randn(4, 5))).shape == (4, 1)
    weights = torch.cat([m.weight.flatten() for m in critic.modules() if isinstance(m, nn.Conv2d | nn.Linear)])
    assert weights.std().item() == pytest.approx(0.02, rel=0.05)
    assert {m.in_channels for m in generator.deconvs} == {4}  # of a constant width


def test_an_unknown_activation_is_refused():
    with pytest.raises(ValueError, match="activation is 'elu': choose relu, leaky_relu, tanh"):
        dcgan.Critic(**IMAGES, **D_DCGAN, **(DCGAN_CRITIC | {"activation": "elu"}))


def layers_on_the_way(module):
    """Layers with weights that are no shortcuts."""
    kinds = nn.Linear | nn.Conv2d | nn.ConvTranspose2d
    return [name for name, m in module.named_modules() if isinstance(m, kinds) and "shortcut" not in name]


def test_resnet101_has_101_layers_and_starts_as_a_small_change():
    options = {"num_classes": 0, "width": 4, "blocks": [6, 6, 6, 6, 5]}
    generator = resnet101.Generator(shape=FACES, nz=5, norm="batch", **options)
    options |= {"shortcut_pixel": "last", "spectral": False}
    critic = resnet101.Critic(shape=FACES, norm="layer", **options)
    assert len(layers_on_the_way(generator)) == len(layers_on_the_way(critic)) == 101
    x = generator(torch.randn(2, 5))
    assert x.shape == (2, *FACES) and critic(x).shape == (2, 1)
    with pytest.raises(ValueError, match=r"5 stages makes images of 64x64, and the data is \(3, 32, 32\)"):
        resnet101.Critic(shape=CIFAR, norm="layer", **options)


def test_random_architectures_are_drawn_from_table_1():
    draw, filters = random_architecture.Architecture.draw, [32, 64, 128]
    drawn = [draw(seed, "critic", filters) for seed in range(200)]
    assert drawn == [draw(seed, "critic", filters) for seed in range(200)]
    assert drawn != [draw(seed, "generator", filters) for seed in range(200)]
    assert {d.depth for d in drawn} == {4, 8, 12, 20} and {d.filters for d in drawn} == {32, 64, 128}
    assert len(set(drawn)) > 60 and len({d.activation for d in drawn}) == 4
    narrow = [draw(seed, "critic", [8, 16, 32]) for seed in range(200)]
    assert narrow == [replace(d, filters=d.filters // 4) for d in drawn]


@pytest.mark.parametrize("seed", range(6))
def test_random_architectures_have_their_depth(seed):
    data = {"shape": CIFAR, "num_classes": 0, "filters": [8, 16], "architecture_seed": seed}
    with torch.device("meta"):
        generator = random_architecture.Generator(nz=8, norm="batch", **data)
        critic = random_architecture.Critic(norm="layer", **data)
        assert critic(generator(torch.randn(2, 8))).shape == (2, 1)
    for part, module in (("generator", generator), ("critic", critic)):
        assert len(layers_on_the_way(module)) == random_architecture.Architecture.draw(seed, part, [8, 16]).depth


def test_strings_are_distributions_and_other_data_are_refused():
    generator = char.Generator(shape=(7, 12), num_classes=0, nz=5, width=8, blocks=2)
    critic = char.Critic(shape=(7, 12), num_classes=0, width=8, blocks=2, spectral=False)
    x = generator(torch.randn(4, 5))
    assert x.shape == (4, 7, 12) and critic(x).shape == (4, 1)
    torch.testing.assert_close(x.sum(1), torch.ones(4, 12))
    with pytest.raises(ValueError, match="char is for strings"):
        char.Critic(shape=CIFAR, num_classes=0, width=8, blocks=2, spectral=False)


def test_character_networks_have_the_official_initialisation():
    layer = char.conv1d(64, 128, 5)
    assert layer.weight.std().item() == pytest.approx(math.sqrt(4 / (64 * 5 + 128 * 5)), rel=0.02)


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
    penalty = GradientPenalty(**PENALTY)
    critics = [((3, 32, 32), critic) for _, critic in families((3, 32, 32), 0, critic_norm="none")]
    critics.append(((30, 16), char.Critic(shape=(30, 16), num_classes=0, width=16, blocks=3, spectral=False)))
    deep = {"num_classes": 0, "width": 8, "blocks": [2, 2, 2, 2], "norm": "none", "spectral": False}
    deep |= {"shortcut_pixel": "last"}
    critics.append(((3, 32, 32), resnet101.Critic(shape=(3, 32, 32), **deep)))
    for shape, critic in critics:
        real, fake = torch.randn(2, 2, *shape)
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


IMAGES, STRINGS = {"shape": (3, 32, 32), "num_classes": 0}, {"shape": (9, 12), "num_classes": 0}
CHAR_G, CHAR_D = {"nz": 4, "width": 8, "blocks": 1}, {"width": 8, "blocks": 1, "spectral": False}
RANDOM = {"nz": 4, "norm": "none", "filters": [8, 16], "architecture_seed": 0}
G_101 = {"nz": 4, "width": 8, "blocks": [1, 1, 1, 1], "norm": "batch"}
D_101 = {"width": 8, "blocks": [1, 1, 1, 1], "norm": "layer", "shortcut_pixel": "first", "spectral": False}
D_RESNET = {"width": 4, "norm": "none", "spectral": False, "condition": "auto"}
G_MLP = {"nz": 4, "width": 8, "depth": 2, "output": "auto"}
G_DCGAN, D_DCGAN = {"nz": 4, "width": 4, "norm": "batch"}, {"width": 4, "norm": "none", "spectral": False}


@pytest.mark.parametrize(
    ("network", "options", "key", "value"),
    [
        (mlp.Generator, G_MLP, "generator.width", 0),
        (mlp.Generator, G_MLP, "generator.nz", -1),
        (mlp.Critic, {"width": 8, "depth": 2, "spectral": False, "condition": "auto"}, "critic.depth", 0),
        (dcgan.Generator, G_DCGAN | DCGAN_GENERATOR, "generator.width", 0),
        (dcgan.Generator, G_DCGAN | DCGAN_GENERATOR, "generator.max_width", 0),
        (dcgan.Generator, G_DCGAN | DCGAN_GENERATOR, "generator.first_norm", "unit"),
        (dcgan.Critic, D_DCGAN | DCGAN_CRITIC, "critic.width", 2.5),
        (dcgan.Generator, G_DCGAN | DCGAN_GENERATOR, "generator.crop", "left"),
        (dcgan.Generator, G_DCGAN | DCGAN_GENERATOR, "std", 0),
        (resnet.Generator, G_RESNET, "generator.max_width", True),
        (resnet.Generator, G_RESNET, "generator.batchnorm_groups", 0),
        (resnet.Critic, D_RESNET, "critic.width", 0),
        (resnet.PyramidCritic, D_RESNET | {"max_width": 8}, "critic.max_width", 0),
        (resnet101.Generator, G_101, "generator.nz", 0),
        (resnet101.Generator, G_101, "width", 6),
        (resnet101.Generator, G_101, "blocks", [1, 1, 1, 0]),
        (resnet101.Critic, D_101, "blocks", 6),
        (resnet101.Critic, D_101, "critic.shortcut_pixel", 1),
        (random_architecture.Generator, RANDOM, "generator.nz", 0),
        (random_architecture.Generator, RANDOM, "generator.filters", []),
        (random_architecture.Generator, RANDOM, "generator.filters", [8, 0]),
        (random_architecture.Generator, RANDOM, "generator.filters", 8),
        (char.Generator, CHAR_G, "generator.blocks", 0),
        (char.Critic, CHAR_D, "critic.width", 0),
        (char.GRUCritic, {"width": 8, "layers": 1}, "critic.layers", 0),
        (char.AttentionCritic, {"width": 8, "heads": 2, "blocks": 1}, "critic.heads", 0),
        (char.AttentionCritic, {"width": 8, "heads": 2, "blocks": 1}, "critic.heads", 3),
    ],
)
def test_a_bad_number_is_refused_by_its_key(network, options, key, value):
    data = STRINGS if network.__module__.endswith("char") else IMAGES
    network(**data, **options)
    with pytest.raises(ValueError, match=rf"{key}\b") as error:
        network(**data, **(options | {key.split(".")[-1]: value}))
    assert str(value) in str(error.value) and "\n" not in str(error.value)


def test_a_conditional_generator_asks_for_labels():
    for generator, _ in families((3, 16, 16), 3):
        with pytest.raises(ValueError, match="give it labels y"):
            generator(torch.randn(2, generator.nz))


@pytest.mark.parametrize(
    "critic",
    [
        lambda: char.GRUCritic(shape=(9, 12), num_classes=0, width=8, layers=2),
        lambda: char.AttentionCritic(shape=(9, 12), num_classes=0, width=8, heads=2, blocks=2),
    ],
)
def test_spectral_norm_covers_the_weights_of_recurrent_and_attention_layers(critic):
    torch.manual_seed(0)
    critic = critic()
    matrices = sum(p.numel() for name, p in critic.named_parameters() if "weight" in name and p.ndim > 1)
    spectral_norm(critic)
    for _ in range(50):  # power iterations
        critic(torch.rand(2, 9, 12))
    weights = [getattr(m, name) for m in critic.modules() for name in getattr(m, "parametrizations", ())]
    assert sum(w.numel() for w in weights) == matrices
    for w in weights:
        assert torch.linalg.matrix_norm(w.flatten(1), 2).item() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("layers", [1, 2])
def test_the_gru_is_torchs_with_its_first_weights(layers):
    torch.manual_seed(0)
    ours = char.GRU(5, 7, layers)
    torch.manual_seed(0)
    theirs = nn.GRU(5, 7, layers, batch_first=True)
    x = torch.randn(3, 4, 5)
    assert [name for name, _ in ours.named_parameters()] == [name for name, _ in theirs.named_parameters()]
    assert torch.equal(ours(x), theirs(x)[0])
    theirs.load_state_dict(ours.state_dict())


def test_copying_a_gru_critic_does_not_move_its_weights(monkeypatch):
    """On CUDA nn.GRU flattens its weights when it is copied after functional_call; here that is imitated."""

    def flatten(gru):
        for weight in gru._flat_weights:
            weight.data = weight.data.clone()

    monkeypatch.setattr(nn.RNNBase, "flatten_parameters", flatten)
    critic, stock = char.GRUCritic(shape=(5, 3), num_classes=0, width=4, layers=1), nn.GRU(5, 3)
    for module, x, moves in ((critic, torch.randn(2, 5, 3), False), (stock, torch.randn(2, 3, 5), True)):
        addresses = [p.data_ptr() for p in module.parameters()]
        torch.func.functional_call(module, {name: p.detach() for name, p in module.named_parameters()}, x)
        frozen(module)
        assert ([p.data_ptr() for p in module.parameters()] != addresses) == moves


def test_score_and_logits_start_as_two_linear_layers():
    torch.manual_seed(0)
    head = Head(50_000, 400)
    score, logits = head.weight.detach().split([1, 400])
    assert score.std().item() == pytest.approx(math.sqrt(2 / 50_001), rel=0.01)
    assert logits.std().item() == pytest.approx(math.sqrt(2 / 50_400), rel=0.001)
    head.divisor = 5
    x = torch.randn(3, 50_000)
    torch.testing.assert_close(head(x), nn.functional.linear(x, head.weight, head.bias) / 5)


def test_mnists_loss_is_twice_the_official_one():
    """The penalty of paper/mnist on pixels in [-1, 1] is twice gan_mnist.py's, of lambda 10, on pixels in [0, 1]."""
    penalty = build(composed("experiment=paper/mnist").penalty)
    options = D_DCGAN | DCGAN_CRITIC
    ours = dcgan.Critic(shape=(1, 8, 8), num_classes=0, **(options | {"unit_range": True})).double()
    official = dcgan.Critic(shape=(1, 8, 8), num_classes=0, **options).double()
    official.load_state_dict(ours.state_dict())
    real, fake = torch.rand(2, 4, 1, 8, 8, dtype=torch.float64)
    losses = []
    for critic, each, x, y in (
        (ours, penalty, 2 * real - 1, 2 * fake - 1),
        (official, GradientPenalty(**PENALTY), real, fake),
    ):
        torch.manual_seed(0)
        losses.append(critic(y).mean() - critic(x).mean() + each(critic, x, y))
    torch.testing.assert_close(losses[0], 2 * losses[1], rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("option", "generator", "critic"),
    [("dcgan", 0.02, 0.02), ("no_norm", 0.02, 0.02), ("no_norm_constant_width", None, 0.02), ("gated", None, None)],
)
def test_first_weights_of_figure_2(option, generator, critic):
    """A standard deviation of 0.02 where the official code sets it; else that of each layer, std = None."""
    cfg = composed(f"experiment=paper/robustness/{option}", "generator.width=16", "critic.width=16")
    for part, std in (("generator", generator), ("critic", critic)):
        network = build(cfg[part], shape=[3, 64, 64], num_classes=0)
        for m in network.modules():
            if isinstance(m, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
                expected = std or official_std(m)
                assert m.weight.std().item() == pytest.approx(expected, rel=0.1)


def official_std(layer):
    """tflib's: glorot for linear layers, "he" for convolutions and transposed ones of stride 2."""
    if isinstance(layer, nn.Linear):
        return math.sqrt(2 / (layer.in_features + layer.out_features))
    fan_in, fan_out = layer.in_channels * 25, layer.out_channels * 25
    fan_in, fan_out = (fan_in / 4, fan_out) if isinstance(layer, nn.ConvTranspose2d) else (fan_in, fan_out / 4)
    return math.sqrt(4 / (fan_in + fan_out))
