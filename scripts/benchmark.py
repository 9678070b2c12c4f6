"""How fast a critic update and a whole step are, against the textbook step on the same networks and data.

    python scripts/benchmark.py [--recipes mnist cifar10] [--precisions float32 bfloat16] [--compile] [--json FILE]

All variants are timed interleaved in one process; figures are medians, with the quartiles in brackets. The textbook
is what most public programs do: three critic passes, autograd.grad(create_graph=True), backward, Adam, a DataLoader,
stock layers, float32. The images are random: their content does not matter here.
"""

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any
from unittest.mock import patch

import hydra
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import flop_registry

from wgangp.config import CONF, VERSION_BASE, build
from wgangp.data.images import Images, Split
from wgangp.device import allow_tf32, choose_device
from wgangp.models import dcgan, mlp, resnet
from wgangp.train import make_trainer
from wgangp.trainer import Trainer

RECIPES = {  # the paper's sizes
    "gaussians25": ["experiment=paper/gaussians25"],
    "mnist": ["dataset=mnist", "generator.norm=none", "batch_size=50"],
    "cifar10": ["dataset=cifar10"],
    "celeba64": ["dataset=celeba"],
}
SHAPES = {"mnist": (1, 28, 28), "cifar10": (3, 32, 32), "celeba64": (3, 64, 64)}


def trainer_of(recipe: str, precision: str, compile: bool, device: torch.device, n: int = 4096) -> Trainer:
    """A trainer of the recipe on n random images."""
    overrides = [*RECIPES[recipe], f"precision={precision}", f"compile={compile}", f"device={device}"]
    with hydra.initialize_config_dir(str(CONF), version_base=VERSION_BASE):
        cfg = hydra.compose("train", overrides=overrides)
    torch.manual_seed(0)
    if recipe not in SHAPES:
        return make_trainer(cfg, build(cfg.dataset, seed=0, device=device), device)
    split = Split(torch.randint(256, (n, *SHAPES[recipe]), dtype=torch.uint8), torch.zeros(n, dtype=torch.long))
    options = {"flip": cfg.dataset.flip, "dequantise": cfg.dataset.dequantise, "seed": 0, "device": device}
    return make_trainer(cfg, Images(split, None, 0, **options), device)


STOCK = {
    "relu": F.relu,
    "leaky_relu": partial(F.leaky_relu, negative_slope=0.2),
    "mean_pool": partial(F.avg_pool2d, kernel_size=2),
    "conv_mean_pool": lambda layer, x: F.avg_pool2d(layer(x), 2),
    "upsample_conv": lambda layer, x: layer(F.interpolate(x, scale_factor=2, mode="nearest")),
}


@contextmanager
def stock_layers() -> Iterator[None]:
    """The networks with torch's own activations and pooling, and with resampling apart from convolutions."""
    with ExitStack() as stack:
        for family in (dcgan, mlp, resnet):
            for name in STOCK.keys() & vars(family).keys():
                stack.enter_context(patch.object(family, name, STOCK[name]))
        yield


class Decoded(Dataset):
    """What a torchvision dataset with ToTensor and Normalize hands to a DataLoader."""

    def __init__(self, trainer: Trainer) -> None:
        data = trainer.dataset
        self.images = data.train.images if isinstance(data, Images) else data.batch(0, 100_000)[0]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> Tensor:
        x = self.images[i].cpu()
        return x.float().div(255).sub(0.5).div(0.5) if x.dtype == torch.uint8 else x


class Textbook:
    """The common way to write it, on the networks of a trainer."""

    def __init__(self, trainer: Trainer) -> None:
        self.t, self.waited = trainer, 0.0
        adam = partial(torch.optim.Adam, lr=1e-4, betas=(0.5, 0.9))
        self.generator_optimizer = adam(trainer.generator.parameters())
        self.critic_optimizer = adam(trainer.critic.parameters())
        loader = DataLoader(Decoded(trainer), trainer.batch_size, shuffle=True, drop_last=True)
        self.batches = (batch for _ in iter(int, 1) for batch in loader)

    def update_critic(self, i: int = 0) -> None:
        started = time.perf_counter()
        real = next(self.batches).to(self.t.device)
        self.waited += time.perf_counter() - started
        with stock_layers():
            fake = self.t.generator(self.t.noise(len(real))).detach()
            alpha = torch.rand(len(real), *[1] * (real.ndim - 1), device=real.device)
            x = (alpha * real + (1 - alpha) * fake).requires_grad_()
            (grad,) = torch.autograd.grad(self.t.critic(x).sum(), x, create_graph=True)
            penalty = 10 * ((grad.flatten(1).norm(2, dim=1) - 1) ** 2).mean()
            loss = self.t.critic(fake).mean() - self.t.critic(real).mean() + penalty
            self.critic_optimizer.zero_grad()
            loss.backward()
            self.critic_optimizer.step()

    def train_step(self) -> None:
        for _ in range(self.t.n_critic):
            self.update_critic()
        with stock_layers():
            loss = -self.t.critic(self.t.generator(self.t.noise(self.t.generator_batch))).mean()
            self.generator_optimizer.zero_grad()
            loss.backward()
            self.generator_optimizer.step()


class Products(TorchDispatchMode):
    """Counts the floating-point operations of matrix products and convolutions."""

    flops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if count := flop_registry.get(func._overloadpacket):
            self.flops += count(*args, **(kwargs or {}), out_val=out)
        return out


def seconds(work: Callable[[], Any], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def matrix_rate(precision: str, device: torch.device) -> float:
    """Floating-point operations a second of a large square matrix product in this precision."""
    n = 8192 if device.type == "cuda" else 2048
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    a, b = torch.randn(2, n, n, device=device, dtype=dtype)
    return 2 * n**3 / statistics.median(seconds(lambda: a @ b, device) for _ in range(9))


def measure(
    recipe: str, precisions: list[str], compile: bool, device: torch.device, rounds: int
) -> list[dict[str, Any]]:
    """A row per variant."""
    variants: dict[tuple[str, str], Any] = {
        ("textbook", "float32"): Textbook(trainer_of(recipe, "float32", False, device))
    }
    for precision in precisions:
        variants["eager", precision] = trainer_of(recipe, precision, False, device)
        if compile:
            variants["compiled", precision] = trainer_of(recipe, precision, True, device)
    counted, memory = {}, {}
    for key, variant in variants.items():  # also the warm-up, and where compiled variants compile
        allow_tf32(key[1] != "float32")
        seconds(variant.train_step, device)
        if key[0] != "compiled":
            with Products() as products:
                variant.update_critic(0)
            counted[key] = products.flops
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        seconds(variant.train_step, device)
        memory[key] = torch.cuda.max_memory_allocated() if device.type == "cuda" else None
    times: dict[Any, list[float]] = {(key, what): [] for key in variants for what in ("critic", "step")}
    for _ in range(rounds):
        for key, variant in variants.items():
            allow_tf32(key[1] != "float32")
            times[key, "critic"].append(seconds(partial(variant.update_critic, 0), device))
            times[key, "step"].append(seconds(variant.train_step, device))
    baseline = {what: statistics.median(times[("textbook", "float32"), what]) for what in ("critic", "step")}
    rates = {precision: matrix_rate(precision, device) for precision in {p for _, p in variants}}
    rows = []
    for (name, precision), variant in variants.items():
        critic, step = times[(name, precision), "critic"], times[(name, precision), "step"]
        flops = counted.get((name, precision), counted.get(("eager", precision)))
        trainer = variant.t if name == "textbook" else variant
        rows.append(
            {
                "recipe": recipe,
                "variant": name,
                "precision": precision,
                "critic_ms": [1e3 * q for q in quartiles(critic)],
                "step_ms": [1e3 * q for q in quartiles(step)],
                "critic_speedup": baseline["critic"] / statistics.median(critic),
                "step_speedup": baseline["step"] / statistics.median(step),
                "images_per_second": trainer.n_critic * trainer.batch_size / statistics.median(step),
                "critic_gflop": flops / 1e9,
                "matrix_rate_share": flops / statistics.median(critic) / rates[precision],
                "peak_memory_mib": None if memory[name, precision] is None else memory[name, precision] / 2**20,
            }
        )
    return rows


def quartiles(values: list[float]) -> list[float]:
    low, median, high = statistics.quantiles(values, n=4)
    return [low, median, high]


def table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| recipe | variant | precision | critic update, ms | x | step, ms | x | images/s "
        "| GFLOP | of matrix rate | peak MiB |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        spread = {k: "{1:.4g} ({0:.4g} to {2:.4g})".format(*r[k]) for k in ("critic_ms", "step_ms")}
        memory = "not measured" if r["peak_memory_mib"] is None else f"{r['peak_memory_mib']:.0f}"
        lines.append(
            f"| {r['recipe']} | {r['variant']} | {r['precision']} | {spread['critic_ms']} | {r['critic_speedup']:.2f} "
            f"| {spread['step_ms']} | {r['step_speedup']:.2f} | {r['images_per_second']:.0f} | {r['critic_gflop']:.3g} "
            f"| {r['matrix_rate_share']:.0%} | {memory} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument(
        "--precisions", nargs="+", choices=("float32", "tf32", "bfloat16"), default=["float32", "bfloat16"]
    )
    parser.add_argument("--compile", action="store_true", help="also the compiled step")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", help="write the figures to this file")
    arguments = parser.parse_args()
    device = choose_device(arguments.device)
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    print(f"torch {torch.__version__}, {device.type}: {name}, {platform.machine()}, Python {platform.python_version()}")
    rows = []
    for recipe in arguments.recipes:
        rows += measure(recipe, arguments.precisions, arguments.compile, device, arguments.rounds)
        print(f"{recipe}: done", file=sys.stderr)
    print(table(rows))
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(rows, file, indent=2)


if __name__ == "__main__":
    main()
