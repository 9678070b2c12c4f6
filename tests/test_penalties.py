"""The penalty against closed forms, against numpy, and against finite differences."""

import functools
import math

import numpy as np
import pytest
import torch
from conftest import PENALTY, composed, options
from torch import nn

from wgangp.app.build import build
from wgangp.models import ConditionedCritic, Critic, char, mlp
from wgangp.penalties import (
    Consistency,
    FiniteDifference,
    GradientNormalisation,
    GradientPenalty,
    NoPenalty,
    Sobolev,
    SpectralNorm,
    WeightClipping,
    gradient_norm,
    gradient_penalty,
    interpolates,
    jacobian_norm,
    perturbed,
)
from wgangp.schedules import Constant

GP = GradientPenalty(**PENALTY)
SHAPES = [(2,), (1, 28, 28), (3, 8, 8), (5, 7)]


def linear_critic(w):
    """f(x) = <w, x>, whose gradient is w everywhere."""
    return lambda x: (x * w).flatten(1).sum(1)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("n", [1, 2, 7])
@pytest.mark.parametrize("weight", [10.0, 0.1])
def test_linear_critic(shape, n, weight):
    torch.manual_seed(0)
    w = torch.randn(shape, dtype=torch.float64)
    real, fake = torch.randn(2, n, *shape, dtype=torch.float64)
    expected = weight * (w.norm().item() - 1) ** 2
    assert gradient_penalty(linear_critic(w), real, fake, weight).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("columns", [lambda s: s, lambda s: s[:, None], lambda s: torch.stack([s, 5 * s, -s], 1)])
def test_only_the_first_column_of_the_critic_counts(columns):
    w, (real, fake) = torch.randn(3), torch.randn(2, 4, 3)
    critic = linear_critic(w)
    torch.testing.assert_close(gradient_penalty(lambda x: columns(critic(x)), real, fake), 10 * (w.norm() - 1) ** 2)


def test_quadratic_critic():
    """f(x) = a |x|^2 / 2 has the gradient a x."""
    x = torch.randn(6, 3, 4, 4, dtype=torch.float64)
    norms = gradient_norm(lambda x: 1.7 * x.flatten(1).square().sum(1) / 2, x)
    torch.testing.assert_close(norms, 1.7 * x.flatten(1).norm(dim=1))


@pytest.mark.parametrize(
    ("cost", "deviation"),
    [
        ("two_sided", lambda g: abs(g - 1)),
        ("one_sided", lambda g: max(0.0, g - 1)),
        ("zero_centred", lambda g: g),
    ],
)
@pytest.mark.parametrize("power", [1, 2, 6])
@pytest.mark.parametrize(("norm", "scale"), [(2, 0.3), (2, 1.0), (2, 2.5), (1, 1.5), (math.inf, 1.5)])
@pytest.mark.parametrize("points", ["interpolates", "real", "fake", "both", "perturbed"])
def test_every_norm_cost_and_power_at_every_kind_of_point(cost, deviation, power, norm, scale, points):
    """Of a linear critic, whose gradient is the same everywhere."""
    w = torch.randn(5, dtype=torch.float64)
    w *= scale / torch.linalg.vector_norm(w, ord=norm)
    real, fake = torch.randn(2, 4, 5, dtype=torch.float64)
    chosen = {"points": points, "norm": norm, "cost": cost, "power": power, "weight": 3.0, "interval": 2}
    penalty = GradientPenalty(**(PENALTY | chosen))
    expected = 3 * 2 * deviation(scale) ** power
    assert penalty(linear_critic(w), real, fake).item() == pytest.approx(expected, rel=1e-12, abs=1e-12)
    assert [penalty.due(i) for i in range(4)] == [True, False, True, False]


def test_means_and_maxima_of_a_quadratic_critic():
    """f(x) = |x|^2 / 2 has the gradient x: its penalties are those of the points' own norms."""
    real, fake = torch.randn(2, 6, 3, dtype=torch.float64)

    def critic(x):
        return x.square().sum(1) / 2

    def value(**changes):
        return GradientPenalty(**(PENALTY | {"cost": "zero_centred", "weight": 1.0} | changes))(critic, real, fake)

    squares = torch.cat([real, fake]).square().sum(1)
    torch.testing.assert_close(value(points="both"), squares.mean())
    torch.testing.assert_close(value(points="both", reduction="max"), squares.max())
    r1, r2 = value(points="real", weight=5.0), value(points="fake", weight=5.0)
    torch.testing.assert_close(value(points="both", weight=10.0), r1 + r2)
    torch.testing.assert_close(value(points="real", norm=math.inf, power=1), real.abs().amax(1).mean())


def test_perturbed_reals_are_dragans():
    """x + a s u / 2 with a and u uniform in [0, 1): a mean of s / 8, at most s / 2 away, one a for a sample."""
    torch.manual_seed(0)
    real = torch.randn(2000, 8, dtype=torch.float64)
    moved = (perturbed(real, real) - real) / real.std()
    assert moved.min() >= 0 and moved.max() <= 0.5
    assert moved.mean().item() == pytest.approx(1 / 8, rel=0.05)
    largest = moved.amax(dim=1)  # nearly a / 2 of the sample
    assert largest.min() < 0.02 and largest.max() > 0.45


def test_finite_differences_are_the_gradients_of_a_linear_critic():
    """f(x + s e) - f(x) = s <w, e>, whose square has the mean s^2 |w|^2: twice that for reals and fakes."""
    torch.manual_seed(0)
    w = torch.randn(6, dtype=torch.float64)
    real, fake = torch.randn(2, 200_000, 6, dtype=torch.float64)
    value = FiniteDifference(sigma=0.01, weight=100.0, schedule=Constant, interval=1)(linear_critic(w), real, fake)
    assert value.item() == pytest.approx(2 * 100 * 0.01**2 * w.square().sum().item(), rel=0.02)


def test_finite_differences_are_not_rounded_in_bfloat16():
    """Beside a score of 20, bfloat16 has steps of 1/8, and the differences are of 0.01."""
    torch.manual_seed(0)
    critic = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1))
    nn.init.constant_(critic[2].bias, 20)
    penalty, (real, fake) = (
        FiniteDifference(sigma=0.01, weight=1.0, schedule=Constant, interval=1),
        torch.randn(2, 9, 6),
    )
    values = []
    for half in (False, True):
        torch.manual_seed(1)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            values.append(penalty(critic, real, fake))
    assert torch.equal(*values)


class LinearFeatures(Critic):
    """f(x) = <w, dropped x>."""

    def __init__(self, w):
        super().__init__()
        self.dropout, self.output = nn.Dropout(0), nn.Linear(len(w), 1, bias=False).double()
        self.output.weight.data = w[None]

    def features(self, x):
        return self.dropout(x)


CT = PENALTY | {"consistency": 2.0, "margin": 0.0, "dropout": 0.5, "weight": 0.0}


def test_consistency_is_the_variance_of_dropout():
    """Dropping half of the units gives each term w_i x_i the variance (w_i x_i)^2; two passes differ by twice that."""
    torch.manual_seed(0)
    w, x = torch.randn(2, 5, dtype=torch.float64)
    real = x.expand(200_000, 5)
    ct = Consistency(**CT)
    value = ct(ct.wrap(LinearFeatures(w)), real, real)
    expected = 2 * (2 * (w * x).square().sum() + 0.1 * 2 * x.square().mean())
    assert value.item() == pytest.approx(expected.item(), rel=0.02)
    assert Consistency(**(CT | {"margin": 1e6}))(ct.wrap(LinearFeatures(w)), real, real) == 0


def test_consistency_adds_to_the_gradient_penalty_and_ends_with_training_mode():
    w, (real, fake) = torch.randn(5, dtype=torch.float64), torch.randn(2, 4, 5, dtype=torch.float64)
    ct = Consistency(**(CT | {"weight": 10.0}))
    critic = ct.wrap(LinearFeatures(w)).eval()  # nothing is dropped, so the passes agree
    assert ct(critic, real, fake).item() == pytest.approx(10 * (w.norm().item() - 1) ** 2)


def test_consistency_needs_places_for_dropout():
    with pytest.raises(ValueError, match=r"nn\.Dropout"):
        Consistency(**CT).wrap(nn.Linear(2, 1))


def test_sobolev_is_an_augmented_lagrangian():
    """Of a linear critic: v = |w|^2 - 1, the penalty m v + rho v^2 / 2, and m grows by rho v an update."""
    w, (real, fake) = torch.randn(5, dtype=torch.float64), torch.randn(2, 4, 5, dtype=torch.float64)
    sobolev, v = Sobolev(rho=0.1), w.square().sum().item() - 1
    for m in (0.0, 0.1 * v, 0.2 * v):
        penalty, norm = sobolev.terms(linear_critic(w), real, fake)
        assert penalty.item() == pytest.approx(m * v + 0.05 * v**2)
        assert norm.item() == pytest.approx(w.norm().item())
        sobolev.observe(norm)
    assert sobolev.weight.item() == pytest.approx(0.3 * v)


def test_normalised_critic_is_below_one_and_has_no_scale():
    """f / (|grad f| + |f|) of f(x) = <w, x> + b, for which c f gives the same; class logits are left alone."""
    linear = nn.Linear(6, 3).double()
    x = torch.randn(9, 6, dtype=torch.float64)
    critic, f = GradientNormalisation().wrap(linear), linear(x)[:, 0]
    out = critic(x)
    torch.testing.assert_close(out[:, 0], f / (linear.weight[0].norm() + f.abs()))
    torch.testing.assert_close(out[:, 1:], linear(x)[:, 1:])
    assert out[:, 0].abs().max() < 1
    with torch.no_grad():
        linear.weight *= 7
        linear.bias *= 7
    torch.testing.assert_close(critic(x)[:, 0], out[:, 0])


def test_a_dead_critic_is_normalised_to_zero():
    """All units of a narrow critic may be dead: f and its gradient are 0 there, and their ratio was NaN."""
    critic = GradientNormalisation().wrap(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)))
    with torch.no_grad():
        critic.critic[0].bias.fill_(-100)
        critic.critic[2].bias.zero_()
    out = critic(torch.randn(4, 2))
    assert out.eq(0).all()
    assert all(g.isfinite().all() for g in torch.autograd.grad(out.sum(), critic.parameters()))


def test_spectral_norm_bounds_the_critics_slope():
    torch.manual_seed(0)
    critic = SpectralNorm().wrap(
        mlp.Critic(shape=(3,), num_classes=0, width=32, depth=3, spectral=False, condition="auto")
    )
    x = torch.randn(64, 3)
    for _ in range(50):
        critic(x)  # a power iteration each
    assert gradient_norm(critic, x).max() <= 1.001


TEXT_CRITICS = {
    "char": lambda **data: char.Critic(**data, width=6, blocks=1, spectral=False),
    "gru": lambda **data: char.GRUCritic(**data, width=6, layers=1),
    "attention": lambda **data: char.AttentionCritic(**data, width=6, heads=2, blocks=1),
}


@pytest.mark.parametrize("option", options("penalty"))
@pytest.mark.parametrize("critic", ["mlp", *TEXT_CRITICS])
def test_every_option_against_finite_differences(option, critic):
    """Its gradient in one weight of every layer, in float64, and both losses', recurrent and attentive critics too."""
    torch.manual_seed(0)
    penalty = build(composed(f"penalty={option}").penalty)
    if critic == "mlp":
        module, shape = mlp.Critic(shape=(3,), num_classes=0, width=32, depth=2, spectral=False, condition="auto"), (3,)
    else:
        module, shape = TEXT_CRITICS[critic](shape=(5, 4), num_classes=0), (5, 4)
    module = penalty.wrap(module.double())
    real, fake = torch.randn(2, 6, *shape, dtype=torch.float64)
    module.train(option == "ct")  # spectral norm's vectors stay as they are, dropout does not

    def loss():
        torch.manual_seed(1)  # the same interpolates, noise and dropout
        return module(fake)[:, 0].mean() - module(real)[:, 0].mean() + penalty(module, real, fake)

    parameters = list(module.parameters())
    for p, gradient in zip(parameters, torch.autograd.grad(loss(), parameters, allow_unused=True), strict=True):
        gradient = torch.zeros_like(p) if gradient is None else gradient
        value, index, step = p.data.view(-1), gradient.abs().argmax().item(), 1e-6
        with torch.no_grad():
            value[index] += step
            above = loss()
            value[index] -= 2 * step
            below = loss()
            value[index] += step
        slope = ((above - below) / (2 * step)).item()
        assert slope == pytest.approx(gradient.flatten()[index].item(), rel=1e-5, abs=1e-7)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("critic", [c for c in TEXT_CRITICS if c != "char"])
def test_recurrent_and_attentive_critics_on_cuda(critic):
    """Their second derivatives there equal those of the CPU."""
    torch.manual_seed(0)
    module = TEXT_CRITICS[critic](shape=(5, 4), num_classes=0).double()
    x, gradients = torch.randn(6, 5, 4, dtype=torch.float64), []
    for device in ("cpu", "cuda"):
        module.to(device)
        loss = gradient_norm(module, x.to(device)).square().mean()
        gradients.append(
            [g.cpu() for g in torch.autograd.grad(loss, list(module.parameters()), allow_unused=True) if g is not None]
        )
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b)


def test_points_are_where_their_name_says():
    real, fake = torch.ones(3, 4), torch.full((3, 4), 2.0)
    seen = []
    for points in ("real", "fake"):
        GradientPenalty(**(PENALTY | {"points": points}))(
            lambda x: seen.append(torch.sum(x).item()) or x.sum(1), real, fake
        )
    assert seen == [12, 24]


def test_duplicating_the_batch_changes_nothing():
    torch.manual_seed(0)
    critic = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 1)).double()
    x = torch.randn(5, 6, dtype=torch.float64)
    once, twice = (GP.unweighted(critic, p, p)[0] for p in (x, torch.cat([x, x])))
    torch.testing.assert_close(once, twice)


@pytest.mark.parametrize("shape", SHAPES)
def test_interpolates_lie_between_their_own_pair(shape):
    torch.manual_seed(0)
    real, fake = torch.randn(2, 2000, *shape, dtype=torch.float64)
    x = interpolates(real, fake)
    alpha = (x - real).flatten(1).norm(dim=1) / (fake - real).flatten(1).norm(dim=1)
    torch.testing.assert_close(x, real + alpha.view(-1, *[1] * len(shape)) * (fake - real))
    assert alpha.min() >= 0 and alpha.max() <= 1 and alpha.unique().numel() > 1990  # one alpha a sample
    assert alpha.mean().item() == pytest.approx(0.5, abs=0.02) and alpha.var().item() == pytest.approx(1 / 12, abs=5e-3)


@pytest.mark.parametrize("shapes", [((3, 4), (5, 4)), ((3, 4), (1, 4)), ((3, 4), (3, 1))])
def test_reals_and_fakes_have_to_pair(shapes):
    """Broadcasting would give a number all the same, and a wrong one."""
    with pytest.raises(ValueError, match="a fake for each real"):
        gradient_penalty(lambda x: x.sum(1), *(torch.randn(shape) for shape in shapes))


def test_constant_critic_has_finite_gradients():
    critic = nn.Linear(4, 1)
    nn.init.zeros_(critic.weight)
    penalty = gradient_penalty(critic, torch.randn(3, 4), torch.randn(3, 4))
    penalty.backward()
    assert penalty.item() == 10 and critic.weight.grad.isfinite().all()


def test_gradgradcheck():
    torch.manual_seed(0)
    w1, w2 = torch.randn(3, 4, dtype=torch.float64), torch.randn(4, 1, dtype=torch.float64)
    x = torch.randn(2, 3, dtype=torch.float64)

    def cost(w1, w2):
        return GP.unweighted(lambda x: (x @ w1).tanh() @ w2, x, x)[0]

    arguments = (w1.requires_grad_(), w2.requires_grad_())
    assert torch.autograd.gradcheck(cost, arguments) and torch.autograd.gradgradcheck(cost, arguments)


def test_official_formulas_in_numpy():
    """gan_toy.py's critic cost for f(x) = w2 . relu(W1 x + b), and its gradient by hand, to 1e-10."""
    rng = np.random.default_rng(0)
    W1, b, w2 = rng.normal(size=(7, 2)), rng.normal(size=7), rng.normal(size=7)
    real, fake, alpha = rng.normal(size=(9, 2)), rng.normal(size=(9, 2)), rng.uniform(size=(9, 1))
    mask = ((real + alpha * (fake - real)) @ W1.T + b > 0).astype(float)  # (9, 7)
    slopes = np.sqrt((((mask * w2) @ W1) ** 2).sum(1))  # (9,)
    penalty = 10 * ((slopes - 1) ** 2).mean()
    outer = (20 * (slopes - 1) / slopes / 9)[:, None] * ((mask * w2) @ W1)  # d penalty / d gradient, (9, 2)
    dW1 = (mask * w2).T @ outer
    dw2 = (mask * (outer @ W1.T)).sum(0)

    W1, b, w2, real, fake, alpha = map(torch.from_numpy, (W1, b, w2, real, fake, alpha))
    W1.requires_grad_(), w2.requires_grad_()
    norms = gradient_norm(lambda x: (x @ W1.T + b).relu() @ w2, real + alpha * (fake - real))
    ours = 10 * (norms - 1).square().mean()
    ours.backward()
    np.testing.assert_allclose(norms.detach(), slopes, rtol=1e-10)
    np.testing.assert_allclose(ours.item(), penalty, rtol=1e-10)
    np.testing.assert_allclose(W1.grad, dW1, rtol=1e-10)
    np.testing.assert_allclose(w2.grad, dw2, rtol=1e-10)


def test_bfloat16_critic_has_its_norm_in_float32():
    w = torch.randn(3, 64, 64)
    critic = linear_critic(w.bfloat16())
    norms = gradient_norm(critic, torch.zeros(2, 3, 64, 64, dtype=torch.bfloat16))
    assert norms.dtype == torch.float32
    torch.testing.assert_close(norms, w.bfloat16().float().norm().expand(2))


def test_weight_clipping_clamps_every_weight_and_nothing_else():
    critic = nn.Linear(50, 50)
    before = {k: v.clone() for k, v in critic.state_dict().items()}
    WeightClipping(clip=0.05).project(critic)
    for name, weight in critic.state_dict().items():
        torch.testing.assert_close(weight, before[name].clamp(-0.05, 0.05), rtol=0, atol=0)


def test_none_penalises_nothing():
    none = NoPenalty()
    assert none(lambda x: x.sum(1), torch.randn(2, 3), torch.randn(2, 3)) == 0


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"points": "everywhere"}, "interpolates, real, fake"),
        ({"cost": "cheap"}, "two_sided"),
        ({"weight": -1.0}, "weight"),
        ({"interval": 0}, "interval"),
        ({"norm": 0.5}, "penalty.norm is 0.5"),
        ({"power": 0}, "penalty.power 0"),
        ({"reduction": "sum"}, "mean, max"),
    ],
)
def test_bad_options_are_refused(bad, message):
    with pytest.raises(ValueError, match=message):
        GradientPenalty(**(PENALTY | bad))
    with pytest.raises(ValueError, match="sigma"):
        FiniteDifference(sigma=0.0, weight=1.0, schedule=Constant, interval=1)
    with pytest.raises(ValueError, match="clip"):
        WeightClipping(clip=0)


def test_gradient_norm_is_one_for_a_distance():
    """f(x) = |x - a|_2 is the textbook 1-Lipschitz function."""
    a = torch.randn(5, dtype=torch.float64)
    norms = gradient_norm(lambda x: (x - a).norm(dim=1), torch.randn(8, 5, dtype=torch.float64))
    assert all(math.isclose(n, 1, rel_tol=1e-12) for n in norms.tolist())


def test_a_critic_with_batchnorm_is_refused_in_other_loops():
    critic = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    with pytest.raises(ValueError, match=r"BatchNorm makes a sample's score depend on its batch.*use LayerNorm"):
        gradient_penalty(critic, *torch.randn(2, 5, 3))


@pytest.mark.parametrize(
    ("critic", "real", "message"),
    [
        (lambda x: x[:, :1].T, torch.zeros(5, 3), r"returns \(1, 5\) of torch.float32 for 5 samples"),
        (lambda x: x.view(5, 1, 2, 2), torch.zeros(5, 4), "of a critic of patches take each sample's mean"),
        (lambda x: x[:, :1].long(), torch.zeros(5, 3), "of torch.int64 for 5 samples"),
        (lambda x: x, torch.zeros(0, 3), r"n > 0: these are \(0, 3\)"),
        (lambda x: x, torch.zeros(5), r"floats \(n, \*shape\)"),
        (lambda x: x, torch.zeros(5, 3).long(), "of torch.int64"),
        (lambda x: x, np.zeros((5, 3)), "these are ndarray and ndarray"),
    ],
)
def test_what_has_no_penalty_is_told(critic, real, message):
    with pytest.raises(ValueError, match=message):
        gradient_penalty(critic, real, real)


@pytest.mark.parametrize("wrap", [torch.jit.script, lambda critic: torch.jit.trace(critic, torch.zeros(4, 3))])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_the_penalty_of_scripted_code_keeps_its_gradient(wrap):
    """By torch.func it had none from the second call on, silently."""
    critic = torch.nn.Sequential(torch.nn.Linear(3, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))
    scripted, x = torch.nn.Sequential(wrap(critic)), torch.randn(4, 3)
    (expected,) = torch.autograd.grad(gradient_norm(critic, x).sum(), critic[0].weight)
    conditioned = ConditionedCritic(OfBoth(scripted), torch.zeros(4))
    for _ in range(3):
        for function in (scripted, conditioned, lambda x: scripted(x), scripted.forward):
            (found,) = torch.autograd.grad(gradient_norm(function, x).sum(), next(scripted.parameters()))
            torch.testing.assert_close(found, expected)
        assert jacobian_norm(scripted, x).requires_grad
        with torch.no_grad():  # as it is logged
            torch.testing.assert_close(gradient_norm(scripted, x), gradient_norm(critic, x))
    x.requires_grad_()
    of_x = [torch.autograd.grad(gradient_norm(c, x).sum(), x)[0] for c in (critic, scripted)]
    torch.testing.assert_close(*of_x)
    normalised = [torch.autograd.grad(GradientNormalisation().wrap(c)(x).sum(), x)[0] for c in (critic, scripted)]
    torch.testing.assert_close(*normalised)


def swish(x):
    return x * torch.sigmoid(x)


class Activated(torch.nn.Module):
    """b . swish(W x + c), with a swish of one's own, as a fused one."""

    def __init__(self, activation):
        super().__init__()
        self.first, self.last, self.activation = torch.nn.Linear(2, 8), torch.nn.Linear(8, 1), activation

    def forward(self, x):
        return self.last(self.activation(self.first(x)))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_the_penalty_of_a_scripted_activation_is_that_of_the_formula():
    """grad f = W^T (b swish'(W x + c)). A scripted function is no module, so nobody can find it in a network."""
    critic, x = Activated(torch.jit.script(swish)), torch.randn(16, 2)
    for _ in range(3):
        found = torch.autograd.grad((gradient_norm(critic, x) - 1).square().mean(), [*critic.parameters()][:3])
        h = critic.first(x)
        s = torch.sigmoid(h)
        grad = (critic.last.weight * (s + h * s * (1 - s))) @ critic.first.weight
        penalty = (grad.norm(dim=1) - 1).square().mean()
        torch.testing.assert_close(found, torch.autograd.grad(penalty, [*critic.parameters()][:3]))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_batchnorm_is_seen_where_it_uses_the_batch_and_only_there():
    critic = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 1))
    real, fake = torch.randn(2, 5, 3)
    scripted = torch.nn.Sequential(torch.jit.script(critic))
    for network in (critic, scripted, torch.jit.trace(critic, real)):
        with pytest.raises(ValueError, match="BatchNorm makes a sample's score depend on its batch"):
            gradient_penalty(network, real, fake)
    assert gradient_penalty(critic.eval(), real, fake).requires_grad  # a frozen backbone


def test_gradients_in_inference_mode_and_of_ones_own_functions():
    class Square(torch.autograd.Function):  # without setup_context
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx, grad):
            return 2 * ctx.saved_tensors[0] * grad

    x = torch.randn(4, 3)
    torch.testing.assert_close(gradient_norm(lambda x: Square.apply(x).sum(1), x), 2 * x.norm(dim=1))
    with torch.inference_mode():
        scale = torch.full((4, 1), 3.0)  # another tensor of this mode
        torch.testing.assert_close(gradient_norm(lambda x: (scale * x * x).sum(1), x + 0), 6 * x.norm(dim=1))
    assert not gradient_norm(lambda x: torch.ones(len(x)), x).any()


class OfBoth(torch.nn.Module):
    """A critic that takes a condition, and needs none."""

    def __init__(self, critic):
        super().__init__()
        self.critic = critic

    def forward(self, x, y):
        return self.critic(x)


def test_a_score_may_have_axes_of_length_one():
    x = torch.randn(5, 3)
    assert gradient_penalty(lambda x: x[:, :1, None, None], x, x + 1).item() == 0


def test_the_jacobian_of_outputs_of_any_shape_is_the_flat_ones():
    torch.manual_seed(0)
    w, x = torch.randn(6, 2), torch.randn(4000, 2)
    for shape in ((6,), (2, 3), (1, 2, 3)):
        found = jacobian_norm(lambda x, shape=shape: (x @ w.T).view(-1, *shape), x)
        assert found.square().mean().sqrt().item() == pytest.approx(w.norm().item(), rel=0.05)


def test_batchnorm_behind_a_condition_is_found_and_so_is_that_beside_a_critic():
    class Beside(nn.Module):
        def __init__(self):
            super().__init__()
            self.critic, self.norm = nn.Linear(3, 1), nn.BatchNorm1d(3)

        def forward(self, x):
            return self.critic(self.norm(x))

    within = ConditionedCritic(nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 1)), torch.zeros(5))
    for critic in (within, Beside()):
        with pytest.raises(ValueError, match="BatchNorm makes a sample's score depend on its batch"):
            gradient_penalty(critic, torch.zeros(5, 3), torch.ones(5, 3))


def normed_critic():
    return nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))


@pytest.mark.parametrize("called", [lambda critic: critic, lambda critic: critic.forward, functools.partial])
@pytest.mark.parametrize("penalty", [gradient_penalty, GP])
def test_batchnorm_is_refused_however_the_critic_is_handed_over(called, penalty):
    with pytest.raises(ValueError, match="BatchNorm makes a sample's score depend on its batch"):
        penalty(called(normed_critic()), *torch.randn(2, 5, 2))
    penalty(called(nn.Linear(2, 1)), *torch.randn(2, 5, 2))


def test_gradient_norms_of_samples_made_in_inference_mode():
    with torch.inference_mode():
        x = torch.randn(4, 3)
    w = torch.randn(3)
    torch.testing.assert_close(gradient_norm(linear_critic(w), x), w.norm().expand(4))
    with pytest.raises(ValueError, match="order=0: give a number from 1 to inf"):
        gradient_norm(linear_critic(w), x, order=0)


@pytest.mark.parametrize("norm", [nn.utils.parametrizations.weight_norm, nn.utils.weight_norm])
@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated")
def test_weights_that_are_computed_from_others_are_neither_divided_nor_clipped(norm):
    for penalty in (SpectralNorm(), WeightClipping(clip=0.1)):
        critic = nn.Sequential(norm(nn.Linear(2, 3)))
        with pytest.raises(ValueError, match=r"0\.weight is computed from other weights by WeightNorm: leave that out"):
            penalty.check(penalty.wrap(critic))


def test_spectral_norm_says_what_it_does_not_divide(caplog):
    critic = nn.Module()
    critic.matrix = nn.Parameter(torch.ones(3, 2))
    with pytest.raises(ValueError, match="finds no weight: call the critic's matrices weight"):
        SpectralNorm().wrap(critic)
    critic.linear = nn.Linear(2, 3)
    SpectralNorm().wrap(critic)
    assert "divides what is called weight, and not matrix" in caplog.text
