"""Conditions: labels, numbers and pictures, in generators and critics."""

import pytest
import torch
from conftest import Points, options, small_trainer
from test_sizes import network, option_of
from torch.nn import functional as F

from wgangp.app.build import build
from wgangp.app.compose import load_config
from wgangp.models import ConditionedCritic
from wgangp.models.conditions import CriticCondition
from wgangp.models.layers import Norm
from wgangp.observer import Observer

FAMILIES = [
    ("mlp", (7,)),
    ("mlp_residual", (7,)),
    ("dcgan", (2, 13)),
    ("resnet", (1, 9, 12)),
    ("resnet_pyramid", (1, 6, 5, 9)),
]


@pytest.mark.parametrize("way", ["norm", "concat"])
@pytest.mark.parametrize(("option", "shape"), FAMILIES)
def test_numbers_move_what_a_generator_makes(option, shape, way):
    torch.manual_seed(0)
    generator = network("generator", option, shape, condition_shape=[2], condition=way)
    z, y = torch.randn(4, generator.nz), torch.randn(4, 2, requires_grad=True)
    x = generator(z, y)
    assert x.shape == (4, *shape) and generator.condition_shape == [2]
    assert all(p.grad is None for p in generator.parameters())
    x.square().sum().backward()
    moved = [p for name, p in generator.named_parameters() if "condition" in name or "scale" in name]
    assert moved and any(p.grad.any() for p in moved)  # at the start a norm's scale is 1, whatever y is
    for p in moved:
        torch.nn.init.normal_(p)
    assert not torch.allclose(generator(z, y), generator(z, -y))
    with pytest.raises(ValueError, match="give it numbers y"):
        generator(z)


def test_norms_given_numbers_scale_and_shift():
    """A norm of (2 + y) and (1 - y), for one number y that passes the embedding's ReLU unchanged."""
    generator = network("generator", "resnet", (1, 8), condition_shape=[1], nz=1, condition="norm", norm="layer")
    norm, x, y = generator.blocks[0].norm1, torch.randn(3, 8, 4), torch.rand(3, 1)
    with torch.no_grad():
        for layer, weight, bias in ((generator.condition.embedding, 1, 0), (norm.scale, 1, 2), (norm.offset, -1, 1)):
            layer.weight.fill_(weight), layer.bias.fill_(bias)
    _, given = generator.condition(torch.zeros(3, 1), y)
    plain = Norm("layer", 8, axes=1)(x)
    torch.testing.assert_close(norm(x, given), plain * (2 + y[:, :, None]) + 1 - y[:, :, None])


@pytest.mark.parametrize("kind", ["labels", "numbers"])
@pytest.mark.parametrize(("option", "shape"), FAMILIES)
def test_the_projection_critic_is_miyatos(option, shape, kind):
    """f(x, y) = <v, h(x)> + b + <embedding of y, h(x)>."""
    torch.manual_seed(0)
    given = {"num_classes": 3} if kind == "labels" else {"condition_shape": [2]}
    critic = network("critic", option, shape, **given, condition="projection")
    x, y = torch.randn(5, *shape), torch.arange(5) % 3 if kind == "labels" else torch.randn(5, 2)
    h, head = critic.features(x), critic.output
    if kind == "labels":
        embedded = head.embedding.weight[y]
    else:
        first, _, last = head.embedding
        embedded = F.linear(F.linear(y, first.weight, first.bias).relu(), last.weight, last.bias)
    expected = h @ head.weight[0] + head.bias + (embedded * h).sum(1)
    torch.testing.assert_close(critic(x, y), expected[:, None])
    assert critic.takes_condition and critic(x, y).shape == (5, 1)
    with pytest.raises(ValueError, match="give it y"):
        critic(x)


def test_concatenated_conditions_are_channels():
    x, y = torch.randn(3, 2, 9, 8), torch.tensor([0, 2, 1])
    labels = network("critic", "dcgan", (2, 9, 8), num_classes=3, condition="concat")
    seen = labels.beside(x, y)
    assert torch.equal(seen[:, :2], x) and torch.equal(seen[:, 2:, 4, 5], F.one_hot(y, 3).float())
    numbers = network("critic", "resnet", (2, 9, 8), condition_shape=[2], condition="concat")
    assert torch.equal(numbers.beside(x, x[:, :, 0, 0])[:, 2:, 8, 7], x[:, :, 0, 0])
    pictures = network("critic", "resnet_pyramid", (2, 9, 8), condition_shape=[1, 3, 4])
    small = torch.randn(3, 1, 3, 4)
    assert torch.equal(pictures.beside(x, small)[:, 2:], F.interpolate(small, size=(9, 8)))
    for critic, condition in ((labels, y), (numbers, x[:, :, 0, 0]), (pictures, small)):
        assert critic(x, condition).shape == (3, 1)


def test_labels_without_a_choice_keep_class_logits():
    critic = network("critic", "dcgan", (2, 9, 8), num_classes=3)
    x = torch.randn(2, 2, 9, 8)
    assert not critic.takes_condition and critic(x).shape == (2, 4)
    assert torch.equal(critic(x), critic(x, torch.tensor([0, 1])))


@pytest.mark.parametrize(
    ("shape", "small"), [((3, 16, 24), (1, 8, 24)), ((1, 21), (2, 7)), ((1, 6, 5, 9), (1, 3, 5, 3))]
)
def test_unets_map_pictures_and_noise_to_pictures(shape, small):
    generator = network("generator", "unet", shape, condition_shape=small)
    critic = network("critic", "resnet", shape, condition_shape=small)
    z, y = torch.randn(2, 3, requires_grad=True), torch.randn(2, *small, requires_grad=True)
    x = generator(z, y)
    assert x.shape == (2, *shape) and critic(x, y).shape == (2, 1)
    dz, dy = torch.autograd.grad(x.square().sum(), (z, y))
    assert dz.ne(0).any() and dy.ne(0).all()  # each pixel of the condition counts
    with pytest.raises(ValueError, match="give it pictures"):
        generator(z)


@pytest.mark.parametrize(
    ("part", "option", "changes", "said"),
    [
        ("generator", "unet", {}, "set dataset.condition to them"),
        ("generator", "unet", {"condition_shape": [1, 3, 8]}, "give pictures of another size"),
        ("generator", "resnet", {"condition_shape": [1, 8, 8]}, "generator=unet"),
        ("generator", "resnet", {"condition_shape": [2], "norm": "none"}, "generator.condition=concat"),
        ("generator", "dcgan", {"condition": "projection"}, "generator.condition is 'projection'"),
        ("critic", "dcgan", {"condition": "norm"}, "critic.condition is 'norm'"),
        ("critic", "resnet", {"condition_shape": [2], "condition": "acgan"}, "critic.condition=acgan"),
        ("critic", "resnet", {"condition_shape": [1, 8, 8], "condition": "projection"}, "choose concat"),
    ],
)
def test_conditions_that_do_not_suit_are_refused_in_one_line(part, option, changes, said):
    with pytest.raises(ValueError, match=said) as error:
        network(part, option, (3, 8, 8), **changes)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("option", options("penalty"))
def test_every_penalty_goes_with_conditions(option):
    """Loss and penalty have finite gradients; reals and fakes have the same conditions."""
    torch.manual_seed(0)
    critic = network("critic", "dcgan", (2, 13), condition_shape=[2])
    penalty = build(option_of("penalty", option))
    critic, y = penalty.wrap(critic), torch.randn(4, 2)
    real, fake = torch.randn(2, 4, 2, 13)
    given = ConditionedCritic(critic, y)
    out = given(torch.cat([real, fake]))
    loss = out[4:].mean() - out[:4].mean() + penalty(given, real, fake)
    gradients = torch.autograd.grad(loss, list(critic.parameters()), allow_unused=True)
    assert all(g is None or g.isfinite().all() for g in gradients)


def test_given_conditions_repeat_for_each_batch():
    for way in ("projection", "concat"):
        critic = network("critic", "resnet", (1, 9), condition_shape=[2], condition=way)
        real, fake, y = torch.randn(4, 1, 9), torch.randn(4, 1, 9), torch.randn(4, 2)
        given = ConditionedCritic(critic, y)
        both = torch.cat([critic(real, y), critic(fake, y)])
        torch.testing.assert_close(given(torch.cat([real, fake])), both)
        torch.testing.assert_close(given.output(given.features(torch.cat([real, fake]))), both)


class Labelled(Points):
    """Pictures with one of three labels."""

    shape, num_classes = (1, 8, 8), 3

    def fetch(self, index, n):
        generator = torch.Generator().manual_seed(index)
        return torch.rand(n, *self.shape, generator=generator) * 2 - 1, torch.arange(n) % 3


@pytest.mark.parametrize("penalty", ["wgan_gp", "ct", "gradient_normalisation", "max_gp"])
@pytest.mark.parametrize("way", ["projection", "concat"])
def test_a_critic_that_sees_the_labels_is_trained(way, penalty):
    """The losses are of f(x, y) at the batch's own labels, and the penalty is on x alone."""
    torch.manual_seed(0)
    trainer = small_trainer(
        dataset=Labelled(),
        generator=network("generator", "dcgan", (1, 8, 8), num_classes=3),
        critic=network("critic", "dcgan", (1, 8, 8), num_classes=3, condition=way),
        penalty=build(load_config(f"penalty={penalty}").penalty),
    )
    before = {name: p.clone() for name, p in trainer.critic.named_parameters()}
    logs = [trainer.train_step() for _ in range(2)][-1]
    stayed = [name for name, p in trainer.critic.named_parameters() if torch.equal(p, before[name])]
    assert stayed in ([], ["output.bias"])  # of which the difference of two scores is free
    assert all(value.isfinite() for value in logs.values())
    assert Observer(trainer, lambda generate: {}).measure(logs).keys() >= {"critic/gradient_norm"}

    (real, y), fake = trainer.dataset.batch(0, 8), torch.rand(8, 1, 8, 8)
    _, logs = trainer.critic_loss(trainer.critic, real, fake, y, penalised=False)
    if penalty != "ct":  # dropout
        expected = (trainer.critic(real, y) - trainer.critic(fake, y)).mean()
        torch.testing.assert_close(logs["critic/wasserstein"], expected.detach())


@pytest.mark.parametrize("features", [64, 1024])
def test_the_projection_of_numbers_begins_as_large_as_the_score(features):
    """Of features of size 1 the score has a variance of 2 features / (features + 1), however wide the critic is."""
    torch.manual_seed(0)
    embedding = CriticCondition("auto", [features], 0, [2]).embedding(features, width=256)
    projected = embedding(torch.randn(2000, 2)) @ torch.randn(features).sign()
    assert 0.2 < projected.std().item() < 5
