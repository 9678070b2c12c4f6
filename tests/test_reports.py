"""What a run says of itself: TensorBoard's rows, the estimate on a CPU, and its threads."""

import logging
import re

import numpy as np
import pytest
import torch
from conftest import composed
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from test_commands import SMALL, TAGS, rows

from wgangp import progress
from wgangp.app import build
from wgangp.app.build import make_dataset, make_trainer, thread_count
from wgangp.app.paths import CONF
from wgangp.machine import cpu
from wgangp.progress import Progress, round_down
from wgangp.tags import HISTOGRAMS, IMAGES, SCALARS, VALIDATION


def hyperparameters(run):
    events = EventAccumulator(str(run)).Reload()
    content = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    shown = HParamsPluginData.FromString(content).session_start_info.hparams
    values = {key: getattr(value, value.WhichOneof("kind")) for key, value in shown.items()}
    (text,) = events.Tensors("configuration/text_summary")
    return values, text.tensor_proto.string_val[0].decode()


@pytest.mark.parametrize("ended", ["done", "pruned"])
def test_every_run_has_its_hyperparameters_and_its_whole_configuration(ended, call, tmp_path, monkeypatch):
    if ended == "pruned":
        monkeypatch.setattr("wgangp.machine.signals.StopSignals.stop", lambda self: True)
    code, text = call("train", *SMALL, "steps=4", "hydra.run.dir=run", "n_critic=1", "sample_every=0")
    assert code == 0, text
    values, configuration = hyperparameters(tmp_path / "run")
    assert values["penalty.weight"] == pytest.approx(0.3) and values["seed"] == 0 and values["n_critic"] == 1
    assert values["generator_optimizer.lr"] == values["critic_optimizer.lr"] == pytest.approx(5e-3)
    assert values["penalty"] == "wgan_gp_toy" and values["batch_size"] == 16
    assert all(line in configuration for line in ("ema_decay: 0.999", "points: interpolates", "lr_decay: linear"))


def test_the_names_that_a_monitor_may_have_are_what_is_logged(call, tmp_path):
    assert call("train", *SMALL, "steps=1", "hydra.run.dir=run", "sample_every=0")[0] == 0
    (row,) = rows(tmp_path / "run")
    logged = {name for name in row if "/" in name and not name.startswith("eval/")}
    assert logged == SCALARS.keys() == TAGS and not logged & VALIDATION.keys()


def test_the_tags_of_the_reference_are_those_of_a_run(call, tmp_path):
    np.savez("x.npz", images=np.zeros((40, 4, 8, 8, 1), np.uint8) + 90, labels=np.arange(40) % 2)
    options = ["dataset=array", "dataset.path=x.npz", "dataset.axes=nthwc", "dataset.held_out=0.5", "conditional=true"]
    small = [*options, "generator=mlp", "critic=mlp", "generator.width=4", "critic.width=4", "batch_size=4", "steps=1"]
    assert call("train", *small, "hydra.run.dir=run", "evaluate.metrics=[]")[0] == 0
    tags = EventAccumulator(str(tmp_path / "run")).Reload().Tags()
    assert set(tags["scalars"]) == {*SCALARS, *VALIDATION} - {"validation/content"}
    assert set(tags["images"]) == IMAGES.keys() and set(tags["histograms"]) == HISTOGRAMS.keys()


class Clock:
    """A clock that a step moves."""

    now = 0.0

    def monotonic(self):
        return self.now


def estimated(monkeypatch, caplog, seconds, steps, first=100.0):
    """What is logged by a run whose first step takes `first` seconds, as of compiling, and the others `seconds`."""
    clock = Clock()
    monkeypatch.setattr(progress.time, "monotonic", clock.monotonic)
    run = Progress(0, steps, on_cpu=True)
    caplog.clear()
    caplog.set_level(logging.WARNING)
    for step in range(1, 20):
        clock.now += first if step == 1 else seconds
        run.warn_if_hopeless(step)
    return [record.getMessage() for record in caplog.records]


def test_a_hopeless_run_on_a_cpu_is_told_after_its_first_steps(monkeypatch, caplog):
    (line,) = estimated(monkeypatch, caplog, seconds=8, steps=100_000)
    assert line.startswith("this run takes about 9 d 6 h on this CPU, at 8 s a step. Runs that fit: steps=1300 of this")
    assert "generator.width=16 critic.width=16" in line and progress.CPU_RUNS in line
    assert estimated(monkeypatch, caplog, seconds=0.01, steps=100_000) == []  # though its first step took long
    assert len(estimated(monkeypatch, caplog, seconds=40, steps=1000)) == 1


def test_a_critic_whose_gradient_is_zero_is_told_once(call):
    """Four layers of weights below 1e-30 underflow."""
    clipped = ("penalty=weight_clipping", "penalty.clip=1e-30", "compile=false", "steps=6", "log_every=2")
    code, text = call("train", "dataset=gaussians8", *clipped, "evaluation_samples=20", "hydra.run.dir=run")
    assert code == 0 and text.count("the critic's gradient is 0 everywhere") == 1 and "step 2: the critic's" in text
    code, text = call("train", "dataset=gaussians8", *clipped[2:], "evaluation_samples=20", "hydra.run.dir=other")
    assert code == 0 and "gradient is 0" not in text


def test_the_estimate_names_every_preset_for_laptops():
    first, _, others = progress.CPU_RUNS.partition("; ")
    composed(first)
    for preset in (CONF / "experiment" / "laptop").glob("*.yaml"):
        assert re.search(rf"\b{preset.stem}\b", others), preset


def test_steps_that_fit_are_round():
    assert [round_down(x) for x in (0.2, 7.9, 99, 1234, 98765)] == [1, 7, 99, 1200, 98000]


def test_tiny_networks_take_one_thread(monkeypatch):
    cpu = torch.device("cpu")
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        monkeypatch.setattr(build, "useful_threads", lambda: 3)
        for options, threads in (([], 1), (["generator.width=1024"], 3), (["threads=2"], 2)):
            cfg = composed("device=cpu", "compile=false", *options)
            assert thread_count(cfg, make_trainer(cfg, make_dataset(cfg, cpu), cpu)) == threads, options
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(("shared", "threads"), [(0.4, 4), (0.9, 1), (5.0, 1)])
def test_threads_that_wait_for_one_another_are_not_used(monkeypatch, shared, threads):
    """`shared` is what a product takes on all threads, relative to one: 5 where another program uses the cores."""
    monkeypatch.setattr(cpu, "seconds", lambda work: 1.0 if torch.get_num_threads() == 1 else shared)
    with cpu.cpu_threads(4):
        assert cpu.useful_threads() == threads and torch.get_num_threads() == 4


@pytest.mark.parametrize("condition", ["projection", "concat"])
def test_accuracy_is_no_scalar_of_a_critic_without_class_logits(condition, call, tmp_path):
    np.savez(tmp_path / "d.npz", x=np.random.default_rng(0).normal(size=(40, 2)), labels=np.arange(40) % 2)
    data = ["dataset=table", "dataset.path=d.npz", "dataset.held_out=10", "conditional=true", "steps=1"]
    code, text = call("train", *data, f"critic.condition={condition}", "monitor=validation/accuracy")
    assert code == 1 and "monitor=validation/accuracy: this run has no held-out data, no class logits" in text
