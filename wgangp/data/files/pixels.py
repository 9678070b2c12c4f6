"""One encoded image to uint8 pixels: upright, 8 bits deep, its central square resized."""

import functools
import io
import logging
import math
import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from wgangp.data.files.listing import FORMATS, TGA, Encoded
from wgangp.machine.text import shown

log = logging.getLogger(__name__)

PAGED = (".gif", ".tif", ".tiff", ".webp", ".apng")  # endings of files that may have several images
ORIENTATION = 0x0112  # the EXIF tag
PHOTOMETRIC, WHITE_IS_ZERO = 0x0106, 0  # a tag of TIFF files, and a value of it
MANY = 0.01  # of an image's pixels
UPRIGHT = {  # by the value of the tag
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Unreadable(ValueError):
    """A file that is no sound image, on whatever machine."""


def decode_file(files: Encoded, name: str, size: int, channels: int, levels: float | None) -> np.ndarray:
    """Returns the central square of an image, (c, size, size) uint8.

    Raises Unreadable, naming the file, if it is damaged, and ValueError if the system fails to read it.
    """
    try:
        content, ending = files.read(name), os.path.splitext(name)[1].lower()
        pixels = decode_bytes(content, ending, size, channels, levels)
    except Exception as error:  # PIL raises OSError, SyntaxError, ValueError, struct.error ... on damaged files
        system = isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno is not None)
        message = f"{shown(files.path / name)} cannot be read as an image: remove or replace it ({reason_of(error)})"
        raise (ValueError if system else Unreadable)(message) from error
    with suppress(Exception):  # of damaged pages after the first, as many kinds as above
        if ending in PAGED and getattr(Image.open(io.BytesIO(content), formats=FORMATS), "n_frames", 1) > 1:
            say_pages(files.path)
    return pixels


def reason_of(error: Exception) -> str:
    """Returns why a file cannot be read as an image, in one line."""
    return "of no known format" if isinstance(error, UnidentifiedImageError) else shown(error) or type(error).__name__


@functools.cache
def say_pages(path: Path) -> None:
    """Logs once for a folder or zip that files have several pages or frames."""
    log.warning("%s has files of several pages or frames, and the first of each is taken", shown(path))


@functools.cache
def say_outside(levels: float) -> None:
    """Logs once that pixels are cut off."""
    log.warning("dataset.levels=%g: images have pixels below 0 or above it, which become black or white", levels)


def decode_bytes(content: bytes, ending: str, size: int, channels: int, levels: float | None) -> np.ndarray:
    formats = ("TGA",) if ending in TGA else FORMATS
    with Image.open(io.BytesIO(content), formats=formats) as file:
        file.draft("RGB", (2 * size, 2 * size))  # JPEGs may be decoded at a half or a quarter of their size
        deep = any(";16" in str(tile.args) for tile in file.tile)  # 16 bits a channel, of which PIL may keep 8
        levels = levels if levels is None else levels * _stretched(file)
        image = _upright(file)
        if deep and levels is not None and file.format == "PNG" and len(file.getbands()) > 1:
            image, levels = _upright(_from_16_bits(content, levels), file), None
        image = to_8_bits(image, deep, levels)
        tags = getattr(file, "tag_v2", {})  # of TIFF files
        if deep and tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:
            image = ImageOps.invert(image)  # PIL itself inverts those of 8 bits
        return squared(image, size, channels)


def _stretched(file: ImageFile.ImageFile) -> float:
    """Returns by how much PIL stretches the pixels of .pgm and .ppm files, whose header may name another white."""
    args = file.tile[0].args if file.format == "PPM" and file.tile else None
    white = args[-1] if isinstance(args, tuple) and isinstance(args[-1], int) else None
    return 1 if white is None else (65535 if file.mode == "I" else 255) / white


def squared(image: Image.Image, size: int, channels: int) -> np.ndarray:
    """Returns the central square of an image of 8 bits, resized, (c, size, size)."""
    image = image.convert("L" if channels == 1 else "RGB")
    image = ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)
    return np.ascontiguousarray(np.asarray(image).reshape(size, size, channels).transpose(2, 0, 1))


def _from_16_bits(content: bytes, levels: float) -> Image.Image:
    """Returns a PNG of 16-bit colours with 8 bits, where `levels` is white: from all 16 bits, of which PIL keeps 8."""
    from torchvision.io import ImageReadMode, decode_png

    x = decode_png(torch.frombuffer(bytearray(content), dtype=torch.uint8), ImageReadMode.UNCHANGED).numpy()
    white = np.full((len(x), 1, 1), levels)
    if len(x) in (2, 4):  # the last is alpha
        white[-1] = 65535
    x = np.rint(x.astype(np.float64) * (255 / white)).clip(0, 255).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(x.transpose(1, 2, 0)))


def _upright(image: Image.Image, tags: Image.Image | None = None) -> Image.Image:
    """Returns the image turned as the EXIF orientation of `tags` says, by default its own, if it is sound."""
    image.load()  # before the tag is read: PIL itself turns TIFF files, and removes their tag, when it loads them
    try:
        orientation = (tags or image).getexif().get(ORIENTATION)
    except Exception:  # as many kinds as PIL has for damaged images
        return image
    return image.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else image


def to_8_bits(image: Image.Image, deep: bool, levels: float | None) -> Image.Image:
    """Returns the image with 8 bits a channel, and transparency on white.

    `levels` is the pixel value of white; None: 65535 for 16 and 32 bits, 255 for 8 bits. Raises ValueError if the
    pixels are floating-point numbers and `levels` is None, since their white may be 1 or 255 or anything.
    """
    if image.mode == "F" and levels is None:
        raise ValueError("floating-point pixels: set dataset.levels to the value of white, such as 1")
    if image.mode == "F" or image.mode.startswith("I"):
        x = np.asarray(image).astype(np.float64)
        if np.isnan(x).any():
            raise ValueError("pixels are missing (NaN)")
        clear = x == image.info.get("transparency", math.nan)  # the grey that a PNG calls transparent
        if levels is not None and ((x < 0) | (x > levels)).mean() > MANY:
            say_outside(levels)
        x = np.floor(x / 256) if levels is None else np.rint(x * (255 / levels))
        return Image.fromarray(np.where(clear, 255, x).clip(0, 255).astype(np.uint8))
    if "A" in image.getbands() or "transparency" in image.info:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    if levels is not None:
        gain = (257 if deep else 1) * 255 / levels
        image = image if image.mode in ("L", "RGB") else image.convert("RGB")
        image = image.point([min(255, round(value * gain)) for value in range(256)] * len(image.getbands()))
    return image
