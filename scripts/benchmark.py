"""How fast a critic update and a whole step are, against the textbook step on the same networks and data.

    python scripts/benchmark.py [--recipes mnist cifar10] [--precisions float32 bfloat16] [--compile] [--jax]
                                [--threads N] [--json FILE] [--plot FILE]
    python scripts/benchmark.py --penalties --recipes mnist

All variants are timed interleaved in one process; figures are medians, with the quartiles in brackets. The textbook
is what most public programs do: three critic passes, autograd.grad(create_graph=True), backward, Adam, a DataLoader,
stock layers, float32. With --jax there is also the step in JAX, but for ResNets. The images are random: their
content does not matter here.
"""

import argparse
import ctypes
import json
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from benchmark_report import HEADER, plot, table
from textbook import Textbook
from timing import Products, busy_share, matrix_rate, peak_memory, reserved, seconds
from torch import Tensor

from wgangp.app.build import make_dataset, make_trainer
from wgangp.app.compose import load_config
from wgangp.app.paths import CONF
from wgangp.data.images import Images
from wgangp.data.splits import Split
from wgangp.machine.cpu import keep_freed_memory
from wgangp.machine.device import choose_device, set_precision
from wgangp.trainer import Trainer

RECIPES = {  # of wgangp-train without overrides, and the paper's sizes
    "default": [],
    "gaussians25": ["experiment=paper/gaussians25"],
    "mnist": ["dataset=mnist", "generator.norm=none", "batch_size=50"],
    "cifar10": ["dataset=cifar10"],
    "celeba64": ["dataset=celeba"],
}
RESNETS = ("cifar10", "celeba64")  # which the step in JAX does not have
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


def surround(variant: str, precision: str) -> None:
    """Gives a variant the process that it would have for itself: torch's defaults and glibc's for the textbook."""
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


Key = tuple[str, str]  # variant, precision
TEXTBOOK: Key = ("textbook", "float32")


def makers(
    recipe: str, precisions: list[str], compile: bool, jax: bool, device: torch.device
) -> dict[Key, Callable[[], Any]]:
    """What makes each variant, the textbook's first."""

    def ours(precision: str, compile: bool) -> Ours:
        return Ours(trainer_of(recipe, precision, compile, device))

    found: dict[Key, Callable[[], Any]] = {TEXTBOOK: lambda: Textbook(trainer_of(recipe, "float32", False, device))}
    if jax and recipe not in RESNETS:
        from jax_step import JaxStep

        found["jax", "float32"] = lambda: JaxStep(trainer_of(recipe, "float32", False, device))
    for precision in precisions:
        found["eager", precision] = partial(ours, precision, False)
        if compile:
            found["compiled", precision] = partial(ours, precision, True)
    return found


def warmed_up(key: Key, make: Callable[[], Any], device: torch.device) -> tuple[Any, dict[str, Any]]:
    """The variant after its first steps, in which functions are compiled and graphs captured, and what it takes."""
    before = reserved(device)
    variant = make()
    for _ in range(4 if key[0] == "compiled" or device.type == "cuda" else 1):
        variant.train_step()
    memory = reserved(device) - before if device.type == "cuda" else peak_memory(variant.train_step)
    with Products() as products:  # which compiled functions refuse, and which sees nothing of JAX
        variant.update_critic() if key[0] in ("textbook", "eager") else None
    facts = {"critic_gflop": products.flops / 1e9, "peak_memory_mib": memory}
    return variant, facts | {"busy_share": busy_share(variant.train_step, device)}


def measure(
    recipe: str, precisions: list[str], compile: bool, jax: bool, device: torch.device, rounds: int
) -> list[dict[str, Any]]:
    """A row per variant, the textbook's first."""
    variants, facts = dict[Key, Any](), dict[Key, dict[str, Any]]()
    for key, make in makers(recipe, precisions, compile, jax, device).items():
        surround(*key)
        variants[key], facts[key] = warmed_up(key, make, device)
    for key in variants.keys() - {TEXTBOOK}:
        facts[key]["critic_gflop"] = facts["eager", precisions[0]]["critic_gflop"]
    times: dict[Any, list[float]] = {(key, what): [] for key in variants for what in ("critic", "step", "waited")}
    for _ in range(rounds):
        for key, variant in variants.items():
            surround(*key)
            variant.update_critic()  # memory that the one before gave back is had again
            variant.waited = 0.0
            times[key, "step"].append(seconds(variant.train_step, device))
            times[key, "waited"].append(variant.waited)
            times[key, "critic"].append(seconds(variant.update_critic, device))
    rates = {precision: matrix_rate(precision, device) for precision in {p for _, p in variants}}
    return [
        {"recipe": recipe, "variant": key[0], "precision": key[1]}
        | speeds(variant.t, *(times[k, what] for k in (key, TEXTBOOK) for what in ("critic", "step")))
        | {
            "data_wait_share": sum(times[key, "waited"]) / sum(times[key, "step"]),
            "matrix_rate_share": share_of(rates[key[1]], facts[key]["critic_gflop"], times[key, "critic"]),
        }
        | facts[key]
        for key, variant in variants.items()
    ]


def share_of(rate: float, gflop: float, seconds: list[float]) -> float:
    """The operations a second of these updates, relative to those of a large matrix product."""
    return 1e9 * gflop / statistics.median(seconds) / rate


def speeds(
    trainer: Trainer, critic: list[float], step: list[float], textbook_critic: list[float], textbook_step: list[float]
) -> dict[str, Any]:
    """Quartiles of the times, and how many times as fast as the textbook the medians are."""
    median = statistics.median(step)
    return {
        "critic_ms": [1e3 * q for q in quartiles(critic)],
        "step_ms": [1e3 * q for q in quartiles(step)],
        "critic_speedup": statistics.median(textbook_critic) / statistics.median(critic),
        "step_speedup": statistics.median(textbook_step) / median,
        "steps_per_second": 1 / median,
        "images_per_second": trainer.n_critic * trainer.batch_size / median,
    }


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument(
        "--precisions", nargs="+", choices=("float32", "tf32", "bfloat16"), help="default: all that the device has"
    )
    parser.add_argument("--compile", action="store_true", help="also the compiled step")
    parser.add_argument("--jax", action="store_true", help="also the step in JAX (the extra bench), but for ResNets")
    parser.add_argument("--threads", type=int, help="of torch on the CPU; JAX takes its own: give XLA_FLAGS")
    parser.add_argument("--penalties", action="store_true", help="instead, what each penalty costs on these recipes")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", help="write the figures to this file")
    parser.add_argument("--plot", help="draw the speeds into this file")
    arguments = parser.parse_args()
    device = choose_device(arguments.device)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    precisions = arguments.precisions or ["float32", *(["tf32"] if device.type == "cuda" else []), "bfloat16"]
    torch._dynamo.config.recompile_limit = 64  # all variants compile the same functions
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    print(f"torch {torch.__version__}, {device.type}: {name}, {platform.machine()}, Python {platform.python_version()}")
    if arguments.penalties:
        for recipe in arguments.recipes:
            print(f"\n{recipe}\n\n{penalties(recipe, device, arguments.rounds)}")
        return
    rows = []
    print(HEADER, flush=True)
    for recipe in arguments.recipes:
        found = measure(recipe, precisions, arguments.compile, arguments.jax, device, arguments.rounds)
        print(table(found), flush=True)
        rows += found
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(rows, file, indent=2)
    if arguments.plot:
        plot(rows, arguments.plot)


if __name__ == "__main__":
    main()
