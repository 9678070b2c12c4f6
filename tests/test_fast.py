"""The fast path has the textbook's gradients: one pass, products for masks, torch.func.grad, bfloat16, the compiler."""

import math
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import DCGAN_CRITIC, DCGAN_GENERATOR, PENALTY, Points, composed, small_trainer
from textbook import stock_layers
from torch import nn
from torch._dynamo.backends.common import aot_autograd
from torch._functorch.aot_autograd import make_boxed_func
from torch._inductor.decomposition import select_decomp_table

from wgangp.app.build import is_worth_compiling
from wgangp.machine.compile import compile_if_equal, largest_difference, relative_difference, undisturbed
from wgangp.machine.convolutions import Convolutions, is_giant
from wgangp.machine.device import lay_out, memory_format
from wgangp.machine.seeds import seed_step
from wgangp.models import dcgan, mlp, resnet, resnet101
from wgangp.penalties import GradientPenalty, Penalty, gradient_norm
from wgangp.speed import gradients, speed_up

DATA = {"shape": (3, 16, 16), "num_classes": 0}
CRITICS = {
    "mlp": lambda: mlp.Critic(**DATA, width=32, depth=3, spectral=False, condition="auto"),
    "dcgan": lambda: dcgan.Critic(**DATA, width=8, norm="none", spectral=False, **DCGAN_CRITIC),
    "dcgan layer": lambda: dcgan.Critic(**DATA, width=8, norm="layer", spectral=False, **DCGAN_CRITIC),
    "resnet": lambda: resnet.Critic(**DATA, width=8, norm="none", spectral=False, condition="auto"),
    "dcgan gated": lambda: dcgan.Critic(
        **DATA, width=8, norm="none", spectral=False, **(DCGAN_CRITIC | {"activation": "gated"})
    ),
    "resnet101": lambda: resnet101.Critic(
        **DATA, width=8, blocks=[1, 1, 1], norm="layer", shortcut_pixel="last", spectral=False
    ),
    "pyramid": lambda: resnet.PyramidCritic(
        **DATA, width=8, max_width=16, norm="layer", spectral=False, condition="auto"
    ),
}


class Images(Points):
    shape = DATA["shape"]

    def fetch(self, index, n):
        generator = torch.Generator().manual_seed(index)
        return torch.rand(n, *self.shape, generator=generator, dtype=self.dtype) * 2 - 1, torch.zeros(n).long()


@pytest.fixture
def float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def trainer_with(critic, **changes):
    torch.manual_seed(0)
    generator = dcgan.Generator(**DATA, nz=4, width=8, norm="batch", **DCGAN_GENERATOR)
    dataset = Images(torch.get_default_dtype())
    return small_trainer(dataset=dataset, generator=generator, critic=CRITICS[critic](), **changes)


def textbook_gradients(trainer):
    """Three passes, autograd.grad(create_graph=True), stock activations, and the same random numbers."""
    critic, generator = trainer.critic, trainer.generator
    seed_step(0, 0, "compile")
    real, _ = trainer.dataset.batch(0, 8)
    with stock_layers():
        fake = generator(trainer.noise(8)).detach()
        alpha = torch.rand(8, 1, 1, 1, dtype=real.dtype)
        x = (real + alpha * (fake - real)).requires_grad_()
        (grad,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
        penalty = 10 * ((grad.flatten(1).norm(2, dim=1) - 1) ** 2).mean()
        loss = critic(fake).mean() - critic(real).mean() + penalty
        gradients = torch.autograd.grad(loss, trainer.critic_params)
        loss = -critic(generator(trainer.noise(8))).mean()
        return [*gradients, *torch.autograd.grad(loss, trainer.generator_params)]


@pytest.mark.parametrize("critic", CRITICS)
def test_gradients_equal_the_textbooks_in_float64(critic, float64):
    trainer = trainer_with(critic)
    ours = gradients(trainer, trainer.critic_gradients, trainer.generator_gradients)
    for a, b in zip([g for of_call in ours for g in of_call], textbook_gradients(trainer), strict=True):
        assert (a - b).norm() <= 1e-10 * max(b.norm(), 1e-3)


@pytest.mark.parametrize("critic", CRITICS)
def test_channels_last_has_the_same_gradients(critic, float64):
    plain, other = trainer_with(critic), trainer_with(critic)
    for module in (other.generator, other.critic):
        module.to(memory_format=torch.channels_last)
    found = [gradients(t, t.critic_gradients, t.generator_gradients) for t in (plain, other)]
    assert largest_difference(*found) < 1e-12


@pytest.mark.parametrize("critic", ["dcgan", "resnet"])
def test_bfloat16_keeps_the_direction_of_the_critics_gradient(critic):
    found = []
    for precision in ("float32", "bfloat16"):
        trainer = trainer_with(critic, precision=precision)
        ours, _ = gradients(trainer, trainer.critic_gradients, trainer.generator_gradients)
        found.append(torch.cat([g.flatten() for g in ours]))
    assert torch.cosine_similarity(*found, dim=0) > 0.999


def test_compiled_functions_draw_the_random_numbers_of_eager_ones():
    """torch 2.11 reorders them."""
    x = torch.arange(8.0).reshape(4, 2)

    def draws():
        x_noisy = x + torch.rand_like(x)
        flipped = torch.where(torch.rand(4, 1) < 0.5, x_noisy.flip(1), x_noisy)
        return [flipped, torch.rand(4, 1) * flipped]

    def drawn(function):
        torch.manual_seed(0)
        return [function()]

    (compiled,) = compile_if_equal([draws], drawn, 0.0, torch.device("cpu"))
    assert compiled is not draws


def test_a_wrong_generator_gradient_is_seen_beside_a_large_one_of_the_critic():
    trainer = small_trainer(penalty=GradientPenalty(**PENALTY | {"weight": 1000.0}))
    right = gradients(trainer, *trainer.functions[:2])
    wrong = gradients(trainer, trainer.critic_gradients, lambda *a: ([0 * g for g in right[1]], {}))
    assert largest_difference(right, right) == 0 and largest_difference(right, wrong) == 1
    missing = [right[0], [g * math.nan for g in right[1]]]
    assert math.isnan(largest_difference(right, missing))  # and so not within a tolerance


def test_a_number_with_many_values_ends_the_compiled_run_and_not_the_training(caplog):
    trainer = small_trainer(penalty=Rising(), steps=30)
    speed_up(trainer, compile=True, cuda_graphs=False)
    for _ in range(20):
        trainer.train_step()
    assert trainer.logs["critic/penalty"] > 0 and "a number changes from step to step" in caplog.text


class Rising(Penalty):
    """A penalty whose weight is a plain number, another one in each step."""

    def begin(self, progress):
        self.weight = 1 + progress

    def terms(self, critic, real, fake):
        norm = gradient_norm(critic, real).mean()
        return self.weight * norm, norm


def steep(penalty, factor, compile):
    """A trainer whose critic has gradients above 1 when it is compiled, and `factor` times that afterwards."""
    trainer = small_trainer(penalty=penalty)
    matrices = [p for p in trainer.critic_params if p.ndim > 1]
    with torch.no_grad():
        torch._foreach_mul_(matrices, 4)
    speed_up(trainer, compile=compile, cuda_graphs=False)
    with torch.no_grad():
        torch._foreach_mul_(matrices, factor)
    return trainer


def test_two_compiled_runs_in_one_process_have_each_its_own_penalty():
    """Where the gradient's norm is above 1, the two-sided and the one-sided penalty are the same."""
    two, one = GradientPenalty(**PENALTY), GradientPenalty(**PENALTY | {"cost": "one_sided"})
    first, second = steep(two, 1, compile=True), steep(one, 0.05, compile=True)
    eager = steep(one, 0.05, compile=False)
    assert largest_difference(*(gradients(t, *t.functions[:2]) for t in (eager, second))) < 1e-5
    assert first.functions[0] != first.critic_gradients  # they are compiled
    assert second.functions[0] != second.critic_gradients


def test_updates_without_the_penalty_are_compiled_and_compared_before_the_run():
    trainer = small_trainer(compile=True, n_critic=2, penalty=GradientPenalty(**PENALTY | {"interval": 2}))
    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    trainer.train_step()
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == graphs > 0


@pytest.mark.parametrize(
    ("critic", "layout"), [("dcgan layer", torch.contiguous_format), ("resnet", torch.channels_last)]
)
def test_fifty_compiled_steps_follow_the_eager_ones(critic, layout, caplog, float64):
    """With the pass that CUDA gets, and in the layout that it has there."""
    eager, compiled = trainer_with(critic), trainer_with(critic)
    for network in (compiled.generator, compiled.critic):
        network.to(memory_format=layout)
    with torch._inductor.config.patch(post_grad_custom_pre_pass=Convolutions()):
        speed_up(compiled, compile=True, cuda_graphs=False)
    assert "so this run is not compiled" not in caplog.text and eager.functions[:2] != compiled.functions[:2]
    for _ in range(50):
        eager.train_step(), compiled.train_step()
    pairs = [[p.detach() for p in t.critic_params + t.generator_params] for t in (eager, compiled)]
    assert relative_difference(*pairs) < 1e-8


def passed_through(convolutions, gradients):
    """What the gradients are after the pass: of the compiler's graph, which torch's own kernels run."""

    def fw_compiler(module, example):
        convolutions(module.graph)
        module.recompile()
        return make_boxed_func(module)

    backend = aot_autograd(fw_compiler=fw_compiler, decompositions=select_decomp_table())
    with torch._dynamo.config.patch(trace_autograd_ops=True):
        return torch.compile(gradients, fullgraph=True, backend=backend)()


def penalty_gradients(critic):
    """A function that returns the gradients of a penalty of the critic's slope."""
    x = torch.randn(4, *DATA["shape"])

    def gradients():
        points = x.clone().requires_grad_()
        (slope,) = torch.autograd.grad(critic(points).sum(), points, create_graph=True)
        loss = (slope.flatten(1).norm(dim=1) - 1).square().mean()
        return torch.autograd.grad(loss, list(critic.parameters()), allow_unused=True, materialize_grads=True)

    return gradients


class Counted(Convolutions):
    """The pass that CUDA gets; `found` counts the giant kernels before it."""

    def __call__(self, graph):
        self.found = self.count(graph)
        super().__call__(graph)
        assert self.count(graph) == 0

    def count(self, graph):
        return sum(map(is_giant, graph.find_nodes(op="call_function", target=torch.ops.aten.convolution.default)))


@pytest.mark.parametrize(("critic", "giants"), [("dcgan layer", 1), ("resnet", 7)])
def test_giant_kernels_become_weight_gradients(critic, giants, float64):
    torch.manual_seed(0)
    counted, gradients = Counted(), penalty_gradients(CRITICS[critic]())
    assert relative_difference(list(gradients()), list(passed_through(counted, gradients))) < 1e-12
    assert counted.found == giants


class Asked(Convolutions):
    """Counts the tensors of weight gradients, and those that are laid out in channels last."""

    def __call__(self, graph):
        super().__call__(graph)
        nodes = graph.find_nodes(op="call_function", target=torch.ops.aten.convolution_backward.default)
        examples = [tensor.meta["val"] for node in nodes for tensor in node.args[:2]]
        self.tensors, self.last = len(examples), sum(x.stride(1) == 1 for x in examples)


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_convolutions_get_the_layout_of_the_network(layout, float64):
    """The mean's gradient is contiguous, whatever the network's layout is."""
    torch.manual_seed(0)
    asked, gradients = Asked(), penalty_gradients(CRITICS["resnet"]().to(memory_format=layout))
    assert relative_difference(list(gradients()), list(passed_through(asked, gradients))) < 1e-12
    assert asked.tensors > 6 and (asked.last == asked.tensors) == (layout == torch.channels_last)


PLATEAU = """
from conftest import small_trainer
from wgangp.machine.cpu import keep_freed_memory
from wgangp.observer import Observer

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

keep_freed_memory()
for compile in (False, True):
    trainer = small_trainer(batch_size=64, n_critic=1, compile=compile, steps=1000)
    observer = Observer(trainer, lambda generate: {})
    sizes = []
    for step in range(1000):
        logs = trainer.train_step()
        if step % 100 == 0:
            observer.measure(logs)
        if step >= 200:
            sizes.append(resident())
    print(max(sizes) - sizes[0])
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's account of a process's memory")
def test_memory_stays_flat_over_a_thousand_steps():
    """Eager and compiled: less than 3 kB more in a step, which is a tenth of a step's smallest activations."""
    command = [sys.executable, "-c", PLATEAU]
    result = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    assert "so this run is not compiled" not in result.stderr
    assert all(int(grown) < 800 * 3000 for grown in result.stdout.split()), result.stdout


def test_networks_lie_as_tensor_cores_want_them():
    cuda, cpu = torch.device("cuda"), torch.device("cpu")
    assert memory_format(3, cuda, "bfloat16") == torch.channels_last
    assert memory_format(4, cuda, "tf32") == torch.channels_last_3d
    others = [(3, cpu, "bfloat16"), (3, cuda, "float32"), (1, cuda, "tf32"), (2, cuda, "tf32")]
    assert {memory_format(*other) for other in others} == {torch.preserve_format}


def test_long_runs_are_compiled(monkeypatch):
    def compiles(*overrides):
        return is_worth_compiling(composed(*overrides), torch.device("cpu"))

    for possible in (True, False):
        monkeypatch.setattr("wgangp.app.build.has_cpp_compiler", lambda possible=possible: possible)
        assert compiles("steps=5000") == possible
        assert not compiles("steps=4999") and not compiles("steps=5000", "compile=false")
        assert compiles("steps=1", "compile=true")


def test_ctrl_c_does_not_reach_a_compiler():
    """It goes to all processes of a terminal; a compiler that it ends leaves cut files in torch's cache."""
    command = [sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGINT); print('whole')"]
    with undisturbed():
        assert subprocess.run(command, capture_output=True, text=True).stdout == "whole\n"
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, set())


def test_only_weights_of_convolutions_are_laid_out():
    """A weight of five axes beside images, as StyleGAN2 code has it, has no such layout."""
    network = nn.Module()
    network.conv, network.five = nn.Conv2d(3, 4, 3), nn.Parameter(torch.zeros(1, 8, 3, 3, 3))
    lay_out(network, 3, torch.channels_last)
    assert network.conv.weight.is_contiguous(memory_format=torch.channels_last) and network.five.is_contiguous()
    lay_out(network, 3, torch.preserve_format)
