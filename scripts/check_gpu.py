"""Ten checks of a CUDA machine, each with its figures: python scripts/check_gpu.py [--only 2 5] [--report FILE]

wgangp has seen an H200 and an H100 for some minutes each, so please send the report of yours. Each check says pass,
fail or skipped; the exit code is 1 if one fails. Checks 6 and 7 only measure.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from wgangp.api import make_trainer
from wgangp.data.images import Images
from wgangp.data.splits import Split
from wgangp.machine.device import be_deterministic
from wgangp.trainer import Trainer

ROOT = Path(__file__).parents[1]
GPU = torch.device("cuda", 0)
CIFAR = ["dataset=cifar10", "device=cuda:0"]


class Skipped(Exception):
    """The machine lacks what the check needs."""


def images(shape: tuple[int, ...]) -> Images:
    split = Split(torch.randint(256, (4096, *shape), dtype=torch.uint8), torch.arange(4096) % 10)
    return Images(split, None, 10, flip=True, dequantise=True, seed=0, device=GPU)


def cifar(*overrides: str) -> Trainer:
    torch.manual_seed(0)
    return make_trainer(*CIFAR, "compile=false", *overrides, dataset=images((3, 32, 32)))


def python(*arguments: str, **environment: str) -> str:
    """The output of a Python process from the project's root. Raises AssertionError if it fails."""
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, env=os.environ | environment
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-600:]
    return done.stdout


def seconds(work: Callable[[], object], times: int = 10) -> float:
    """The median of some calls, after two more."""
    found = []
    for _ in range(times + 2):
        torch.cuda.synchronize()
        started = time.perf_counter()
        work()
        torch.cuda.synchronize()
        found.append(time.perf_counter() - started)
    return statistics.median(found[2:])


def gpu_tests() -> str:
    return python("-m", "pytest", "-n", "0", "-q", "-m", "gpu").strip().splitlines()[-1]


def graphs_equal_launches() -> str:
    """Losses after five steps in float32, by replayed graphs and by single launches.

    Deterministic, since otherwise two runs by single launches differ as much: sums in another order differ by 1e-7, and
    25 updates make a hundredth of that.
    """
    options = ("precision=float32", "deterministic=true")
    try:
        replayed, launched = (cifar(*options, f"cuda_graphs={wanted}") for wanted in ("true", "false"))
        for _ in range(5):
            a, b = replayed.train_step(), launched.train_step()
    finally:
        be_deterministic(False)
    difference = max(abs(a[k].item() - b[k].item()) / max(1, abs(b[k].item())) for k in b)
    assert replayed.functions.updates.graphs, "no graph was captured"  # type: ignore[attr-defined]
    assert difference < 1e-4, f"losses differ by {difference:.1e}"
    return f"losses differ by {difference:.1e}"


def second_gpu() -> str:
    """Training on cuda:1 changes the weights, and takes no memory of cuda:0."""
    if torch.cuda.device_count() < 2:
        raise Skipped("one GPU")
    code = (
        "from wgangp.api import make_trainer; import torch; t = make_trainer('device=cuda:1');"
        "w = t.critic_params[0].clone(); [t.train_step() for _ in range(5)];"
        "print(float((t.critic_params[0] - w).norm()), torch.cuda.memory_reserved(0))"
    )
    moved, reserved = python("-c", code).split()[-2:]
    assert float(moved) > 0 and int(reserved) == 0, f"weights moved by {moved}, {reserved} bytes on cuda:0"
    return f"weights moved by {float(moved):.2g}"


def giant_kernels() -> str:
    """A second-order weight gradient as autograd computes it, and by convolution_backward."""
    x, w = torch.randn(64, 128, 32, 32, device=GPU), torch.randn(128, 128, 3, 3, device=GPU)
    out = torch.randn(64, 128, 32, 32, device=GPU)
    geometry = ([1, 1], [1, 1], [1, 1], False, [0, 0], 1)

    def giant() -> torch.Tensor:
        return torch.nn.functional.conv2d(x.transpose(0, 1), out.transpose(0, 1), padding=1).transpose(0, 1)

    def ordinary() -> torch.Tensor:
        return torch.ops.aten.convolution_backward(out, x, w, None, *geometry, [False, True, False])[1]

    error = ((giant() - ordinary()).norm() / ordinary().norm()).item()
    assert error < 1e-2, f"they differ by {error:.1e}"
    return f"{1e3 * seconds(giant):.2f} ms and {1e3 * seconds(ordinary):.2f} ms, which differ by {error:.1e}"


def first_step() -> str:
    """From the command to the end of the first step."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        python("-m", "wgangp.train", "steps=1", "device=cuda", f"hydra.run.dir={folder}/run")
    taken = time.perf_counter() - started
    assert taken < 30, f"{taken:.0f} s"
    return f"{taken:.1f} s"


def benchmark() -> str:
    return "\n" + python("scripts/benchmark.py", "--recipes", "gaussians25", "cifar10", "--rounds", "5")


def memory() -> str:
    """What torch holds of the device after five steps of celeba64."""
    torch.cuda.empty_cache()
    before = torch.cuda.memory_reserved()
    trainer = make_trainer("dataset=celeba", "device=cuda:0", "compile=false", dataset=images((3, 64, 64)))
    for _ in range(5):
        trainer.train_step()
    torch.cuda.empty_cache()
    return f"{(torch.cuda.memory_reserved() - before) / 2**20:,.0f} MiB"


def launches() -> str:
    """What the host launches in a step, graphs counted once."""
    trainer = cifar()
    for _ in range(5):
        trainer.train_step()
    with torch.profiler.profile() as profiler:
        trainer.train_step()
        torch.cuda.synchronize()
    names = [event.name for event in profiler.events()]
    count = sum("LaunchKernel" in name or "GraphLaunch" in name or "MemcpyAsync" in name for name in names)
    assert 0 < count < 30, f"{count} launches: the step is no graph, or the profiler sees nothing"
    return f"{count} launches"


def deterministic() -> str:
    """Two runs of 20 steps with deterministic=true have the same bits."""
    code = (
        "from wgangp.api import make_trainer; t = make_trainer('deterministic=true', 'device=cuda:0');"
        "[t.train_step() for _ in range(20)]; print(sum(float(p.double().sum()) for p in t.critic_params).hex())"
    )
    one, other = (python("-c", code).split()[-1] for _ in range(2))
    assert one == other, f"{one} and {other}"
    return "equal bits"


def processes() -> str:
    """torchrun with one process and with two."""
    done = []
    for n in range(1, min(2, torch.cuda.device_count()) + 1):
        with tempfile.TemporaryDirectory() as folder:
            options = ["--standalone", "--nproc-per-node", str(n), "-m", "wgangp.train"]
            python("-m", "torch.distributed.run", *options, "steps=20", "device=cuda", f"hydra.run.dir={folder}/run")
        done.append(str(n))
    return f"{' and '.join(done)} trained" + ("" if len(done) == 2 else "; two not run: one GPU")


CHECKS = (
    *(gpu_tests, graphs_equal_launches, second_gpu, giant_kernels, first_step),
    *(benchmark, memory, launches, deterministic, processes),
)


def result(check: Callable[[], str]) -> str:
    try:
        return f"pass: {check()}"
    except Skipped as error:
        return f"skipped: {error}"
    except Exception as error:
        return f"FAIL: {type(error).__name__}: {error}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=int, nargs="+", default=list(range(1, 11)), help="numbers of checks")
    parser.add_argument("--report", type=Path, help="also write the report into this file")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        parser.exit(1, f"torch {torch.__version__} finds no CUDA device here: nothing to check\n")
    about = torch.cuda.get_device_properties(GPU)
    report = [
        f"{about.name}, {about.total_memory / 2**30:.0f} GiB, compute capability {about.major}.{about.minor}, "
        f"torch {torch.__version__}, Python {platform.python_version()}"
    ]
    print(report[0])
    for number in options.only:
        check = CHECKS[number - 1]
        report.append(f"{number:2} {check.__name__.replace('_', ' ')}: {result(check)}")
        print(report[-1], flush=True)
    if options.report:
        options.report.write_text("\n".join(report) + "\n")
    sys.exit(any(": FAIL: " in line for line in report))


if __name__ == "__main__":
    main()
