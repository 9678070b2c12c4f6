"""Algorithm 1 against a textbook written out here, and the invariants of its bookkeeping."""

import copy
import hashlib
from functools import partial

import numpy as np
import pytest
import torch
from conftest import DCGAN_CRITIC, DCGAN_GENERATOR, PENALTY, Points, small_trainer
from torch import nn
from torch.autograd.function import once_differentiable

from wgangp.data.toy import gaussians25
from wgangp.losses import Wasserstein
from wgangp.machine import cpu, distributed
from wgangp.machine.cpu import bfloat16_is_faster
from wgangp.machine.device import choose_device, choose_precision
from wgangp.machine.seeds import seed_step
from wgangp.models import dcgan, mlp, real_plus_noise, resnet
from wgangp.observer import Observer
from wgangp.penalties import GradientPenalty, NoPenalty, Penalty, WeightClipping
from wgangp.trainer import update


def weights(module):
    return [p.detach().clone() for p in module.parameters()]


def test_ten_steps_equal_the_textbook():
    """Separate passes, autograd.grad(create_graph=True), Adam: the common way to write it, in float64."""
    ours = small_trainer(dataset=Points(torch.float64))
    for module in (ours.generator, ours.critic):
        module.double()
    torch.set_default_dtype(torch.float64)
    try:
        generator = mlp.Generator(shape=(2,), num_classes=0, nz=2, width=16, depth=2, output="auto")
        critic = mlp.Critic(shape=(2,), num_classes=0, width=16, depth=2, spectral=False, condition="auto")
        generator.load_state_dict(ours.generator.state_dict())
        critic.load_state_dict(ours.critic.state_dict())
        opt_g = torch.optim.Adam(generator.parameters(), lr=1e-3, betas=(0.0, 0.9))
        opt_c = torch.optim.Adam(critic.parameters(), lr=1e-3, betas=(0.0, 0.9))
        ours.ema.module.double()
        for step in range(10):
            seed_step(0, step)
            for i in range(3):
                real, _ = ours.dataset.batch(3 * step + i, 8)
                fake = generator(torch.randn(8, 2)).detach()
                alpha = torch.rand(8, 1)
                x = (real + alpha * (fake - real)).requires_grad_()
                (grad,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
                penalty = 10 * ((grad.norm(2, dim=1) - 1) ** 2).mean()
                opt_c.zero_grad()
                (critic(fake).mean() - critic(real).mean() + penalty).backward()
                opt_c.step()
            opt_g.zero_grad()
            (-critic(generator(torch.randn(8, 2))).mean()).backward()
            opt_g.step()
            ours.train_step()
    finally:
        torch.set_default_dtype(torch.float32)
    for a, b in zip(
        [*ours.generator.parameters(), *ours.critic.parameters()],
        [*generator.parameters(), *critic.parameters()],
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_every_critic_update_has_a_fresh_batch_and_steps_count_generator_updates(trainer):
    for _ in range(4):
        trainer.train_step()
    assert trainer.dataset.asked[1:] == list(range(12)) and trainer.step == 4
    assert trainer.critic_optimizer.state_dict()["state"][0]["step"] == 12
    assert trainer.generator_optimizer.state_dict()["state"][0]["step"] == 4


def test_each_update_moves_its_own_network_only(trainer, monkeypatch):
    seen = []

    def watch(params, optimizer, loss):
        before = weights(trainer.generator), weights(trainer.critic)
        original(params, optimizer, loss)
        moved = [
            any(not torch.equal(a, b) for a, b in zip(old, module.parameters(), strict=True))
            for old, module in zip(before, (trainer.generator, trainer.critic), strict=True)
        ]
        others = trainer.generator_params if params is trainer.critic_params else trainer.critic_params
        seen.append((*moved, [p.grad for p in others]))

    original = __import__("wgangp.trainer", fromlist=["update"]).update
    monkeypatch.setattr("wgangp.trainer.update", watch)
    trainer.train_step()
    assert [s[:2] for s in seen] == [(False, True)] * 3 + [(True, False)]
    assert all(grad is None for s in seen[:3] for grad in s[2])  # no generator gradients in the critic's updates


def test_the_generator_update_leaves_the_critics_gradients(trainer):
    trainer.train_step()
    before = [p.grad.clone() for p in trainer.critic_params]
    z = torch.randn(8, 2)
    trainer.generator_loss(z, torch.zeros(8, dtype=torch.long)).backward(inputs=trainer.generator_params)
    assert all(torch.equal(a, p.grad) for a, p in zip(before, trainer.critic_params, strict=True))


def test_looking_does_not_change_the_training():
    """Pictures, scores and measurements at any time: same weights, and BatchNorm's averages, afterwards."""
    data = {"shape": (1, 8, 8), "num_classes": 0}

    class Images(Points):
        shape = (1, 8, 8)

        def fetch(self, index, n):
            seed = torch.Generator().manual_seed(index)
            return torch.rand(n, *self.shape, generator=seed), torch.zeros(n, dtype=torch.long)

        held_out = fetch

    def make():
        torch.manual_seed(0)
        return small_trainer(
            dataset=Images(),
            generator=dcgan.Generator(**data, nz=3, width=4, norm="batch", **DCGAN_GENERATOR),
            critic=resnet.Critic(**data, width=4, norm="none", spectral=True, condition="auto"),
        )

    plain, watched = make(), make()
    for _ in range(3):
        plain.train_step()
        observer = Observer(watched, lambda generate: {})
        values = observer.measure(watched.train_step())
        observer.picture(), observer.evaluate(), observer.generate(3)
    assert {"validation/critic_loss", "critic/gradient_norm", "generator/weight_gradient_norm"} <= values.keys()
    a, b = plain.state(), watched.state()
    for part in ("generator", "critic", "ema"):
        assert all(torch.equal(v, b[part][k]) for k, v in a[part].items())


@pytest.mark.parametrize("fast", [{"precision": "bfloat16"}, {"compile": True}])
def test_other_precision_and_compilation_stay_close(fast):
    plain, other = small_trainer(), small_trainer(**fast)
    for _ in range(3):
        a, b = plain.train_step(), other.train_step()
    tolerance = 0.02 if "precision" in fast else 1e-4  # Adam turns the last bits of a gradient near 0 into a step
    for name, value in a.items():
        torch.testing.assert_close(b[name], value, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("compile", "message"),
    [
        (lambda f, **options: lambda *a: scaled(f(*a)), "compiled gradients differ"),
        (lambda f, **options: lambda *a: 1 / 0, "compiling failed"),
    ],
)
def test_a_wrong_compiler_is_found_out_and_said(monkeypatch, caplog, compile, message):
    """Gradients one per cent off, or no compiler at all: the run stays eager, and equals an eager one."""
    monkeypatch.setattr(torch, "compile", compile)
    eager, other = small_trainer(), small_trainer(compile=True)
    assert message in caplog.text and "so this run is not compiled" in caplog.text
    for _ in range(2):
        eager.train_step(), other.train_step()
    assert all(torch.equal(a, b) for a, b in zip(weights(eager.critic), weights(other.critic), strict=True))


def scaled(result):
    gradients, logs = result
    return [1.01 * g for g in gradients], logs


def test_gradients_of_another_memory_layout_move_the_right_weights():
    """As a compiler may return them: fused optimizers pair numbers by their place in memory."""
    gradient, moved = torch.randn(4, 3, 5, 5), []
    for layout in (torch.contiguous_format, torch.channels_last):
        weight = nn.Parameter(torch.zeros(4, 3, 5, 5).to(memory_format=layout))
        update([weight], torch.optim.Adam([weight], fused=True), [gradient])
        moved.append(weight.detach())
    assert torch.equal(*moved)


def test_linear_decay_reaches_zero_and_scales_both():
    trainer = small_trainer(lr_decay="linear", steps=4)
    rates = []
    for _ in range(4):
        trainer.train_step()
        rates.append(trainer.generator_optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([1e-3, 0.75e-3, 0.5e-3, 0.25e-3])
    assert trainer.critic_optimizer.param_groups[0]["lr"] == pytest.approx(0.25e-3)


def test_the_average_follows_its_formula():
    trainer = small_trainer(ema_decay=0.3)
    average = weights(trainer.ema.module)
    for step in range(6):
        trainer.train_step()
        decay = min(0.3, (1 + step) / (10 + step))
        average = [decay * a + (1 - decay) * p for a, p in zip(average, weights(trainer.generator), strict=True)]
    for a, b in zip(average, trainer.ema.module.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_weight_clipping_holds_after_every_update():
    trainer = small_trainer(penalty=WeightClipping(clip=0.01))
    trainer.train_step()
    assert all(p.abs().max() <= 0.01 for p in trainer.critic.parameters())


def test_a_generator_held_at_real_points_plus_noise():
    """gan_toy.py's FIXED_GENERATOR: its samples have the data's distribution widened by a unit Gaussian."""
    held = real_plus_noise.Generator(shape=(2,), num_classes=0, dataset=gaussians25)
    trainer = small_trainer(
        dataset=gaussians25(seed=0, device=torch.device("cpu")),
        generator=held,
        generator_optimizer=partial(torch.optim.Adam, lr=0.0),
    )
    for _ in range(5):
        trainer.train_step()
    assert held.scale.item() == 1
    x = held(torch.randn(50_000, 2))
    real = trainer.dataset.batch(0, 100_000)[0]
    torch.testing.assert_close(x.var(0), real.var(0) + 1, rtol=0.03, atol=0)


def test_the_hash_of_a_step_fills_the_whole_generator():
    """The numbers are those of numpy's Mersenne Twister in the state hashed from (seed, step, purpose)."""
    digest = hashlib.shake_256(b"3/70000/train").digest(8 + 4 * 624)
    theirs = np.random.RandomState()
    theirs.set_state(("MT19937", np.frombuffer(digest[8:], "<u4"), 624))
    seed_step(3, 70000)
    raw = theirs.randint(0, 1 << 32, size=1000, dtype=np.uint32)
    assert torch.rand(1000).tolist() == ((raw % (1 << 24)) / (1 << 24)).tolist()


def test_the_held_generator_adds_noise_to_the_reals_of_the_update(monkeypatch):
    held = real_plus_noise.Generator(shape=(2,), num_classes=0, dataset=gaussians25)
    trainer = small_trainer(dataset=gaussians25(seed=0, device=torch.device("cpu")), generator=held)
    seen = []
    loss = trainer.critic_loss
    monkeypatch.setattr(trainer, "critic_loss", lambda *parts: (seen.append(parts[1:3]), loss(*parts))[1])
    z, fetched = trainer.noise(8), trainer.dataset.fetch(3, 8)
    trainer.critic_gradients(True, z, *fetched)
    ((real, fake),) = seen
    assert torch.equal(real, trainer.dataset.make(*fetched)[0]) and torch.equal(fake, real + z)


def test_lazy_penalty_acts_every_second_update():
    lazy = GradientPenalty(**(PENALTY | {"interval": 2}))
    trainer = small_trainer(penalty=lazy)
    real, y = trainer.dataset.batch(0, 8)
    fake = trainer.generator(trainer.noise(8), y).detach()
    seed_step(0, 0)
    loss, logs = trainer.critic_loss(trainer.critic, real, fake, y, penalised=True)
    plain, unpenalised = trainer.critic_loss(trainer.critic, real, fake, y, penalised=False)
    assert "critic/penalty" not in unpenalised and [lazy.due(i) for i in range(3)] == [True, False, True]
    torch.testing.assert_close(loss, plain + 2 * logs["critic/penalty"])
    torch.testing.assert_close(logs["critic/loss"], plain + logs["critic/penalty"])  # as without an interval


@pytest.mark.parametrize(("n_critic", "interval"), [(2, 4), (5, 4), (5, 16), (3, 7)])
def test_a_lazy_penalty_is_logged_at_every_step(n_critic, interval):
    """Its last value, whichever update a log step falls on; also after resuming."""
    lazy = {"penalty": GradientPenalty(**(PENALTY | {"interval": interval})), "n_critic": n_critic}
    trainer = small_trainer(**lazy)
    values = [trainer.train_step()["critic/penalty"].item() for _ in range(8)]
    penalised_steps = {update // n_critic for update in range(0, 8 * n_critic, interval)}
    assert all(value > 0 for value in values) and len(set(values)) == len(penalised_steps)
    resumed = small_trainer(**lazy)
    resumed.load_state(trainer.state())
    assert resumed.logs["critic/penalty"] == values[-1]


def test_what_a_lazy_penalty_logged_is_kept_where_graphs_share_their_memory():
    """A replay of an unpenalised step may write where the graph of a penalised one has left its results."""
    trainer = small_trainer(penalty=GradientPenalty(**(PENALTY | {"interval": 2})), n_critic=1)
    result = {"critic/loss": torch.tensor(0.0), "critic/penalty": torch.tensor(0.0)}

    def updates(penalised, batches):
        for value in result.values():
            value.fill_(1.0 if any(penalised) else torch.nan)
        return dict(result) if any(penalised) else {"critic/wasserstein": torch.tensor(2.0)}

    trainer.functions = trainer.functions._replace(updates=updates)
    trainer.train_step()
    logs = trainer.train_step()
    assert {name: value.item() for name, value in logs.items()} == dict.fromkeys(result, 1) | {"critic/wasserstein": 2}


@pytest.mark.parametrize("classes", [0, 3])
def test_conditional_training_uses_the_labels(classes):
    class Labelled(Points):
        num_classes = 3

        def fetch(self, index, n):
            return super().fetch(index, n)[0], torch.arange(n) % 3

    trainer = small_trainer(
        dataset=Labelled(),
        generator=mlp.Generator(shape=(2,), num_classes=classes, nz=2, width=8, depth=1, output="auto"),
        critic=mlp.Critic(shape=(2,), num_classes=classes, width=8, depth=1, spectral=False, condition="auto"),
        penalty=NoPenalty(),
    )
    real, y = trainer.dataset.batch(0, 9)
    fake = trainer.generator(torch.randn(9, 2), y)
    loss, logs = trainer.critic_loss(trainer.critic, real, fake, y, penalised=False)
    entropy = nn.functional.cross_entropy(trainer.critic(real)[:, 1:], y) if classes else torch.tensor(0.0)
    torch.testing.assert_close(loss + logs["critic/wasserstein"], entropy)
    trainer.train_step()


def test_batchnorm_critic_is_refused_with_a_penalty_and_judged_apart_without():
    data = {"shape": (1, 16, 16), "num_classes": 0}
    networks = {
        "generator": dcgan.Generator(**data, nz=3, width=4, norm="none", **DCGAN_GENERATOR),
        "critic": dcgan.Critic(**data, width=4, norm="batch", spectral=False, **DCGAN_CRITIC),
    }
    with pytest.raises(ValueError, match=r"critic\.norm=layer"):
        small_trainer(**networks)
    trainer = small_trainer(**networks, penalty=WeightClipping(clip=0.01))
    real, fake = torch.rand(2, 4, 1, 16, 16)
    apart = trainer.critic_outputs(trainer.critic, real, fake)
    torch.testing.assert_close(apart[0], trainer.critic(real))


def test_state_goes_on_bit_for_bit():
    whole, first, second = small_trainer(), small_trainer(), small_trainer(seed=0)
    for _ in range(6):
        whole.train_step()
    for _ in range(2):
        first.train_step()
    second.load_state(first.state())
    for _ in range(4):
        logs = second.train_step()
    assert second.step == 6 and logs["critic/loss"].isfinite()
    for a, b in zip(weights(whole.generator), weights(second.generator), strict=True):
        assert torch.equal(a, b)


class Counting(torch.optim.SGD):
    """Keeps its own count in the groups of weights, as schedule-free optimizers do; the biases have a rate of 0."""

    def __init__(self, params, lr):
        params = list(params)
        biases, others = ([p for p in params if (p.ndim < 2) == of_bias] for of_bias in (True, False))
        super().__init__([{"params": biases, "lr": 0.0}, {"params": others, "lr": lr}], lr=lr)
        for group in self.param_groups:
            group["count"] = 0

    def step(self, closure=None):
        for group in self.param_groups:
            group["count"] += 1
            for p in group["params"]:
                p.data.add_(p.grad, alpha=-float(group["lr"]) / group["count"])


def test_own_optimizers_keep_their_rates_and_what_they_count():
    make = partial(small_trainer, generator_optimizer=partial(Counting, lr=0.01), lr_decay="linear")
    whole, first, second = make(), make(), make()
    before = copy.deepcopy(whole.generator)
    for _ in range(4):
        whole.train_step()
    for _ in range(2):
        first.train_step()
    second.load_state(copy.deepcopy(first.state()))
    for _ in range(2):
        second.train_step()
    for a, b, start in zip(*map(weights, (whole.generator, second.generator, before)), strict=True):
        assert torch.equal(a, b) and torch.equal(a, start) == (a.ndim < 2)


class Own(torch.optim.Optimizer):
    """Needs what its constructor has set, has state in its state_dict, and two kinds of groups, as hybrids do."""

    def __init__(self, params, lr):
        params = list(params)
        matrices, others = ([p for p in params if (p.ndim > 1) == wanted] for wanted in (True, False))
        super().__init__([{"params": matrices, "kind": "matrix"}, {"params": others, "kind": "vector"}], {"lr": lr})
        self.every = 1

    def state_dict(self):
        return super().state_dict() | {"every": self.every}

    def load_state_dict(self, state):
        self.every = state.pop("every") + 1
        super().load_state_dict(state)

    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                assert p.ndim > 1 or group["kind"] == "vector"
                self.state[p][group["kind"]] = torch.ones_like(p) * self.every
                p.data.sub_(1e-4 * p.grad)


def test_own_optimizers_of_any_make_are_loaded():
    first, second = (small_trainer(critic_optimizer=partial(Own, lr=1e-3)) for _ in range(2))
    first.train_step()
    second.load_state(copy.deepcopy(first.state()))
    assert second.critic_optimizer.every == 2
    kinds = [set(second.critic_optimizer.state[p]) for p in second.critic_params]
    assert kinds == [{"matrix" if p.ndim > 1 else "vector"} for p in second.critic_params]


def test_a_checkpoint_with_other_trained_weights_is_refused():
    first, critic = small_trainer(), small_trainer().critic
    first.train_step()
    next(critic.parameters()).requires_grad_(False)
    with pytest.raises(ValueError, match=r"critic_optimizer does not fit .* other numbers of trained weights"):
        small_trainer(critic=critic).load_state(first.state())


def test_frozen_weights_stay_and_the_others_learn():
    critic = mlp.Critic(shape=(2,), num_classes=0, width=16, depth=2, spectral=False, condition="auto")
    first, *others = critic.parameters()
    first.requires_grad_(False)
    before = [p.clone() for p in (first, *others)]
    trainer = small_trainer(critic=critic)
    trainer.train_step()
    moved = [not torch.equal(p, old) for p, old in zip((first, *others), before, strict=True)]
    assert not moved[0] and sum(moved) >= len(others) - 1  # the last bias has no gradient


@pytest.mark.parametrize("name", ["generator", "critic"])
def test_a_network_with_no_weights_to_train_is_refused(name):
    network = getattr(small_trainer(), name).requires_grad_(False)
    with pytest.raises(ValueError, match=f"the {name} has no weights .*{name}_optimizer.lr=0"):
        small_trainer(**{name: network})


class Returns(nn.Module):
    """A network that returns function(its output)."""

    def __init__(self, network, function):
        super().__init__()
        self.network, self.function, self.nz, self.num_classes = network, function, 2, 0

    def forward(self, *inputs):
        return self.function(self.network(*inputs))


@pytest.mark.parametrize(
    ("part", "function", "said"),
    [
        ("generator", lambda x: (x, x), "the generator returns a tuple for 8 latents: make it return \\(8, 2\\)"),
        ("generator", lambda x: x[:3], "the generator returns \\(3, 2\\) for 8 latents"),
        ("generator", lambda x: x[:, :1], "the generator returns \\(8, 1\\) for 8 latents"),
        ("critic", lambda x: {"score": x}, "the critic returns a dict: make it return a tensor"),
        ("critic", lambda x: (x, x), "the critic returns a tuple: make it return a tensor"),
    ],
)
def test_networks_that_return_other_things_are_told_so(part, function, said):
    network = getattr(small_trainer(), part)
    trainer = small_trainer(**{part: Returns(network, function)})
    with pytest.raises(ValueError, match=said):
        trainer.train_step()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_scripted_code_that_the_trainer_would_change_is_refused():
    scripted = torch.jit.script(nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Linear(8, 1)))
    with pytest.raises(ValueError, match=r"the critic is scripted as a whole by torch.jit: give the network itself"):
        small_trainer(critic=scripted, penalty=NoPenalty())
    with pytest.raises(ValueError, match=r"the critic has BatchNorm that torch.jit has scripted: leave it out"):
        small_trainer(critic=nn.Sequential(scripted), penalty=NoPenalty())


class Changed(Penalty):
    """A penalty whose terms are changed by `change`."""

    def __init__(self, change):
        super().__init__()
        self.change = change

    def terms(self, critic, real, fake):
        return self.change(*super().terms(critic, real, fake))


class ChangedLoss(Wasserstein):
    def __init__(self, change):
        self.change = change

    def critic(self, real, fake):
        return self.change(super().critic(real, fake))


class ChangedData(Points):
    def __init__(self, change):
        super().__init__()
        self.change = change

    def make(self, *fetched):
        return self.change(*super().make(*fetched))


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"penalty": Changed(lambda p, norm: p)}, "penalty's terms return one number: make them the penalty and"),
        ({"penalty": Changed(lambda p, norm: (1.0, norm))}, "the penalty returns a float: make it return a scalar"),
        ({"penalty": Changed(lambda p, norm: (p, norm.expand(8)))}, r"the penalty, as norm, returns \(8,\): make it"),
        (
            {"loss": ChangedLoss(lambda loss: loss.item())},
            "the critic's loss returns a float: make it return a scalar tensor",
        ),
        ({"loss": ChangedLoss(lambda loss: loss.expand(8))}, r"the critic's loss returns \(8,\): make it return a"),
        ({"dataset": ChangedData(lambda x, y: x)}, r"the dataset makes \(8, 2\): make it return samples and labels"),
        ({"dataset": ChangedData(lambda x, y: (x[:, :1], y))}, r"makes samples \(8, 1\): make them \(8, 2\), batch"),
        ({"dataset": ChangedData(lambda x, y: (x.double(), y))}, "makes samples of torch.float64: make them torch.flo"),
        ({"dataset": ChangedData(lambda x, y: (x, y.double()))}, "makes conditions of torch.float64: make them torch"),
    ],
)
def test_parts_that_return_other_things_are_told_so(parts, said):
    """A loss that is a plain number was left out of the gradient without a word."""
    with pytest.raises(ValueError, match=said):
        small_trainer(**parts).train_step()


def test_numbers_that_are_missing_and_sizes_that_are_not_known_are_told_so():
    with pytest.raises(ValueError, match=r"makes samples or conditions that are missing \(NaN\) or infinite"):
        small_trainer(dataset=ChangedData(lambda x, y: (x * torch.nan, y)))
    with pytest.raises(ValueError, match=r"the critic has a layer of torch\.nn\.Lazy.*whose size is not known yet"):
        small_trainer(critic=nn.Sequential(nn.LazyLinear(8), nn.ReLU(), nn.Linear(8, 1)))


class Classes(ChangedData):
    """Points of three classes."""

    num_classes = 3


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (torch.arange(8) % 3 + 1, "labels from 1 to 3, and num_classes is 3: number the classes from 0"),
        (torch.arange(8) % 3 - 1, "labels from -1 to 1"),
        ((torch.arange(8) % 3).int(), r"labels \(8,\) of torch.int32: make them \(8,\) of torch.int64"),
        ((torch.arange(8) % 3)[:, None], r"labels \(8, 1\) of torch.int64"),
        ((torch.arange(8) % 3).float(), r"labels \(8,\) of torch.float32"),
    ],
)
def test_labels_of_other_kinds_are_told_so(labels, said):
    with pytest.raises(ValueError, match=said):
        conditional_trainer(Classes(lambda x, y: (x, labels)))
    small_trainer(dataset=Classes(lambda x, y: (x, labels))).train_step()  # nothing reads them


def conditional_trainer(dataset):
    generator = mlp.Generator(shape=(2,), num_classes=3, nz=2, width=8, depth=2, output="auto")
    critic = mlp.Critic(shape=(2,), num_classes=3, width=8, depth=2, spectral=False, condition="auto")
    return small_trainer(dataset=dataset, generator=generator, critic=critic)


def test_names_of_classes_and_what_is_fetched_are_looked_at(monkeypatch):
    data = Classes(lambda x, y: (x, torch.arange(8) % 3))
    data.class_names = ("a", "b")
    with pytest.raises(ValueError, match="2 class_names, and num_classes is 3: name each class"):
        conditional_trainer(data)
    monkeypatch.setattr(data, "fetch", lambda index, n: torch.zeros(n))
    with pytest.raises(ValueError, match=r"fetches \(8,\): make fetch return a tuple of what make takes"):
        small_trainer(dataset=data)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda g: g.double(), "weights of torch.float64: make them torch.float32"),
        (lambda g: g.bfloat16(), "weights of torch.bfloat16"),
        (lambda g: normed(g, torch.nn.utils.spectral_norm), "take torch.nn.utils.parametrizations.spectral_norm"),
    ],
)
def test_generators_that_cannot_be_trained_or_copied_are_refused(change, said):
    with pytest.raises(ValueError, match=said):
        small_trainer(generator=change(small_trainer().generator))


def test_a_generator_may_have_a_part_of_another_dtype_that_it_casts_itself():
    class Mixed(nn.Module):
        nz, num_classes = 2, 0

        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(2, 4), nn.Linear(4, 2).bfloat16()

        def forward(self, z, y=None):
            return self.last(self.first(z).bfloat16()).float()

    small_trainer(generator=Mixed(), ema_decay=0.0).train_step()
    with pytest.raises(ValueError, match=r"weights of torch.bfloat16, too coarse for an average to follow"):
        small_trainer(generator=Mixed(), ema_decay=0.999)


@pytest.mark.parametrize("moves", [True, False])
def test_a_buffer_that_moves_and_is_not_saved_is_told(moves, caplog):
    class Shifted(mlp.Generator):
        def forward(self, z, y=None):
            x = super().forward(z, y)
            if self.training and moves:
                self.shift += 0.1
            return x + self.shift

    generator = Shifted(shape=(2,), num_classes=0, nz=2, width=16, depth=2, output="auto")
    generator.register_buffer("shift", torch.zeros(2), persistent=False)
    trainer = small_trainer(generator=generator)
    for _ in range(2):
        trainer.train_step()
        trainer.state()
    assert caplog.text.count("generator.shift changes, and no checkpoint has it") == moves


class Square(torch.autograd.Function):
    """A kernel without a second derivative, as most that people write."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        return 2 * ctx.saved_tensors[0] * gradient


class Attending(nn.Module):
    """Attention over the coordinates, by a kernel without a second derivative."""

    def __init__(self):
        super().__init__()
        self.query, self.out = nn.Linear(1, 8), nn.Linear(8, 1)

    def forward(self, x):
        q = self.query(x[:, None, :, None])  # (n, 1, 2, 8)
        return self.out(nn.functional.scaled_dot_product_attention(q, q, q)).mean((1, 2))


class Squared(nn.Sequential):
    def forward(self, x):
        return self[1](Square.apply(self[0](x)))


@pytest.mark.parametrize(
    ("critic", "message"),
    [
        (lambda: Squared(nn.Linear(2, 4), nn.Linear(4, 1)), "once_differentiable, without the second derivative"),
        (Attending, r"without the second derivative .* within torch.nn.attention.sdpa_kernel"),
    ],
)
def test_a_critic_without_second_derivatives_is_refused_by_penalties_alone(critic, message):
    """torch leaves out a part of the gradient where a function is once_differentiable."""
    with pytest.raises(ValueError, match=message):
        small_trainer(critic=critic()).train_step()
    small_trainer(critic=critic(), penalty=WeightClipping(clip=0.1)).train_step()


class Labelled(Points):
    num_classes = 2

    def make(self, *fetched):
        x, _ = super().make(*fetched)
        return x, torch.arange(len(x)) % 2


def test_a_critic_that_knows_nothing_of_the_labels_is_refused():
    def trainer(outputs):
        generator = mlp.Generator(shape=(2,), num_classes=2, nz=2, width=16, depth=2, output="auto")
        return small_trainer(dataset=Labelled(), generator=generator, critic=nn.Linear(2, outputs))

    trainer(3).train_step()
    with pytest.raises(ValueError, match=r"knows nothing of the labels: make it return \(16, 3\), with class logits"):
        trainer(1).train_step()


def normed(network, norm):
    norm(next(module for module in network.modules() if isinstance(module, nn.Linear)))
    return network


def test_complex_weights_need_an_optimizer_that_is_not_fused():
    def critic():
        network = small_trainer().critic
        network.phase = nn.Parameter(torch.ones(3, dtype=torch.complex64))
        return network

    with pytest.raises(ValueError, match="fused=true takes no complex weights: set it to false"):
        small_trainer(critic=critic(), critic_optimizer=partial(torch.optim.Adam, fused=True))
    small_trainer(critic=critic(), critic_optimizer=torch.optim.Adam)


def test_an_optimizer_that_needs_a_closure_is_refused():
    with pytest.raises(ValueError, match="LBFGS computes the loss several times a step: choose another optimizer"):
        small_trainer(critic_optimizer=torch.optim.LBFGS)


def test_states_of_networks_keep_the_versions_of_their_modules():
    """By which torch's modules read states of older versions."""
    critic = small_trainer().critic
    state = small_trainer(critic=critic).state()
    assert state["critic"]._metadata == critic.state_dict()._metadata != {}


def test_checkpoint_of_another_architecture_is_refused():
    other = small_trainer(
        critic=mlp.Critic(shape=(2,), num_classes=0, width=9, depth=2, spectral=False, condition="auto")
    )
    with pytest.raises(ValueError, match="critic does not fit"):
        small_trainer().load_state(other.state())


def test_devices():
    assert choose_device("cpu").type == "cpu" and choose_device("auto").type in ("cpu", "cuda", "mps")
    with pytest.raises(ValueError, match="device=tpu"):
        choose_device("tpu")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match=r"device=cuda: torch .* finds no such device"):
            choose_device("cuda")


@pytest.fixture
def two_gpus(monkeypatch):
    """A machine with two GPUs, as far as the choice of a device asks; returns the list of current devices."""
    current = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    monkeypatch.setattr("wgangp.machine.device.check_double_backward", lambda device: current.append(str(device)))
    return current


def test_the_chosen_gpu_is_current_before_anything_touches_cuda(two_gpus, monkeypatch):
    for name, job, index in (("cuda:1", None, 1), ("auto", None, 0), ("auto", 3, 1), ("cuda", None, 0)):
        assert choose_device(name, job) == torch.device("cuda", index)
        assert two_gpus == [index, f"cuda:{index}"]
        two_gpus.clear()
    with pytest.raises(ValueError, match="device=cuda:2: this machine has 2 GPUs"):
        choose_device("cuda:2")
    monkeypatch.setattr(distributed, "WORLD_SIZE", 2)
    for processes, rank in ((2, 1), (3, 0)):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
        monkeypatch.setenv("LOCAL_RANK", str(rank))
        if processes == 2:
            assert choose_device("auto") == torch.device("cuda", 1)
        else:
            with pytest.raises(ValueError, match="torchrun started 3 processes here, and each needs one of 2 GPUs"):
                choose_device("auto")
    assert choose_device("cpu") == torch.device("cpu")


def test_a_busy_gpu_is_said_and_not_passed_over(two_gpus, monkeypatch, caplog):
    def check(device):
        if device.type == "cuda":
            raise error

    monkeypatch.setattr("wgangp.machine.device.check_double_backward", check)
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 MiB\nmore")
    for name in ("auto", "cuda:0"):
        with pytest.raises(ValueError, match=r"cannot be used \(CUDA out of memory. Tried to allocate 2 MiB\): free"):
            choose_device(name)
    error = NotImplementedError("no second derivatives")
    assert choose_device("auto").type != "cuda" and "cannot differentiate a gradient penalty" in caplog.text
    with pytest.raises(ValueError, match="cannot differentiate"):
        choose_device("cuda")


def test_precision_by_the_gpu(monkeypatch):
    cpu, gpu = torch.device("cpu"), torch.device("cuda", 0)
    for capability, chosen in (((7, 5), "float32"), ((8, 0), "tf32"), ((9, 0), "tf32")):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, c=capability: c)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, c=capability: c >= (8, 0))
        assert choose_precision("auto", gpu) == chosen and choose_precision("float32", gpu) == "float32"
        if capability < (8, 0):
            with pytest.raises(ValueError, match="only emulates it"):
                choose_precision("bfloat16", gpu)
        else:
            assert choose_precision("bfloat16", gpu) == "bfloat16"
    assert choose_precision("auto", cpu) == "float32" and choose_precision("bfloat16", cpu) == "bfloat16"
    monkeypatch.setattr("wgangp.machine.device.bfloat16_is_faster", lambda: True)
    assert choose_precision("auto", cpu) == "float32" and choose_precision("auto", cpu, axes=2) == "bfloat16"
    assert choose_precision("auto", cpu, axes=3) == "float32"
    with pytest.raises(ValueError, match="3-D convolutions can be wrong"):
        choose_precision("bfloat16", cpu, axes=3)


@pytest.mark.parametrize(("half", "faster"), [(0.6, True), (0.8, False), (3.0, False)])
def test_bfloat16_counts_as_faster_from_two_thirds_of_the_time(monkeypatch, half, faster):
    times = iter([1.0, half])  # float32, bfloat16
    monkeypatch.setattr(cpu, "fastest", lambda work: work() is None or next(times))
    assert bfloat16_is_faster.__wrapped__() is faster


@pytest.mark.gpu
@pytest.mark.parametrize("fast", [{}, {"compile": True}, {"precision": "bfloat16"}])
def test_cuda_trains_as_the_cpu_does(fast):
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")

    class OnDevice(Points):
        def fetch(self, index, n):
            return tuple(t.cuda() for t in super().fetch(index, n))

    trainer = small_trainer(dataset=OnDevice(), device=torch.device("cuda"), **fast)
    for _ in range(20):
        logs = trainer.train_step()
    assert all(value.isfinite() for value in logs.values())
