"""A small trainer and the real commands, for every test."""

import importlib
import os
import subprocess
import sys
from functools import partial

import pytest
import torch

from wgangp.data import Dataset
from wgangp.losses import Wasserstein
from wgangp.models import mlp
from wgangp.penalties import GradientPenalty
from wgangp.trainer import Trainer


class Points(Dataset):
    """Gaussian points, a function of the index alone."""

    shape, num_classes = (2,), 0

    def __init__(self, dtype=torch.float32):
        self.dtype, self.asked = dtype, []

    def fetch(self, index, n):
        self.asked.append(index)
        generator = torch.Generator().manual_seed(index)
        return torch.randn(n, 2, generator=generator, dtype=self.dtype), torch.zeros(n, dtype=torch.long)

    def make(self, x, y):
        return x, y


def small_trainer(**changes):
    torch.manual_seed(0)
    options = {
        "dataset": Points(),
        "generator": mlp.Generator(shape=(2,), num_classes=0, nz=2, width=16, depth=2),
        "critic": mlp.Critic(shape=(2,), num_classes=0, width=16, depth=2, spectral=False),
        "loss": Wasserstein(),
        "penalty": GradientPenalty(points="interpolates", cost="two_sided", weight=10.0, interval=1),
        "generator_optimizer": partial(torch.optim.Adam, lr=1e-3, betas=(0.0, 0.9)),
        "critic_optimizer": partial(torch.optim.Adam, lr=1e-3, betas=(0.0, 0.9)),
        "metrics": lambda generate: {},
        "device": torch.device("cpu"),
        "seed": 0,
        "steps": 100,
        "batch_size": 8,
        "n_critic": 3,
        "generator_batch_multiple": 1,
        "class_weight": 0.1,
        "lr_decay": "none",
        "ema_decay": 0.9,
        "precision": "float32",
        "compile": False,
    }
    return Trainer(**(options | changes))


@pytest.fixture
def trainer():
    return small_trainer()


@pytest.fixture
def call(monkeypatch, tmp_path, capfd):
    """call("train", "steps=3", ...) runs a command in this process from an empty folder: (exit code, its output)."""
    monkeypatch.chdir(tmp_path)

    def call(name, *arguments):
        monkeypatch.setattr(sys, "argv", [f"wgangp-{name}", *map(str, arguments)])
        code = 0
        try:
            importlib.import_module(f"wgangp.{name}").main()
        except SystemExit as exit:
            code = exit.code
        out = capfd.readouterr()
        text = out.out + out.err + (code if isinstance(code, str) else "")
        return (1 if isinstance(code, str) else code or 0), text

    return call


def run_command(name, *arguments, cwd, check=True, **environment):
    """`python -m wgangp.NAME key=value ...` in `cwd`, as a user would."""
    result = subprocess.run(
        [sys.executable, "-m", f"wgangp.{name}", *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | environment,
    )
    assert not check or result.returncode == 0, result.stderr + result.stdout
    return result
