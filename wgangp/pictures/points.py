"""Samples that are numbers: points of the plane over a critic's level sets, vectors and signals."""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from wgangp import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_DIMENSIONS = 4  # dimensions of a vector
SIGNALS, MOST_ROWS = 16, 16  # of a picture; and rows of as many columns as the caller wants
MOST = 2**24  # values of which torch takes quantiles
REAL, FAKE = ("real", style.REAL, 14), ("generated", style.FAKE, 5)  # name, colour, size: also different in print


def scatter(
    fake: Tensor, real: Tensor | None = None, critic: Callable[[Tensor], Tensor] | None = None, title: str = ""
) -> np.ndarray:
    """Points (n, 2), over the level sets of a critic if given (Gulrajani et al. 2017, figure 1a), as (h, w, 3) uint8.

    With the same real points, every picture has the same axes and colours, so that pictures make a film.
    """
    parts = finite_parts(fake, real)
    limit = _limit(parts[0][0]) if parts else 1.0
    if lost := len(fake) - len(finite(fake)):
        title = f"{title}   {lost} of {len(fake)} samples are not finite".strip()
    with style.apply():
        width = 6.1 if critic is None else 7.0  # inches: all places are fixed, so that frames differ in content alone
        figure = style.figure(width, 6.6, layout=None)
        axes = figure.add_axes((0.65 / width, 0.1, 5.18 / width, 0.785), xlim=(-limit, limit), ylim=(-limit, limit))
        axes.grid(visible=critic is None)
        if critic is not None:
            _level_sets(axes, critic, limit, fake.device)
        for x, name, colour, size in parts:
            axes.scatter(x[:, 0].numpy(), x[:, 1].numpy(), s=size, color=colour, linewidths=0, label=name, zorder=3)
        figure.suptitle(title, x=0.65 / width, y=0.955, ha="left", va="center")
        if parts:
            place = (0.55 / width, 0.912)  # above the axes: hides no mode
            figure.legend(loc="center left", bbox_to_anchor=place, ncols=2, markerscale=2.5, handletextpad=0.2)
        return style.pixels(figure)


def finite(x: Tensor | None) -> Tensor:
    """The rows of x (n, d) without NaN or infinity, on the CPU in float64; none if x is None."""
    if x is None:
        return torch.empty(0, 2)
    x = x.detach().cpu().double()
    return x[x.isfinite().all(dim=1)]


def finite_parts(fake: Tensor, real: Tensor | None) -> list[tuple[Tensor, str, str, int]]:
    """Returns (finite rows, name, colour, size) of the real samples, then of the generated ones, if there are any."""
    return [(x, *look) for x, look in ((finite(real), REAL), (finite(fake), FAKE)) if len(x)]


def _limit(x: Tensor) -> float:
    """Half of the axes' length: a tenth of a unit more than the points need, without the most extreme ones."""
    return max(0.1, math.ceil(12 * x.abs().flatten().quantile(0.999).item()) / 10)


def _level_sets(axes: "Axes", critic: Callable[[Tensor], Tensor], limit: float, device: torch.device) -> None:
    """24 levels on a scale of round numbers, from which the critic's additive constant is taken away."""
    ticks = torch.linspace(-limit, limit, 128, device=device)
    with torch.no_grad():
        level = critic(torch.cartesian_prod(ticks, ticks))[:, 0].float().view(128, 128).T.cpu()
    found = level[level.isfinite()]
    if not len(found):
        return
    level = level - (found.min() + found.max()) / 2
    scale = _round_up(((found.max() - found.min()) / 2).item())
    drawn = axes.contourf(
        *(ticks.cpu().numpy(),) * 2,
        np.ma.masked_invalid(level.numpy()),
        levels=np.linspace(-scale, scale, 25),
        cmap=style.level_colours(),
    )
    axes.contour(drawn, colors="white", linewidths=0.5, linestyles="solid")
    assert axes.figure is not None
    place = axes.figure.add_axes((0.86, 0.1, 0.025, 0.785))
    bar = axes.figure.colorbar(drawn, cax=place, ticks=np.linspace(-scale, scale, 5))
    place.ticklabel_format(axis="y", scilimits=(-3, 4))  # longer numbers would push the label out of the picture
    bar.set_label("critic f(x), up to a constant (higher: more real)")
    bar.outline.set_visible(False)


def _round_up(value: float) -> float:
    """The next of 1, 1.5, 2, 3, 5 and 7 times a power of ten: the scale of most frames of a film is the same."""
    if not 1e-30 < value < 1e30:
        return 1e-30 if value <= 1e-30 else 1e30
    power = 10.0 ** math.floor(math.log10(value))
    return next(power * step for step in (1, 1.5, 2, 3, 5, 7, 10, 15) if power * step >= value)


def vectors(fake: Tensor, real: Tensor | None = None, title: str = "", names: Sequence[str] = ()) -> np.ndarray:
    """Vectors (n, d): the first dimensions against each other, and their histograms, as (h, w, 3) uint8.

    They are the first 4, or all that have names.
    """
    d = fake.shape[1]
    k, names = (d, names) if names else (min(MOST_DIMENSIONS, d), [f"x[{i}]" for i in range(d)])
    parts = finite_parts(fake, real)
    ranges = [interval(parts[0][0][:, i]) if parts else (-1.0, 1.0) for i in range(k)]
    with style.apply():
        figure = style.figure(*(5.0, 3.4) if k == 1 else (2.2 * k, 2.2 * k))
        for i in range(k):
            for j in range(i + 1):
                axes = figure.add_subplot(k, k, i * k + j + 1, xlim=ranges[j])
                if i == j:
                    for x, name, colour, *_ in parts:
                        histogram(axes, x[:, i], ranges[i], name, colour)
                else:
                    for x, _, colour, size in parts:
                        axes.scatter(x[:, j].numpy(), x[:, i].numpy(), s=size / 2, color=colour, linewidths=0)
                    axes.set_ylim(ranges[i])
                axes.set_xlabel(names[j] if i == k - 1 else "")
                axes.set_ylabel("density" if i == j else names[i] if j == 0 else "")
        note = f"the first {k} of {d} dimensions" if k < d else ""
        figure.suptitle("   ".join(filter(None, (title, note))) or " ", x=0.02, ha="left")
        figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
        return style.pixels(figure)


def histogram(axes: "Axes", x: Tensor, limits: tuple[float, float], name: str, colour: str) -> None:
    """Real samples as an area, generated ones as a line; a density of all, also of those outside the limits."""
    kind: Literal["stepfilled", "step"] = "stepfilled" if name == "real" else "step"
    bins = np.linspace(*limits, 41)
    shares = np.full(len(x), 1 / max(1, len(x)) / (bins[1] - bins[0]))
    axes.hist(x.numpy(), bins=bins.tolist(), weights=shares, color=colour, histtype=kind, label=name)


def interval(x: Tensor, margin: float = 0.1) -> tuple[float, float]:
    """The interval of an axis: nearly all values and a tenth of their spread on each side."""
    x = x[x.isfinite()][:MOST]
    if not len(x):
        return -1.0, 1.0
    low, high = x.quantile(0.001).item(), x.quantile(0.999).item()
    margin = margin * (high - low) if high > low else 1.0
    return low - margin, high + margin


def signals(
    fake: Tensor,
    real: Tensor | None = None,
    title: str = "",
    columns: int | None = None,
    classes: Sequence[str] = (),
) -> np.ndarray:
    """Signals (n, t) or (n, c, t), a line per channel, as (h, w, 3) uint8.

    They are 16, the first 4 real ones if given; or up to MOST_ROWS rows of so many columns. Each has its class above.
    """
    most, columns = (MOST_ROWS * columns, columns) if columns else (SIGNALS, 4)
    real = fake[:0] if real is None else real[: SIGNALS // 4]
    drawn = [(x, *REAL[:2]) for x in real.cpu().double()]
    shown = fake[: most - len(real)].cpu().double()
    drawn += [(x, name, FAKE[1]) for x, name in zip(shown, classes or [FAKE[0]] * len(shown), strict=False)]
    low, high = interval(torch.cat([x[x.isfinite()] for x, _, _ in drawn]))
    rows = math.ceil(len(drawn) / columns)
    with style.apply():
        figure = style.figure(max(10, 1.6 * columns), 1.6 * rows + 0.6)
        panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        for axes, (x, name, colour) in zip(panels.flat, drawn, strict=False):
            for line in x.reshape(-1, x.shape[-1]).numpy():
                axes.plot(line, linewidth=1, **{"color": colour} if x.ndim == 1 else {})
            axes.set_title(name, fontsize=9, color=style.MUTED, fontweight="normal", parse_math=False)
            axes.set_ylim(low, high)
        for axes in panels.flat[len(drawn) :]:
            axes.axis("off")
        left_out = f"   {most - len(real)} of {len(fake)} samples" if len(fake) > most - len(real) else ""
        figure.suptitle((title + left_out).strip() or " ", x=0.02, ha="left")
        return style.pixels(figure)
