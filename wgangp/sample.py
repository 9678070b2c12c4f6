"""wgangp-sample run=DIR: pictures from a trained generator; load_generator for use in other programs."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from wgangp.config import build, command

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)
CHUNK = 100  # samples that share batch statistics, as in the official evaluation


def main() -> None:
    command(sample, "sample")


def load_generator(run: str | Path, ema: bool = True, batchnorm: str = "batch") -> Any:
    """The generator of a run directory's newest checkpoint, or of a checkpoint file, on the CPU in eval mode.

    Called as generator(z, y=None) with z of (n, generator.nz), y of (n,); gives (n, *shape), images in [-1, 1].
    BatchNorm uses the statistics of the batch it is given, as the paper does, or with batchnorm="running" averages.
    Raises FileNotFoundError or ValueError where there is no sound checkpoint.
    """
    from wgangp.checkpoint import load_checkpoint, newest_checkpoint
    from wgangp.layers import use_batch_statistics

    state = load_checkpoint(Path(run) if Path(run).is_file() else newest_checkpoint(Path(run)))
    config = OmegaConf.create(state["config"])
    generator = build(config.generator, shape=state["shape"], num_classes=state["num_classes"])
    generator.load_state_dict(state["ema" if ema else "generator"])
    if batchnorm == "batch":
        use_batch_statistics(generator)
    return generator.requires_grad_(False).eval()


def slerp(a: "Tensor", b: "Tensor", t: "Tensor") -> "Tensor":
    """Points at t (k,) on the great circles from a to b, both (n, nz): (n, k, nz) (White 2016)."""
    cosine = (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))
    angle = cosine.clamp(-1, 1).acos().clamp(min=1e-6)[:, None, None]  # (n, 1, 1)
    t = t[None, :, None]
    return (((1 - t) * angle).sin() * a[:, None] + (t * angle).sin() * b[:, None]) / angle.sin()


def sample(cfg: DictConfig) -> None:
    """Writes a grid, single files, or rows of interpolations, and tells where."""
    import torch
    from PIL import Image

    from wgangp import plots
    from wgangp.device import choose_device, seed_step

    device = choose_device(cfg.device)
    generator = load_generator(cfg.run, cfg.ema, cfg.batchnorm).to(device)
    seed_step(cfg.seed, 0, "sample")
    z = torch.randn(cfg.n, generator.nz)
    columns = None
    if cfg.interpolate:
        columns = 8
        z = slerp(z, z.roll(1, 0), torch.linspace(0, 1, columns)).flatten(0, 1)  # n rows of 8
    classes = max(1, generator.num_classes)
    if cfg.label is not None and not 0 <= cfg.label < generator.num_classes:
        raise ValueError(f"label={cfg.label}: this generator has {generator.num_classes} classes")
    y = torch.arange(len(z)) % classes if cfg.label is None else torch.full((len(z),), cfg.label)
    x = torch.cat(
        [generator(a.to(device), b.to(device)).cpu() for a, b in zip(z.split(CHUNK), y.split(CHUNK), strict=True)]
    )

    name = f"seed_{cfg.seed}" + ("_interpolation" if cfg.interpolate else "")
    out = Path(cfg.out or Path(cfg.run) / "samples" / (name if cfg.format == "files" else f"{name}.png"))
    if cfg.format == "files":
        if x.ndim != 4:
            raise ValueError("format=files is for images: points in the plane make one picture, format=grid")
        out.mkdir(parents=True, exist_ok=True)
        for i, image in enumerate(plots.to_uint8(x)):
            Image.fromarray(image.squeeze()).save(out / f"{i:06d}.png")
    else:
        out.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(plots.grid(x, columns) if x.ndim == 4 else plots.scatter(x)).save(out)
    log.info("%s", out)


if __name__ == "__main__":
    main()
