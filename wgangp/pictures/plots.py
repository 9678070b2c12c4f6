"""Pictures as (h, w, 3) uint8 arrays."""

import logging
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

logging.getLogger("matplotlib").setLevel(logging.WARNING)  # at its first use it tells of its font cache


def to_uint8(images: Tensor) -> np.ndarray:
    """(n, c, h, w) in [-1, 1] to (n, h, w, c) uint8, as the official code: int((x + 1) * 255.99 / 2)."""
    return ((images.float() + 1) * (255.99 / 2)).clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()


def grid(images: Tensor, columns: int | None = None) -> np.ndarray:
    """Images (n, c, h, w) in [-1, 1], row by row; a square where no number of columns is given."""
    from torchvision.utils import make_grid  # costs a second, which toy runs need not spend

    columns = columns or math.ceil(math.sqrt(len(images)))
    return to_uint8(make_grid(images, nrow=columns, padding=2, pad_value=-1.0)[None])[0]


def page(lines: list[str]) -> np.ndarray:
    """Lines of text, black on white."""
    from PIL import Image, ImageDraw

    text = "\n".join(lines)
    box = ImageDraw.Draw(Image.new("RGB", (1, 1))).multiline_textbbox((8, 8), text)
    picture = Image.new("RGB", (math.ceil(box[2]) + 8, math.ceil(box[3]) + 8), "white")
    ImageDraw.Draw(picture).multiline_text((8, 8), text, fill="black")
    return np.asarray(picture)


def scatter(fake: Tensor, real: Tensor | None = None, critic: Callable[[Tensor], Tensor] | None = None) -> np.ndarray:
    """Points (n, 2), over the level sets of a critic if given (Gulrajani et al. 2017, figure 1a)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    both = fake if real is None else torch.cat([fake, real])
    limit = 1.2 * (both.abs().quantile(0.999).item() if real is None else real.abs().max().item())
    figure = Figure(figsize=(6, 6), dpi=100, layout="tight")
    axes = figure.add_subplot(aspect="equal", xlim=(-limit, limit), ylim=(-limit, limit))
    if critic is not None:
        ticks = torch.linspace(-limit, limit, 128, device=fake.device)
        points = torch.cartesian_prod(ticks, ticks)  # (128 * 128, 2)
        level = critic(points)[:, 0].float().view(128, 128).T.cpu()
        axes.contourf(ticks.cpu(), ticks.cpu(), level, levels=24, cmap="Blues_r", alpha=0.8)
    if real is not None:
        axes.scatter(real[:, 0].cpu(), real[:, 1].cpu(), s=6, color="orange", label="real")
    axes.scatter(fake[:, 0].cpu(), fake[:, 1].cpu(), s=3, color="black", label="fake")
    axes.legend(loc="upper right")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
