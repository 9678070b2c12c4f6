"""The benchmark runs, and its textbook step computes what ours does."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import textbook
import torch
from conftest import write_mnist

from wgangp.app.build import build
from wgangp.app.compose import load_config
from wgangp.metrics import Result
from wgangp.metrics.classifier import ResNet
from wgangp.penalties import gradient_norm

SCRIPT = Path(__file__).parents[1] / "scripts" / "benchmark.py"


def load_script():
    spec = importlib.util.spec_from_file_location("benchmark", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_table_and_json(tmp_path):
    arguments = [
        "--recipes",
        "gaussians25",
        "--precisions",
        "float32",
        "--rounds",
        "2",
        "--json",
        tmp_path / "figures.json",
        "--plot",
        tmp_path / "speeds.png",
    ]
    result = subprocess.run(
        [sys.executable, SCRIPT, *map(str, arguments)], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert result.stdout.count("| gaussians25 |") == 2
    assert (tmp_path / "speeds.png").stat().st_size > 5000
    textbook, eager = json.loads((tmp_path / "figures.json").read_text())
    assert textbook["critic_speedup"] == 1 and eager["critic_ms"][1] > 0
    assert 0 <= eager["data_wait_share"] < textbook["data_wait_share"] < 1
    assert eager["peak_memory_mib"] > 3 * 256 * 512 * 4 / 2**20  # at least the critic's activations
    assert eager["critic_gflop"] < 0.87 * textbook["critic_gflop"]  # ten forward passes instead of twelve


def test_stock_layers_reach_every_network():
    places = [vars(textbook.mlp), vars(textbook.resnet), textbook.layers.ACTIVATIONS]
    ours = [place.get(name) for place in places for name in textbook.STOCK]
    assert {f.__name__ for f in ours if f} == textbook.STOCK.keys()
    with textbook.stock_layers():
        stock = [place.get(name) for place in places for name in textbook.STOCK]
        assert not any(a is b for a, b in zip(ours, stock, strict=True) if a)
    assert ours == [place.get(name) for place in places for name in textbook.STOCK]


@pytest.mark.parametrize("recipe", ["mnist", "cifar10"])
def test_recipes_are_the_papers_sizes(recipe):
    benchmark = load_script()
    trainer = benchmark.trainer_of(recipe, "float32", False, torch.device("cpu"), n=64)
    sizes = {"mnist": (1_554_177, 1_030_145, 50, 5), "cifar10": (1_204_483, 1_053_825, 64, 5)}
    networks = (trainer.generator, trainer.critic)
    counts = [sum(p.numel() for p in network.parameters()) for network in networks]
    assert (*counts, trainer.batch_size, trainer.n_critic) == sizes[recipe]


def test_the_textbook_learns_at_our_rates():
    benchmark = load_script()
    trainer = benchmark.trainer_of("mnist", "float32", False, torch.device("cpu"), "critic_optimizer.lr=3e-4", n=64)
    book = textbook.Textbook(trainer)
    groups = [o.param_groups[0] for o in (book.generator_optimizer, book.critic_optimizer)]
    assert [(g["lr"], g["betas"]) for g in groups] == [(1e-4, (0.5, 0.9)), (3e-4, (0.5, 0.9))]
    assert [len(g["params"]) for g in groups] == [len(trainer.generator_params), len(trainer.critic_params)]


def test_programs_at_equal_time(tmp_path, monkeypatch, capsys):
    import equal_time

    programs = ["textbook", *(["jax"] if importlib.util.find_spec("jax") else []), "wgangp"]
    write_mnist(tmp_path / "MNIST" / "raw")
    torch.save({"state_dict": ResNet(1, 4, 1).state_dict()}, tmp_path / "c.pt")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    small = ["generator.width=2", "critic.width=2", "batch_size=10", "evaluation_samples=100", "compile=false"]
    data = ["dataset=mnist", f"dataset.root={tmp_path}", "dataset.download=false"]
    limits = ["--seconds", "1", "--moments", "2", "--seeds", "0", "1", "--classifier", "c.pt", "--programs", *programs]
    monkeypatch.setattr(sys, "argv", ["equal_time.py", *data, *small, *limits])
    equal_time.main()
    assert capsys.readouterr().out.count("| 2 |") == len(programs)
    rows = [line.split(",") for line in (tmp_path / "equal_time.csv").read_text().split()[1:]]
    assert [row[:2] for row in rows] == [[name, seed] for seed in "01" for name in programs for _ in "ab"]
    for first, second in zip(rows[::2], rows[1::2], strict=True):
        assert float(first[2]) >= 0.5 and float(second[2]) >= 1 and int(first[3]) <= int(second[3])
    assert (tmp_path / "equal_time.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("option", "answer"),
    [
        ("penalty=r1", "penalty: the textbook program has WGAN-GP and Adam alone"),
        ("optimizer@critic_optimizer=rmsprop", "critic_optimizer: the textbook program"),
        ("conditional=true", "conditional: the textbook program"),
    ],
)
def test_what_the_textbook_does_not_is_refused(option, answer):
    import equal_time

    with pytest.raises(ValueError, match=answer):
        equal_time.composed(["dataset=mnist", option], "wgangp", 0)
    assert equal_time.composed(["dataset=mnist", "penalty.weight=3"], "wgangp", 0).penalty.weight == 3


def test_scoring_leaves_the_random_numbers_alone(tmp_path):
    import equal_time

    write_mnist(tmp_path / "MNIST" / "raw")
    data = ["dataset=mnist", f"dataset.root={tmp_path}", "dataset.download=false"]
    small = ["generator.width=2", "critic.width=2", "batch_size=10", "evaluation_samples=100"]
    cfg = equal_time.composed([*data, *small], "wgangp", 0)
    device = torch.device("cpu")
    trainer = equal_time.make_trainer(cfg, equal_time.make_dataset(cfg, device), device)
    before = torch.get_rng_state()
    equal_time.frechet(trainer, cfg, lambda *given: Result({"classifier_frechet": 1.0}, {}))
    assert torch.equal(torch.get_rng_state(), before)


def test_the_costs_of_penalties():
    """Forwards, backwards and weights of reals and fakes: 6 passes; a gradient penalty has 4 more, r1_r2 8."""
    benchmark = load_script()
    lines = benchmark.penalties("gaussians25", torch.device("cpu"), rounds=2).splitlines()
    cost = {line.split("|")[1].strip(): float(line.split("|")[3]) for line in lines[2:]}
    assert cost["none"] == cost["weight_clipping"] == 1
    assert cost["wgan_gp"] == cost["r1"] == cost["max_gp"] and 1.5 < cost["wgan_gp"] < 1.75
    assert cost["finite_difference"] > cost["r1_r2"] > cost["wgan_gp"]  # two passes of both, forwards and backwards


@pytest.mark.parametrize("recipe", ["default", "mnist"])
def test_the_step_in_jax_has_our_losses_and_gradients(recipe):
    jax = pytest.importorskip("jax", reason="the extra bench")
    from jax_step import critic_loss, forward_of, weights_of

    trainer = load_script().trainer_of(recipe, "float32", False, torch.device("cpu"))
    real, z = trainer.dataset.batch(0, 8)[0], torch.randn(8, trainer.generator.nz)
    alpha = torch.rand(8, *[1] * (real.ndim - 1))
    fake = trainer.generator(z).detach()
    norms = gradient_norm(trainer.critic, real + alpha * (fake - real))
    penalty = trainer.penalty.weight * (norms - 1).square().mean()
    ours = trainer.critic(fake).mean() - trainer.critic(real).mean() + penalty
    gradients = torch.autograd.grad(ours, list(trainer.critic.parameters()), allow_unused=True)
    f, g = forward_of(trainer.critic, real), forward_of(trainer.generator, z)
    arrays = [jax.numpy.array(t.numpy()) for t in (real, fake, alpha)]
    critic, generator = weights_of(trainer.critic), weights_of(trainer.generator)
    theirs, found = jax.value_and_grad(critic_loss, argnums=1)(f, critic, *arrays, trainer.penalty.weight)
    assert theirs == pytest.approx(ours.item(), rel=1e-4)
    for (name, _), gradient in zip(trainer.critic.named_parameters(), gradients, strict=True):
        wanted = torch.zeros(()) if gradient is None else gradient
        assert torch.allclose(torch.tensor(np.array(found[name])), wanted, atol=1e-4 * wanted.abs().max().item() + 1e-5)
    theirs = -f(critic, g(generator, jax.numpy.array(z.numpy()))).mean()
    assert theirs == pytest.approx(trainer.generator_loss(z, torch.zeros(8).long()).item(), rel=1e-4)


@pytest.mark.parametrize("option", ["activation=relu", "norm=layer", "unit_range=true"])
def test_networks_that_the_step_in_jax_does_not_have_are_refused(option):
    pytest.importorskip("jax", reason="the extra bench")
    from jax_step import forward_of

    network = build(
        load_config("dataset=mnist", f"critic.{option}", "critic.width=4").critic, shape=(1, 28, 28), num_classes=0
    )
    with pytest.raises(ValueError, match="mlp and dcgan with their defaults"):
        forward_of(network, torch.randn(4, 1, 28, 28))
