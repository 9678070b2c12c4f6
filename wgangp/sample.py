"""wgangp-sample run=DIR: pictures from a trained generator."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from wgangp.app.compose import command

if TYPE_CHECKING:
    from torch import Tensor

    from wgangp.models.layers import Generator

log = logging.getLogger(__name__)


def main() -> None:
    command(sample, "sample")


def slerp(a: "Tensor", b: "Tensor", t: "Tensor") -> "Tensor":
    """Returns points (n, k, nz) at t (k,) on the great circles from a to b, both (n, nz) (White 2016)."""
    cosine = (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))
    angle = cosine.clamp(-1, 1).acos().clamp(min=1e-6)[:, None, None]  # (n, 1, 1)
    t = t[None, :, None]
    return (((1 - t) * angle).sin() * a[:, None] + (t * angle).sin() * b[:, None]) / angle.sin()


def latents(cfg: DictConfig, generator: "Generator") -> "tuple[Tensor, Tensor, int | None]":
    """Returns z (n, nz), y (n,) and the columns of their grid: rows of interpolations, or of one latent per class."""
    import torch

    classes = max(1, generator.num_classes)
    if cfg.label is not None and not 0 <= cfg.label < generator.num_classes:
        raise ValueError(f"label={cfg.label}: this generator has {generator.num_classes} classes")
    z, columns = torch.randn(cfg.n, generator.nz), None
    if cfg.interpolate:
        columns = 8
        z = slerp(z, z.roll(1, 0), torch.linspace(0, 1, columns)).flatten(0, 1)  # n rows of 8
    if cfg.label is not None:
        return z, torch.full((len(z),), cfg.label), columns
    if classes > 1 and cfg.format == "grid" and not cfg.interpolate:
        columns = max(1, cfg.n // classes)
        return z[:columns].repeat(classes, 1), torch.arange(classes).repeat_interleave(columns), columns
    return z, torch.arange(len(z)) % classes, columns


def write(x: "Tensor", vocabulary: str | None, columns: int | None, separate: bool, folder: Path, name: str) -> Path:
    """Writes samples x (n, *) as one picture, or separately: image files, lines of text."""
    from PIL import Image

    from wgangp.data.text import decode
    from wgangp.pictures import plots

    folder.mkdir(parents=True, exist_ok=True)
    if separate and x.ndim == 4:
        (folder / name).mkdir(exist_ok=True)
        for i, image in enumerate(plots.to_uint8(x)):
            Image.fromarray(image.squeeze()).save(folder / name / f"{i:06d}.png")
        return folder / name
    if vocabulary and (separate or name.endswith(".txt")):
        out = (folder / name).with_suffix(".txt")
        out.write_text("".join(f"{line}\n" for line in decode(x, vocabulary)), encoding="utf-8")
        return out
    if separate:
        raise ValueError("format=files is for images and text: points in the plane make one picture, format=grid")
    if vocabulary:
        picture = plots.page(decode(x, vocabulary))
    else:
        picture = plots.grid(x, columns) if x.ndim == 4 else plots.scatter(x)
    out = folder / name if Path(name).suffix else folder / f"{name}.png"
    Image.fromarray(picture).save(out)
    return out


def sample(cfg: DictConfig) -> None:
    """Writes a grid, single files, or rows of interpolations, and logs where."""
    import torch
    from torch import Tensor

    from wgangp.machine.device import choose_device, seed_step
    from wgangp.run import Run, load_generator
    from wgangp.sampling import chunks, generate

    device, run = choose_device(cfg.device), Run(str(cfg.run))
    generator = load_generator(run.path, cfg.ema, cfg.batchnorm, cfg.allow).to(device)
    seed_step(cfg.seed, 0, "sample")
    z, y, columns = latents(cfg, generator)
    x = torch.cat(generate(generator, chunks(z, y), Tensor.cpu))
    name = f"seed_{cfg.seed}" + ("_interpolation" if cfg.interpolate else "")
    out = Path(str(cfg.out)).expanduser() if cfg.out is not None else run.directory / "samples" / name
    log.info("%s", write(x, generator.vocabulary, columns, cfg.format == "files", out.parent, out.name))


if __name__ == "__main__":
    main()
