"""Updates replayed as graphs equal eager ones; where there is no CUDA, graphs are emulated operation by operation."""

import math
import warnings
from contextlib import contextmanager, nullcontext
from functools import partial

import pytest
import torch
from conftest import DCGAN_GENERATOR, PENALTY, small_trainer
from test_fast import CRITICS, DATA, Images
from torch.torch_version import TorchVersion
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from wgangp.machine import distributed
from wgangp.machine.cuda_graphs import Constants, Replayed, copy_batches, make_capturable
from wgangp.machine.device import be_deterministic
from wgangp.models import dcgan
from wgangp.observer import Observer
from wgangp.optimizers import set_lr
from wgangp.penalties import GradientPenalty, Penalty, WeightClipping, gradient_norm
from wgangp.speed import as_graphs, speed_up


def tensors(*values):
    return [t for t in tree_leaves(values) if isinstance(t, torch.Tensor)]


def same_memory(value):
    return value.detach() if isinstance(value, torch.Tensor) else value


class Graph(TorchDispatchMode):
    """What a CUDA graph is, on the CPU: the operations on the very tensors that they had, to be done again.

    As there, numbers that Python computed are constants, a value read by Python breaks the capture, and the capture
    itself changes nothing.
    """

    def __init__(self):
        super().__init__()
        self.operations, self.before = [], {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError("operation not permitted when stream is capturing")
        for storage in (t.untyped_storage() for t in tensors(args, kwargs)):
            self.before.setdefault(storage.data_ptr(), (storage, storage.clone()))
        out = func(*args, **(kwargs or {}))
        self.operations.append(tree_map(same_memory, (func, args, kwargs or {}, out)))
        return out

    def undo(self):
        for storage, content in self.before.values():
            storage.copy_(content)

    @torch.no_grad()
    def replay(self):
        for func, args, kwargs, out in self.operations:
            inputs = {t.untyped_storage().data_ptr() for t in tensors(args, kwargs)}
            for old, new in zip(tensors(out), tensors(func(*args, **kwargs)), strict=True):
                if old.untyped_storage().data_ptr() not in inputs:
                    old.copy_(new)


class Stream:
    device = torch.device("cpu")

    def wait_stream(self, other):
        pass


@contextmanager
def capture(graph, **options):
    try:
        with graph:
            yield
    finally:
        graph.undo()


@pytest.fixture
def emulated(monkeypatch):
    for name, fake in {
        "Stream": Stream,
        "current_stream": Stream,
        "stream": lambda stream: nullcontext(),
        "device": lambda device: nullcontext(),
        "CUDAGraph": Graph,
        "graph": capture,
        "graph_pool_handle": object,
        "empty_cache": lambda: None,
        "get_rng_state": torch.get_rng_state,
        "set_rng_state": torch.set_rng_state,
    }.items():
        monkeypatch.setattr(torch.cuda, name, fake)


ADAM = partial(torch.optim.Adam, lr=1e-3, betas=(0.0, 0.9), fused=True)
CASES = {
    "penalty": {},
    "lazy penalty": {
        "penalty": GradientPenalty(**(PENALTY | {"points": "real", "cost": "zero_centred", "interval": 2}))
    },
    "clipping, decay": {"penalty": WeightClipping(clip=0.05), "lr_decay": "linear", "steps": 12},
}


def trainer_with(device="cpu", dataset=None, critic=None, **changes):
    torch.manual_seed(0)
    return small_trainer(
        dataset=Images() if dataset is None else dataset,
        generator=dcgan.Generator(**DATA, nz=4, width=4, norm="batch", **DCGAN_GENERATOR),
        critic=CRITICS["resnet"]() if critic is None else critic,
        generator_optimizer=ADAM,
        critic_optimizer=ADAM,
        device=torch.device(device),
        **changes,
    )


def replayed(trainer):
    assert make_capturable(trainer.optimizers, trainer.device)
    trainer.functions = trainer.functions._replace(updates=as_graphs(trainer))
    return trainer


class Rising(GradientPenalty):
    """A penalty whose weight is a plain number, another one in each step."""

    def begin(self, progress):
        self.factor = 1 + progress

    def terms(self, critic, real, fake):
        penalty, norm = super().terms(critic, real, fake)
        return self.factor * penalty, norm


def test_a_number_that_changes_ends_the_graphs_and_not_the_training(emulated, caplog):
    eager, fast = (trainer_with(penalty=Rising(**PENALTY)) for _ in range(2))
    replayed(fast)
    for _ in range(6):
        assert torch.equal(eager.train_step()["critic/loss"], fast.train_step()["critic/loss"])
    assert "Rising.factor changes from step to step" in caplog.text


class Weighted(Penalty):
    """(weight * (norm - 1))^2 at reals. Its weight is written anew in each way that Python knows."""

    per_sample = True

    def __init__(self, way):
        super().__init__()
        self.way, self.pair, self.tensor = way, [1.0, 2.0], torch.ones(())
        self.table, self.tensors = {"weights": [1.0, 2.0]}, [torch.ones(())]
        self.register_buffer("weight", torch.ones(()))

    def begin(self, progress):
        match self.way:
            case "buffer":
                self.weight = torch.full_like(self.weight, 1 + progress)
            case "filled buffer":
                self.weight.fill_(1 + progress)
            case "tensor":
                self.tensor = torch.tensor(1 + progress)
            case "list":
                self.pair[0] = 1 + progress
            case "inner list":
                self.table["weights"][0] = 1 + progress
            case "list of tensors":
                self.tensors[0] = torch.tensor(1 + progress)

    def terms(self, critic, real, fake):
        norm = gradient_norm(critic, real).mean()
        weight = self.weight * self.tensor * self.pair[0] * self.table["weights"][0] * self.tensors[0]
        return (weight * (norm - 1)).square(), norm

    def observe(self, norm):
        if self.way == "observed":
            self.weight = 0.9 * self.weight + 0.1 * norm


class Centred(torch.nn.Module):
    """A critic that subtracts a running mean, which it assigns, and drops out."""

    def __init__(self, moves):
        super().__init__()
        self.critic, self.dropout, self.moves = CRITICS["resnet"](), torch.nn.Dropout(0.0), moves
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, x):
        if self.training and self.moves:
            self.mean = 0.9 * self.mean + 0.1 * x.detach().mean()
        self.seen = x - self.mean  # kept for somebody's pictures
        return self.critic(self.dropout(self.seen))


def change(trainer, way, step):
    """What somebody's own loop, or data, may do between steps."""
    match way:
        case "dropout":
            trainer.critic.dropout.p = 0.1 * step
        case "augment":
            trainer.augment = ["color"] if step > 4 else []
        case "rate":
            for group in trainer.critic_optimizer.param_groups:
                group["lr"] = group["initial_lr"] = 1e-3 / (1 + step)
        case "rate in place":
            for group in trainer.critic_optimizer.param_groups:
                group["initial_lr"] = 1e-3 / (1 + step)
        case "decay":
            for group in trainer.critic_optimizer.param_groups:
                group["betas"] = (0.0, 0.9 - 0.1 * (step > 4))
        case "data":
            trainer.dataset.scale = 1 / (1 + step)
        case "epoch":
            trainer.dataset.epoch = step  # which make does not read


class Scaled(Images):
    scale = 1.0

    def make(self, *fetched):
        x, y = super().make(*fetched)
        return self.scale * x, y


OF_THE_PENALTY = ["filled buffer", "buffer", "tensor", "list", "inner list", "list of tensors", "observed"]
OF_THE_LOOP = ["rate in place", "rate", "decay", "dropout", "augment", "data", "epoch", "mean"]
IN_PLACE = {"filled buffer", "rate in place", "epoch"}


@pytest.mark.parametrize("way", OF_THE_PENALTY + OF_THE_LOOP)
def test_what_changes_between_steps_is_seen_by_the_graph_or_ends_it(emulated, caplog, way):
    def make():
        torch.manual_seed(0)
        trainer = trainer_with(critic=Centred(way == "mean"), penalty=Weighted(way), dataset=Scaled())
        trainer.dataset.scale = 1.0
        return trainer

    eager, fast = make(), replayed(make())
    for step in range(8):
        for trainer in (eager, fast):
            change(trainer, way, step)
        one, other = (trainer.train_step() for trainer in (eager, fast))
        assert all(torch.equal(one[name], other[name]) for name in one), (way, step)
    assert torch.equal(eager.critic.mean, fast.critic.mean)
    assert fast.functions.updates.possible == (way in IN_PLACE) != ("no CUDA graph" in caplog.text)


def test_counters_are_no_constants_and_a_nan_is_itself():
    penalty = Rising(**PENALTY)
    penalty.calls, penalty.factor = 0, math.nan
    constants = Constants([penalty])
    assert constants.changed() == ""
    penalty.calls = 1
    assert constants.changed().startswith("Rising.calls changes from step to step")
    penalty.counters = ("calls",)
    assert Constants([penalty, object()]).changed() == ""


def test_batches_of_other_shapes_are_refused_and_none_are_none():
    at = [(torch.zeros(8),), (torch.zeros(8),)]
    copy_batches(at, [(torch.ones(8),), (torch.ones(8),)])
    assert at[1][0].sum() == 8
    with pytest.raises(ValueError, match=r"the dataset's fetch returns \(1,\) after \(8,\): make all batches of one"):
        copy_batches(at, [(torch.ones(8),), (torch.ones(1),)])
    copy_batches([()], [()])


def watch(trainer):
    return Observer(trainer, lambda generate: {})


@pytest.mark.parametrize("case", CASES)
def test_replayed_steps_equal_eager_ones(case, emulated):
    eager, graph = trainer_with(**CASES[case]), replayed(trainer_with(**CASES[case]))
    for _ in range(12):
        a, b = eager.train_step(), graph.train_step()
        for name in a:
            torch.testing.assert_close(a[name], b[name], msg=name)
        assert watch(eager).measure(a)["critic/weight_gradient_norm"] == pytest.approx(
            watch(graph).measure(b)["critic/weight_gradient_norm"], rel=1e-5
        )
    graph.functions.updates.check()
    assert len(graph.functions.updates.graphs) == (2 if case == "lazy penalty" else 1)
    for module in ("generator", "critic", "ema"):
        for (name, p), q in zip(eager.state()[module].items(), graph.state()[module].values(), strict=True):
            torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.skipif(torch.__version__ < TorchVersion("2.13"), reason="a failed capture stops the run before torch 2.13")
def test_what_cannot_be_captured_is_launched(emulated, caplog):
    trainer, plain = replayed(trainer_with()), trainer_with()
    inner = trainer.functions.updates.function
    trainer.functions.updates.function = lambda *a: (logs := inner(*a))["critic/loss"].item() and logs
    for _ in range(5):
        trainer.train_step(), plain.train_step()
    for p, q in zip(trainer.critic_params, plain.critic_params, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-6)
    assert not trainer.functions.updates.graphs
    assert caplog.text.count("no CUDA graph, so kernels are launched one by one (operation not permitted") == 1


def test_a_weight_that_moved_is_found(emulated):
    """As after an assignment to p.data, or a copy of a GRU that flattens the live one's weights."""
    trainer = replayed(trainer_with())
    for _ in range(4):
        trainer.train_step()
    trainer.functions.updates.check()
    trainer.critic_params[0].data = trainer.critic_params[0].data.clone()
    with pytest.raises(RuntimeError, match="has moved in memory since its CUDA graph was captured"):
        trainer.functions.updates.check()


def test_an_empty_graph_is_an_error(emulated, monkeypatch):
    """As of kernels on another device than the current one: replays would train nothing."""

    @contextmanager
    def empty(graph, **options):
        yield
        warnings.warn("The CUDA Graph is empty. This usually means ...", stacklevel=2)

    monkeypatch.setattr(torch.cuda, "graph", empty)
    trainer = replayed(trainer_with())
    for _ in range(2):
        trainer.train_step()
    with pytest.raises(RuntimeError, match="a CUDA graph without kernels"):
        trainer.train_step()


@pytest.mark.parametrize(
    ("device", "wanted", "processes", "replayed"),
    [("cuda", True, 1, True), ("cuda", False, 1, False), ("cuda", True, 2, False), ("cpu", True, 1, False)],
)
def test_where_a_step_is_a_graph(device, wanted, processes, replayed, emulated, monkeypatch, caplog):
    monkeypatch.setattr(distributed, "WORLD_SIZE", processes)
    monkeypatch.setattr("wgangp.speed.make_capturable", lambda optimizers, device: True)
    caplog.set_level("INFO")
    trainer = trainer_with()
    trainer.device = torch.device(device)
    speed_up(trainer, compile=False, cuda_graphs=wanted)
    assert isinstance(trainer.functions.updates, Replayed) == replayed
    assert ("no CUDA graph with several processes" in caplog.text) == (processes == 2)


def test_an_optimizer_without_device_state_is_not_captured(caplog):
    parameters = [torch.nn.Parameter(torch.zeros(1))]
    assert not make_capturable([torch.optim.SGD(parameters, lr=0.1)], torch.device("cpu"))
    assert "SGD has no option capturable" in caplog.text


def test_learning_rates_on_the_device_are_set_in_place(monkeypatch):
    optimizer = ADAM([torch.nn.Parameter(torch.zeros(1))])
    make_capturable([optimizer], torch.device("cpu"))
    lr = optimizer.param_groups[0]["lr"]
    set_lr([optimizer], 0.5)
    assert optimizer.param_groups[0]["lr"] is lr and lr.item() == pytest.approx(5e-4)
    monkeypatch.setattr(torch.Tensor, "__float__", lambda x: pytest.fail("the host waits for the device"))
    set_lr([optimizer], 0.25)
    monkeypatch.undo()
    assert lr.item() == pytest.approx(2.5e-4)


def test_a_step_reads_nothing_back():
    """No value travels from the device to Python between log steps: a graph's capture would raise."""
    trainer = trainer_with()
    trainer.train_step()
    with Graph():
        trainer.train_step()
    with Graph(), pytest.raises(RuntimeError, match="not permitted"):
        watch(trainer).measure(trainer.train_step())


@pytest.mark.gpu
@pytest.mark.parametrize("case", CASES)
def test_cuda_graphs_equal_eager_steps(case):
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")

    class OnDevice(Images):
        def fetch(self, index, n):
            return tuple(t.cuda() for t in super().fetch(index, n))

    eager, graph = trainer_with("cuda", **CASES[case]), replayed(trainer_with("cuda", **CASES[case]))
    eager.dataset, graph.dataset = OnDevice(), OnDevice()
    be_deterministic(True)  # else the order of atomic sums: in a few steps, rounding becomes a hundredth of the losses
    try:
        for _ in range(11):  # of the 12 of the case with decay: the last is made below
            a, b = eager.train_step(), graph.train_step()
    finally:
        be_deterministic(False)
    assert graph.functions.updates.graphs
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-3, atol=1e-4, msg=name)
    saved = graph.state()
    graph.load_state(saved)
    assert torch.isfinite(graph.train_step()["critic/loss"])
