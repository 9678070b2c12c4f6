"""How far a run is: a bar on terminals, elsewhere a line a log step, and warnings of runs that lead nowhere."""

import logging
import math
import sys
import time
from collections.abc import Mapping
from typing import Any

from tqdm import tqdm

from wgangp.machine.distributed import is_main

log = logging.getLogger(__name__)
MOST_CPU_HOURS = 3  # of a run; longer ones get a warning at their start
CPU_RUNS = (
    "dataset=gaussians25; experiment=laptop/NAME: mnist, fashion, cifar10, faces, own_images, "
    "table, signals or language"
)
SHOWN = ("critic/wasserstein", "critic/loss", "generator/loss", "critic/gradient_norm")


class Progress:
    """Progress of a run from step `first` to `steps`. The clock starts when it is made."""

    def __init__(self, first: int, steps: int, on_cpu: bool) -> None:
        self.first, self.steps, self.started = first, steps, time.monotonic()
        self.warm = self.started  # when the first step was done, which compiles
        self.estimated = not on_cpu
        self.is_flat = False  # the critic, as was warned of

    def seconds(self) -> float:
        return time.monotonic() - self.started

    def bar(self) -> "tqdm[Any]":
        options: dict[str, Any] = {"unit": "step", "mininterval": 1, "dynamic_ncols": True, "disable": not shows_bar()}
        return tqdm(total=self.steps, initial=self.first, **options)

    def line(self, step: int, scalars: Mapping[str, float]) -> str:
        """One line for logs and terminals without a progress bar."""
        done, elapsed = step - self.first, self.seconds()
        left = duration(elapsed / max(done, 1) * (self.steps - step))
        names = [*SHOWN, *(name for name in scalars if name.startswith("eval/"))]
        shown = ", ".join(f"{name} {scalars[name]:.4g}" for name in names if name in scalars)
        rate = f"{done / max(elapsed, 1e-9):.2f} steps/s, {left} left"
        return f"step {step} of {self.steps}: {'; '.join(filter(None, [shown, rate]))}"

    def warn_if_hopeless(self, step: int) -> None:
        """Once, after eleven steps or half a minute: warns of a run that takes many hours on a CPU."""
        done, now = step - self.first - 1, time.monotonic()
        if done == 0:
            self.warm = now
        if self.estimated or done == 0 or (done < 10 and now - self.warm <= 30):
            return
        self.estimated = True
        seconds = (now - self.warm) / done
        if seconds * (self.steps - step) > 3600 * MOST_CPU_HOURS:
            log.warning(
                "this run takes about %s on this CPU, at %.2g s a step. Runs that fit: steps=%d of this one; its "
                "networks made narrower by generator.width=16 critic.width=16; %s. Or use a GPU",
                duration(seconds * (self.steps - step)),
                seconds,
                round_down(3600 * MOST_CPU_HOURS / seconds),
                CPU_RUNS,
            )

    def warn_if_flat(self, step: int, scalars: Mapping[str, float]) -> None:
        """Once: warns of a critic whose gradient is exactly 0, as of units that are all dead."""
        if self.is_flat or scalars.get("critic/gradient_norm") != 0:
            return
        self.is_flat = True
        log.warning(
            "step %d: the critic's gradient is 0 everywhere, so the generator learns nothing from its scores. If this "
            "lasts, its units are dead: start again with a smaller critic_optimizer.lr, or with critic.norm=layer if "
            "the critic is convolutional",
            step,
        )


def shows_bar() -> bool:
    """Whether a progress bar is shown: on terminals. Elsewhere each log step is a line."""
    return is_main() and sys.stderr is not None and sys.stderr.isatty()


def round_down(number: float) -> int:
    """Returns a whole number of two digits and zeros, at least 1: 1,234 becomes 1,200."""
    unit = 10 ** max(0, math.floor(math.log10(max(number, 1))) - 1)
    return max(1, int(number // unit * unit))


def duration(seconds: float) -> str:
    """Returns 2 d 3 h, 5 h 20 min, 12 min, or 40 s."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"
