"""How fast a critic update and a whole step are, against the textbook step on the same networks and data.

    python scripts/benchmark.py [--recipes mnist cifar10] [--precisions float32 bfloat16] [--compile] [--json FILE]
                                [--plot FILE]
    python scripts/benchmark.py --penalties --recipes mnist

All variants are timed interleaved in one process; figures are medians, with the quartiles in brackets. The textbook
is what most public programs do: three critic passes, autograd.grad(create_graph=True), backward, Adam, a DataLoader,
stock layers, float32. The images are random: their content does not matter here.
"""

import argparse
import ctypes
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import flop_registry

from wgangp.app.build import make_dataset, make_trainer
from wgangp.app.compose import load_config
from wgangp.app.paths import CONF
from wgangp.data.images import Images, Split
from wgangp.machine.device import choose_device, keep_freed_memory, set_precision
from wgangp.models import layers, mlp, resnet
from wgangp.trainer import Trainer

RECIPES = {  # the paper's sizes
    "gaussians25": ["experiment=paper/gaussians25"],
    "mnist": ["dataset=mnist", "generator.norm=none", "batch_size=50"],
    "cifar10": ["dataset=cifar10"],
    "celeba64": ["dataset=celeba"],
}
SHAPES = {"mnist": (1, 28, 28), "cifar10": (3, 32, 32), "celeba64": (3, 64, 64)}


def trainer_of(recipe: str, precision: str, compile: bool, device: torch.device, *more: str, n: int = 4096) -> Trainer:
    """A trainer of the recipe, with more overrides, on n random images."""
    overrides = [*RECIPES[recipe], f"precision={precision}", f"compile={compile}", f"device={device}", *more]
    cfg = load_config(*overrides)
    torch.manual_seed(0)
    if recipe not in SHAPES:
        return make_trainer(cfg, make_dataset(cfg, device), device)
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
        for family in (mlp, resnet):
            for name in STOCK.keys() & vars(family).keys():
                stack.enter_context(patch.object(family, name, STOCK[name]))
        stack.enter_context(patch.dict(layers.ACTIVATIONS, {n: STOCK[n] for n in ("relu", "leaky_relu")}))
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

    def update_critic(self) -> None:
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


class Ours:
    """A trainer's step, with the time that it waits for data."""

    def __init__(self, trainer: Trainer) -> None:
        self.t, self.waited, self.fetch = trainer, 0.0, trainer.dataset.fetch
        trainer.dataset.fetch = self._timed_fetch  # type: ignore[method-assign]
        self.train_step = trainer.train_step

    def update_critic(self) -> None:
        self.t.update_critic(True, *self.t.dataset.fetch(0, self.t.batch_size))

    def _timed_fetch(self, index: int, n: int) -> tuple[Tensor, ...]:
        started = time.perf_counter()
        fetched = self.fetch(index, n)
        self.waited += time.perf_counter() - started
        return fetched


@contextmanager
def surroundings(variant: str, precision: str) -> Iterator[None]:
    """Each variant in the process that it would have for itself: torch's defaults and glibc's for the textbook."""
    if variant == "textbook":
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = False, True
        torch.backends.cudnn.benchmark = False
        if hasattr(libc := ctypes.CDLL(None), "mallopt"):
            for option, value in ((-4, 65536), (-3, 32 << 20), (-1, 64 << 20)):  # what glibc's thresholds grow to
                libc.mallopt(option, value)
            libc.malloc_trim(0)
    else:
        set_precision(precision)
        keep_freed_memory()
    yield


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def seconds(work: Callable[[], Any], device: torch.device) -> float:
    synchronize(device)
    started = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - started


def peak_memory(work: Callable[[], Any], device: torch.device) -> float:
    """MiB that `work` has at once, above what was there before."""
    if device.type == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        work()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        with torch.profiler.profile(profile_memory=True) as profiler:
            work()
        profiler.export_chrome_trace(file.name)
        events = json.loads(Path(file.name).read_text())["traceEvents"]
    return max(e["args"]["Total Allocated"] for e in events if e.get("name") == "[memory]") / 2**20


def busy_share(work: Callable[[], Any], device: torch.device) -> float | None:
    """The share of the time in which a CUDA device runs kernels."""
    if device.type != "cuda":
        return None
    work()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
        work()
        synchronize(device)
    spans = [e.time_range for e in profiler.events() if e.device_type == torch.autograd.DeviceType.CUDA]
    wall = max(s.end for s in spans) - min(s.start for s in spans)
    return sum(s.elapsed_us() for s in spans) / wall


def matrix_rate(precision: str, device: torch.device) -> float:
    """Floating-point operations a second of a large square matrix product in this precision."""
    n = 8192 if device.type == "cuda" else 2048
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    a, b = torch.randn(2, n, n, device=device, dtype=dtype)
    set_precision(precision)
    return 2 * n**3 / statistics.median(seconds(lambda: a @ b, device) for _ in range(9))


def measure(
    recipe: str, precisions: list[str], compile: bool, device: torch.device, rounds: int
) -> list[dict[str, Any]]:
    """A row per variant, the textbook's first."""
    variants: dict[tuple[str, str], Any] = {
        ("textbook", "float32"): Textbook(trainer_of(recipe, "float32", False, device))
    }
    for precision in precisions:
        variants["eager", precision] = Ours(trainer_of(recipe, precision, False, device))
        if compile:
            variants["compiled", precision] = Ours(trainer_of(recipe, precision, True, device))
    facts: dict[Any, dict[str, Any]] = {}
    for key, variant in variants.items():
        with surroundings(*key):
            for _ in range(4 if compile else 1):  # where compiled variants compile and graphs are captured
                variant.train_step()
            with Products() as products:
                variant.update_critic() if key[0] != "compiled" else None
            facts[key] = {
                "critic_gflop": products.flops / 1e9 or facts["eager", key[1]]["critic_gflop"],
                "peak_memory_mib": peak_memory(variant.train_step, device),
                "busy_share": busy_share(variant.train_step, device),
            }
    times: dict[Any, list[float]] = {(key, what): [] for key in variants for what in ("critic", "step")}
    for variant in variants.values():
        variant.waited = 0.0
    for _ in range(rounds):
        for key, variant in variants.items():
            with surroundings(*key):
                variant.update_critic()  # memory that the one before gave back is had again
                variant.waited, waited = 0.0, facts[key].setdefault("waited", [])
                times[key, "step"].append(seconds(variant.train_step, device))
                waited.append(variant.waited)
                times[key, "critic"].append(seconds(variant.update_critic, device))
    baseline = {what: statistics.median(times[("textbook", "float32"), what]) for what in ("critic", "step")}
    rates = {precision: matrix_rate(precision, device) for precision in {p for _, p in variants}}
    rows = []
    for key, variant in variants.items():
        critic, step = times[key, "critic"], times[key, "step"]
        median = statistics.median(step)
        waited = facts[key].pop("waited")
        rows.append(
            {"recipe": recipe, "variant": key[0], "precision": key[1]}
            | {
                "critic_ms": [1e3 * q for q in quartiles(critic)],
                "step_ms": [1e3 * q for q in quartiles(step)],
                "critic_speedup": baseline["critic"] / statistics.median(critic),
                "step_speedup": baseline["step"] / median,
                "steps_per_second": 1 / median,
                "images_per_second": variant.t.n_critic * variant.t.batch_size / median,
                "data_wait_share": sum(waited) / sum(step),
                "matrix_rate_share": 1e9 * facts[key]["critic_gflop"] / statistics.median(critic) / rates[key[1]],
            }
            | facts[key]
        )
    return rows


def penalties(recipe: str, device: torch.device, rounds: int) -> str:
    """What each option of conf/penalty adds to an eager float32 critic update, as a table."""
    names = sorted(path.stem for path in (CONF / "penalty").glob("*.yaml"))
    variants = {name: Ours(trainer_of(recipe, "float32", False, device, f"penalty={name}")) for name in names}
    keep_freed_memory()
    times: dict[str, list[float]] = {name: [] for name in names}
    flops = {}
    for name, variant in variants.items():
        with Products() as products:
            variant.update_critic()
        flops[name] = products.flops
    for _ in range(rounds):
        for name, variant in variants.items():
            times[name].append(seconds(variant.update_critic, device))
    base = statistics.median(times["none"])
    lines = ["| penalty | GFLOP | x none | critic update, ms | x none |", "|---|---|---|---|---|"]
    for name in sorted(names, key=lambda name: flops[name]):
        low, median, high = (1e3 * q for q in quartiles(times[name]))
        lines.append(
            f"| {name} | {flops[name] / 1e9:.3g} | {flops[name] / flops['none']:.2f} "
            f"| {median:.4g} ({low:.4g} to {high:.4g}) | {median / 1e3 / base:.2f} |"
        )
    return "\n".join(lines)


def quartiles(values: list[float]) -> list[float]:
    low, median, high = statistics.quantiles(values, n=4)
    return [low, median, high]


def table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| recipe | variant | precision | critic update, ms | x | step, ms | x | steps/s | images/s | waiting for data "
        "| GFLOP | of matrix rate | peak MiB | GPU busy |",
        "|" + "---|" * 14,
    ]
    for r in rows:
        spread = {k: "{1:.4g} ({0:.4g} to {2:.4g})".format(*r[k]) for k in ("critic_ms", "step_ms")}
        busy = "no GPU" if r["busy_share"] is None else f"{r['busy_share']:.0%}"
        lines.append(
            f"| {r['recipe']} | {r['variant']} | {r['precision']} | {spread['critic_ms']} | {r['critic_speedup']:.2f} "
            f"| {spread['step_ms']} | {r['step_speedup']:.2f} | {r['steps_per_second']:.3g} "
            f"| {r['images_per_second']:.0f} | {r['data_wait_share']:.1%} | {r['critic_gflop']:.3g} "
            f"| {r['matrix_rate_share']:.0%} | {r['peak_memory_mib']:.0f} | {busy} |"
        )
    return "\n".join(lines)


def plot(rows: list[dict[str, Any]], path: str) -> None:
    """Bars of the speed of a critic update against the textbook's."""
    from matplotlib.figure import Figure

    recipes = list(dict.fromkeys(r["recipe"] for r in rows))
    variants = list(dict.fromkeys((r["variant"], r["precision"]) for r in rows))
    axes = (figure := Figure((8, 3.5), layout="constrained")).subplots()
    for i, variant in enumerate(variants):
        mine = {r["recipe"]: r["critic_speedup"] for r in rows if (r["variant"], r["precision"]) == variant}
        places = [recipes.index(recipe) + (i - (len(variants) - 1) / 2) * 0.8 / len(variants) for recipe in mine]
        bars = axes.bar(places, list(mine.values()), 0.8 / len(variants), label=", ".join(variant))
        axes.bar_label(bars, fmt="%.2f", fontsize=7)
    axes.set_xticks(range(len(recipes)), recipes)
    axes.set_ylabel("critic updates a second,\ntimes the textbook's")
    figure.legend(loc="outside upper center", ncols=len(variants), fontsize=8)
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument(
        "--precisions", nargs="+", choices=("float32", "tf32", "bfloat16"), default=["float32", "bfloat16"]
    )
    parser.add_argument("--compile", action="store_true", help="also the compiled step")
    parser.add_argument("--penalties", action="store_true", help="instead, what each penalty costs on these recipes")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", help="write the figures to this file")
    parser.add_argument("--plot", help="draw the speeds into this file")
    arguments = parser.parse_args()
    device = choose_device(arguments.device)
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    print(f"torch {torch.__version__}, {device.type}: {name}, {platform.machine()}, Python {platform.python_version()}")
    if arguments.penalties:
        for recipe in arguments.recipes:
            print(f"\n{recipe}\n\n{penalties(recipe, device, arguments.rounds)}")
        return
    rows = []
    for recipe in arguments.recipes:
        rows += measure(recipe, arguments.precisions, arguments.compile, device, arguments.rounds)
        print(f"{recipe}: done", file=sys.stderr)
    print(table(rows))
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(rows, file, indent=2)
    if arguments.plot:
        plot(rows, arguments.plot)


if __name__ == "__main__":
    main()
