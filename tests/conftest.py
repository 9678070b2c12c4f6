"""A small trainer and the real commands, for every test."""

import contextlib
import copy
import functools
import gc
import importlib
import multiprocessing
import os
import socket
import struct
import subprocess
import sys
import threading
import traceback

os.environ.setdefault("OMP_NUM_THREADS", "1")  # of each process that runs tests, and of those that they start

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hypothesis import HealthCheck, settings
from PIL import Image
from tqdm import tqdm

from wgangp.app.checks import check
from wgangp.app.compose import CONF  # which makes our sweeper known to Hydra before it looks for plugins
from wgangp.data import Dataset, sources
from wgangp.losses import Wasserstein
from wgangp.machine import distributed
from wgangp.models import mlp
from wgangp.penalties import GradientPenalty
from wgangp.pictures import encoded
from wgangp.schedules import Constant
from wgangp.speed import speed_up
from wgangp.trainer import Trainer

# `--hypothesis-profile=long` looks for what nobody has thought of, for as long as one likes.
COMMON = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}
settings.register_profile("quick", max_examples=100, derandomize=True, **COMMON)
settings.register_profile("long", max_examples=20_000, **COMMON)
settings.load_profile("quick")

# What conf/ sets of the dcgan family and of wgan_gp, where a test is about something else.
DCGAN_GENERATOR = {"max_width": 1024, "first_norm": "units", "activation": "relu", "std": None}
DCGAN_GENERATOR |= {"crop": "end", "unit_range": False, "output": "auto", "condition": "norm"}
DCGAN_CRITIC = {"max_width": None, "activation": "leaky_relu", "std": None, "unit_range": False, "condition": "auto"}
PENALTY = {"points": "interpolates", "norm": 2, "cost": "two_sided", "power": 2, "reduction": "mean"}
PENALTY |= {"weight": 10.0, "schedule": Constant, "interval": 1}
RNG = np.random.default_rng(0)  # every picture is another one
# What conf/ sets of dataset=array, where a test is about something else.
array = functools.partial(sources.array, key=None, labels=None, columns=None, axes=None, scaling="auto", condition=None)
PROCESSES = multiprocessing.get_context("fork")  # real processes, which need not import torch again
tqdm.set_lock(threading.RLock())  # tqdm's is of all forked processes: a killed one keeps it


def pytest_collection_finish():
    """Modules live for ever: the collection at the end of each run need not look at them."""
    gc.freeze()


def options(group, pattern="*.yaml"):
    return sorted(str(p.relative_to(CONF / group).with_suffix("")) for p in (CONF / group).glob(pattern))


def composed(*overrides):
    cfg = copy.deepcopy(_composed(overrides))
    check(cfg)  # which looks at the environment
    return cfg


@functools.cache
def _composed(overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", overrides=list(overrides))


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


@pytest.fixture(autouse=True)
def hidden_gpu(request, monkeypatch):
    """Tests that are not marked gpu run on the CPU everywhere, also in processes that they start."""
    if request.node.get_closest_marker("gpu") is None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.fixture(autouse=True)
def float32_by_default(monkeypatch):
    """`precision=auto` is the same on every processor."""
    monkeypatch.setattr("wgangp.machine.device.bfloat16_is_faster", lambda: False)


@pytest.fixture(autouse=True)
def eager_by_default(monkeypatch):
    """`compile=auto` compiles nothing, which takes longer than these short runs."""
    monkeypatch.setattr("wgangp.app.build.has_cpp_compiler", lambda: False)


def small_trainer(compile=False, **changes):
    torch.manual_seed(0)
    options = {
        "dataset": Points(),
        "generator": mlp.Generator(shape=(2,), num_classes=0, nz=2, width=16, depth=2, output="auto"),
        "critic": mlp.Critic(shape=(2,), num_classes=0, width=16, depth=2, spectral=False, condition="auto"),
        "loss": Wasserstein(),
        "penalty": GradientPenalty(**PENALTY),
        "generator_optimizer": functools.partial(torch.optim.Adam, lr=1e-3, betas=(0.0, 0.9)),
        "critic_optimizer": functools.partial(torch.optim.Adam, lr=1e-3, betas=(0.0, 0.9)),
        "device": torch.device("cpu"),
        "seed": 0,
        "steps": 100,
        "batch_size": 8,
        "n_critic": 3,
        "generator_batch_multiple": 1,
        "augment": [],
        "class_weight": 0.1,
        "content": "none",
        "content_weight": 100.0,
        "lr_decay": "none",
        "ema_decay": 0.9,
        "precision": "float32",
    }
    trainer = Trainer(**(options | changes))
    speed_up(trainer, compile=compile, cuda_graphs=False)
    return trainer


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


def write_idx(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack(">HBB" + "I" * array.ndim, 0, 8, array.ndim, *array.shape) + array.tobytes())


def write_mnist(raw, n=30):
    """The four IDX files, with random images."""
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (n, 28, 28), dtype=np.uint8), np.arange(n, dtype=np.uint8) % 10
    for part, count in (("train", n), ("t10k", 12)):
        write_idx(raw / f"{part}-images-idx3-ubyte", x[:count])
        write_idx(raw / f"{part}-labels-idx1-ubyte", y[:count])
    return x, y


def picture(path, size=(24, 20), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    x = RNG.integers(0, 256, (size[1], size[0], 4), dtype=np.uint8)
    Image.fromarray(x[..., :3]).convert(mode).save(path, quality=95)


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


def start_command(name, *arguments, cwd, output="output", before=None, **environment):
    """`wgangp-NAME key=value ...` in a process of its own, which is forked from this one; it writes into cwd/output."""
    process = PROCESSES.Process(target=_forked, args=(name, arguments, cwd, output, before, environment), daemon=True)
    process.start()
    return process


def _forked(name, arguments, cwd, output, before, environment):
    os.chdir(cwd)
    os.environ |= environment
    with open(output, "w", buffering=1) as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
        try:
            if before:
                before()
            sys.argv = [f"wgangp-{name}", *map(str, arguments)]
            importlib.import_module(f"wgangp.{name}").main()
        except SystemExit as exit:
            print(exit.code or "")
            raise SystemExit(exit.code if isinstance(exit.code, int) else bool(exit.code)) from None
        except BaseException:
            traceback.print_exc()
            raise


def rank_environments():
    """What torchrun would give two ranks."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    same = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [same | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(2)]


def start_ranks(name, *arguments, cwd):
    """Two ranks of a command; they write into output_0 and output_1."""
    ranks = enumerate(rank_environments())
    return [start_command(name, *arguments, cwd=cwd, output=f"output_{i}", **given) for i, given in ranks]


def on_two_ranks(function, *arguments):
    """Calls the function in two processes that have joined, as ranks do. Raises AssertionError if it fails in one."""
    ranks = rank_environments()
    processes = [PROCESSES.Process(target=_as_rank, args=(r, function, *arguments), daemon=True) for r in ranks]
    for process in processes:
        process.start()
    assert finished(processes) == [0, 0]


def _as_rank(environment, function, *arguments):
    os.environ |= environment
    distributed.join()
    function(*arguments)
    distributed.leave()


def finished(processes, timeout=300):
    """Their exit codes. Raises AssertionError if one does not end, and kills them."""
    try:
        for process in processes:
            process.join(timeout)
        assert all(process.exitcode is not None for process in processes), "a process does not end"
        return [process.exitcode for process in processes]
    finally:
        for process in processes:
            process.kill()


def write_film(frames, path):
    """Writes frames as the kind of film that the file's name says."""
    path.write_bytes(encoded(frames, path.suffix[1:], fps=10))
