"""wgangp-sample run=DIR: pictures from a trained generator; load_generator for use in other programs."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from wgangp.app import trust
from wgangp.app.compose import build, command
from wgangp.app.trust import recorded

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)


def main() -> None:
    command(sample, "sample")


def load_generator(run: str | Path, ema: bool = True, batchnorm: str = "batch", allow: Sequence[str] = ()) -> Any:
    """The generator of a run directory's newest checkpoint, or of a checkpoint file, on the CPU in eval mode.

    Called as generator(z, y=None) with z of (n, generator.nz), y of (n,); gives (n, *shape), images in [-1, 1], or
    for text the characters' probabilities (n, v, t), which wgangp.data.text.decode reads with generator.vocabulary.
    BatchNorm uses the statistics of the batch it is given, as the paper does, or with batchnorm="running" averages.
    `allow` names packages beside wgangp whose networks you trust. Raises FileNotFoundError or ValueError where there is
    no sound checkpoint, or one of other networks.
    """
    import torch

    from wgangp.models.layers import use_batch_statistics
    from wgangp.run_dir.checkpoint import load_newest

    _, state = load_newest(Path(run))
    config = recorded(state["config"])
    trust.allowed = (*trust.allowed, *allow)
    weights, data = state["ema" if ema else "generator"], {"shape": state["shape"], "num_classes": state["num_classes"]}
    try:
        with torch.device("meta"):  # without memory at first: a stranger's configuration may be of any width
            build(config.generator, **data).load_state_dict(weights, assign=True)
    except RuntimeError as error:
        raise ValueError(f"run={run}: its weights are not those of the generator that it describes") from error
    generator = build(config.generator, **data)
    generator.load_state_dict(weights)
    generator.vocabulary = state.get("vocabulary")
    if batchnorm == "batch":
        use_batch_statistics(generator)
    return generator.requires_grad_(False).eval()


def slerp(a: "Tensor", b: "Tensor", t: "Tensor") -> "Tensor":
    """Points at t (k,) on the great circles from a to b, both (n, nz): (n, k, nz) (White 2016)."""
    cosine = (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))
    angle = cosine.clamp(-1, 1).acos().clamp(min=1e-6)[:, None, None]  # (n, 1, 1)
    t = t[None, :, None]
    return (((1 - t) * angle).sin() * a[:, None] + (t * angle).sin() * b[:, None]) / angle.sin()


def latents(cfg: DictConfig, generator: Any) -> "tuple[Tensor, Tensor, int | None]":
    """z (n, nz), y (n,) and the columns of their grid: rows of interpolations, or one row of latents per class."""
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
    """Samples x (n, *) as one picture, or separate: image files, lines of text."""
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
    """Writes a grid, single files, or rows of interpolations, and tells where."""
    import torch

    from wgangp.machine.device import choose_device, seed_step
    from wgangp.observer import CHUNK

    device, run = choose_device(cfg.device), Path(cfg.run)
    generator = load_generator(run, cfg.ema, cfg.batchnorm).to(device)
    seed_step(cfg.seed, 0, "sample")
    z, y, columns = latents(cfg, generator)
    chunks = zip(z.split(CHUNK), y.split(CHUNK), strict=True)
    x = torch.cat([generator(a.to(device), b.to(device)).cpu() for a, b in chunks])
    name = f"seed_{cfg.seed}" + ("_interpolation" if cfg.interpolate else "")
    out = Path(cfg.out) if cfg.out else (run.parents[1] if run.is_file() else run) / "samples" / name
    log.info("%s", write(x, generator.vocabulary, columns, cfg.format == "files", out.parent, out.name))


if __name__ == "__main__":
    main()
