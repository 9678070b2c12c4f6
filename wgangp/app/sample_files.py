"""Samples of a run, drawn and written: pictures, files of their own, arrays, tables and films."""

import csv
import logging
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig
from PIL import Image
from torch import Tensor

from wgangp import pictures
from wgangp.app.sample_conditions import as_in_data, class_number, in_units
from wgangp.app.sample_draws import in_rows, in_steps, samples_of, stepped, wanted_latents
from wgangp.app.sample_names import name_of, place
from wgangp.data.text import decode
from wgangp.machine.paths import local_path
from wgangp.machine.seeds import seed_step
from wgangp.models import Generator
from wgangp.pictures.film import FILM_FORMATS
from wgangp.pictures.images import to_uint8
from wgangp.run_dir.checkpoint import run_of
from wgangp.run_dir.files import replacing_regular
from wgangp.sampling import as_array, slerp

log = logging.getLogger(__name__)
MANY_FRAMES = 200
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".pdf")


def write_samples(cfg: DictConfig, run: Path, step: int, generator: Generator) -> Path:
    """Draws and writes the samples that are asked for, of the generator of a run after this step; returns where.

    Raises ValueError if the generator has none such, or the options exclude one another.
    """
    check_rows(cfg)
    if cfg.proportions == "data" and cfg.label is not None:
        raise ValueError("label and proportions=data exclude each other: leave out one of them")
    if cfg.proportions == "data" and not generator.class_counts:
        raise ValueError("proportions=data: this run has no classes, or its checkpoint not their numbers: leave it out")
    seed_step(cfg.seed, 0, "sample")
    label = class_number(cfg.label, generator)
    out = destination(cfg, run, step, a_folder=cfg.format == "files" and not generator.vocabulary)
    kind = out.suffix.lower().removeprefix(".") if cfg.format == "grid" else cfg.format
    if is_film(kind, cfg, generator):
        return write_film(cfg, generator, label, out, kind)
    if cfg.format == "files":
        z, y, rows = wanted_latents(cfg, generator, label)
        return write_files(samples_of(generator, z, y, rows), y[rows], generator, out)
    write = {"npy": write_array, "csv": write_table}.get(kind, write_picture)
    return write(cfg, generator, label, out)


def destination(cfg: DictConfig, run: Path, step: int, a_folder: bool) -> Path:
    """Returns the file, or a folder, for the samples. The file's ending may be missing; one may be in a given folder.

    Raises ValueError if it cannot be written.
    """
    name = name_of(cfg, step)
    if cfg.out is None:
        out = place(run_of(run), name)
    elif (out := local_path(cfg.out)).is_dir() and not a_folder:
        out /= name
    if a_folder and out.is_file():
        raise ValueError(f"{out} is a file: give a folder by out=, which gets a file for each sample")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"{out}: {error.strerror}; give a file in a folder that can be written by out=") from error
    return out


def with_ending(out: Path, ending: str) -> Path:
    """Returns a file's name with this ending, added if it is not there."""
    return out if out.suffix.lower() == ending else out.with_name(f"{out.name}{ending}")


def check_rows(cfg: DictConfig) -> None:
    """Raises ValueError if rows are asked for in two ways, or in a file that has none."""
    ways = ["interpolate=true"] * bool(cfg.interpolate)
    ways += [f"sweep_condition={cfg.sweep_condition}"] * (cfg.sweep_condition is not None)
    if len(ways) > 1:
        raise ValueError(f"{' and '.join(ways)} are two kinds of rows: leave out one")
    if ways and cfg.format == "files":
        raise ValueError(f"{ways[0]} is for pictures, films and arrays: leave out format=files")


def is_film(kind: str, cfg: DictConfig, generator: Generator) -> bool:
    """Whether gif, webp or mp4 is asked for, by `format` or by the name of the file, and the samples move."""
    moves = generator.is_video or cfg.interpolate
    if cfg.format in FILM_FORMATS and not moves:
        raise ValueError(
            f"format={cfg.format} is for video: add interpolate=true for a film from one sample to the next"
        )
    return kind in FILM_FORMATS and moves


def write_picture(cfg: DictConfig, generator: Generator, label: int | None, out: Path) -> Path:
    """Writes a grid, rows of interpolations, one row of the same latents for each class, or lines of text."""
    x, columns, labels, wanted = in_rows(cfg, generator, label)
    if x.ndim == 2 and in_steps(cfg):
        kinds = "npy" if generator.data_units is None else "npy or csv"
        raise ValueError(f"steps of points, or of rows of a table, cannot be seen in a picture: take format={kinds}")
    if generator.vocabulary and out.suffix.lower() == ".txt":
        return write_lines(x, generator.vocabulary, out)
    if out.suffix.lower() not in PICTURES:
        chosen = cfg.out is not None and out.name == local_path(cfg.out).name  # not by name_of, whose names have points
        if chosen and any(letter.isalpha() for letter in out.suffix):
            raise ValueError(f"out={out}: samples are written as .npy, .csv, .txt, {', '.join(PICTURES)}: choose one")
        out = out.with_name(f"{out.name}.png")  # also of "step_1.5"
    picture = pictures.draw(
        x,
        vocabulary=generator.vocabulary,
        labels=labels,
        class_names=generator.class_names,
        columns=columns,
        numbers=wanted if cfg.numbers else None,
        units=generator.data_units,
        is_video=generator.is_video,
    )
    encoded = BytesIO()  # first, so that a failure leaves an existing file as it is
    Image.fromarray(picture).save(encoded, Image.registered_extensions()[out.suffix.lower()])
    with replacing_regular(out, "wb") as file:
        file.write(encoded.getvalue())
    return out


def write_array(cfg: DictConfig, generator: Generator, label: int | None, out: Path) -> Path:
    """Writes all samples as one .npy, as `as_array` has them, and beside it their labels or conditions."""
    z, y, rows = stepped(cfg, generator, *wanted_latents(cfg, generator, label))
    out = with_ending(out, ".npy")
    labels, conditions = (out.with_name(f"{out.stem}_{what}.npy") for what in ("labels", "conditions"))
    refuse_beside({labels: bool(generator.num_classes), conditions: generator.data_conditions is not None})
    arrays = {out: as_array(samples_of(generator, z, y, rows), generator)}
    if generator.num_classes:
        arrays[labels] = as_in_data(y[rows], generator)
    if generator.data_conditions is not None:
        arrays[conditions] = in_units(y[rows], generator.data_conditions)
    for path, array in arrays.items():
        with replacing_regular(path, "wb") as file:
            np.save(file, array, allow_pickle=False)
    return out


def write_table(cfg: DictConfig, generator: Generator, label: int | None, out: Path) -> Path:
    """Writes samples as a .csv: their columns by name, then a column for the class or each number of the condition."""
    z, y, rows = stepped(cfg, generator, *wanted_latents(cfg, generator, label))
    units, known = generator.data_units, generator.data_conditions
    if units is None or len(units.axes) > 2:
        raise ValueError("a .csv is for tables: choose format=npy for an array")
    x = as_array(samples_of(generator, z, y, rows), generator)
    x = (x if units.axes.startswith("n") else x.T).reshape(len(rows), -1)  # a row for each sample
    out = with_ending(out, ".csv")
    names, parts = [*(units.names or (f"x{i}" for i in range(x.shape[1])))], [x]
    if generator.num_classes:
        free = next(name for name in ("class", "label", "class of the sample") if name not in names)
        names, parts = [*names, free], [*parts, as_in_data(y[rows], generator)[:, None]]
    if known is not None and len(known.shape) == 1:
        more = known.units.names or tuple(f"condition{i}" for i in range(known.shape[0]))
        given = in_units(y[rows], known)
        given = (given if known.units.axes.startswith("n") else given.T).reshape(len(rows), -1)
        names, parts = [*names, *more], [*parts, given]
    with replacing_regular(out) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        writer.writerows([value for part in row for value in part.tolist()] for row in zip(*parts, strict=True))
    return out


def write_files(x: Tensor, y: Tensor, generator: Generator, out: Path) -> Path:
    """Writes each image to a file of its own, and their classes to a table beside them; text to one file of lines."""
    if generator.vocabulary:
        return write_lines(x, generator.vocabulary, out)
    if x.ndim != 4 or generator.data_units is not None:
        raise ValueError(
            "format=files is for images and text: choose format=npy for an array, format=grid for a picture"
            + (", format=webp for a film" if generator.is_video else "")
        )
    out.mkdir(exist_ok=True)
    if (out / f"{len(x):06d}.png").exists():
        raise ValueError(f"{out} has more than {len(x)} samples of another command: give another folder by out=")
    labels = out.with_name(f"{out.name}_labels.csv")
    refuse_beside({labels: bool(generator.num_classes)})
    for i, image in enumerate(to_uint8(x)):
        with replacing_regular(out / f"{i:06d}.png", "wb") as file:
            Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image).save(file, "PNG")
    if generator.num_classes:
        with replacing_regular(labels) as file:
            lines = csv.writer(file, lineterminator="\n")
            lines.writerow(["file", "class"])
            lines.writerows([f"{i:06d}.png", name] for i, name in enumerate(as_in_data(y, generator).tolist()))
    return out


def refuse_beside(written: dict[Path, bool]) -> None:
    """Raises ValueError if there is a file of labels or conditions that is not written: it is of other samples."""
    for path in (path for path, is_written in written.items() if not is_written and path.exists()):
        raise ValueError(f"{path} belongs to samples of another command: give another out=")


def write_lines(x: Tensor, vocabulary: str, out: Path) -> Path:
    """Writes text to a file of lines."""
    out = with_ending(out, ".txt")
    with replacing_regular(out) as file:
        file.write("".join(f"{line}\n" for line in decode(x, vocabulary)))
    return out


def write_film(cfg: DictConfig, generator: Generator, label: int | None, out: Path, kind: str) -> Path:
    """Writes clips side by side; else a closed loop through n latents, `frames` pictures from each to the next."""
    no_film = f"text, points and rows make no film, .{kind}: leave it out for rows of 8 steps"
    if generator.vocabulary:
        raise ValueError(no_film)
    if generator.is_video:
        x, columns, labels, wanted = in_rows(cfg, generator, label)
        numbers = wanted if cfg.numbers else None
        shown, fps = pictures.moving(x, columns, labels, generator.class_names, numbers), pictures.FPS
    else:
        z, y, rows = wanted_latents(cfg, generator, label)
        t = torch.linspace(0, 1, cfg.frames + 1)[:-1]
        path = slerp(z[rows], z[rows].roll(-1, 0), t).flatten(0, 1)
        x = samples_of(generator, path, y[rows].repeat_interleave(cfg.frames, dim=0), torch.arange(len(path)))
        if x.ndim == 2:
            raise ValueError(no_film)
        if len(x) > MANY_FRAMES:
            log.info("drawing %s frames: a smaller n= or frames= makes a shorter film", f"{len(x):,}")
        shown, fps = [pictures.draw(frame[None], units=generator.data_units) for frame in x], cfg.frames
    content = pictures.encoded(shown, kind, fps)
    out = with_ending(out, f".{kind}")
    with replacing_regular(out, "wb") as file:
        file.write(content)
    return out
