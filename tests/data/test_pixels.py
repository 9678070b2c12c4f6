"""One image file to pixels: upright, of every format and depth."""

import io
import struct

import numpy as np
import pytest
import torch
from PIL import Image

from wgangp.data.files.pixels import UPRIGHT, decode_bytes, say_outside
from wgangp.data.sources import image_folder

PHOTOS = {"size": 8, "channels": 3, "classes": None, "limit": None, "levels": None, "verify": False, "cache": None}
PHOTOS |= {"held_out": None}
PHOTOS |= {"flip": False, "dequantise": False, "seed": 0, "device": torch.device("cpu")}
INVERSE = {2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}  # turning by the one undoes the other
# Lossless, so that upright and turned can be equal; JPEG and AVIF are compared with a tolerance.
FORMATS = {"PNG": {}, "WEBP": {"lossless": True}, "TIFF": {}, "JPEG": {"quality": 100}, "AVIF": {"quality": 100}}


def corners(mode, side=64):
    """A picture whose four quarters differ, smooth enough for JPEG."""
    x = np.zeros((side, side, 3), np.uint8)
    half = side // 2
    x[:half, :half], x[:half, half:], x[half:, :half], x[half:, half:] = (250, 30, 30), (30, 250, 30), (30, 30, 250), 90
    return Image.fromarray(x).convert(mode)


def encoded(image, kind, orientation=None, **options):
    file, exif = io.BytesIO(), Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
        options["exif"] = exif
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [8, 64])  # JPEGs are decoded at a quarter, or as they are
def test_images_are_upright(kind, channels, size):
    upright = corners("L" if channels == 1 and kind != "AVIF" else "RGB")
    expected = decode_bytes(encoded(upright, kind, **FORMATS[kind]), "", size, channels, None).astype(int)
    for orientation in range(1, 9):
        turned = upright.transpose(UPRIGHT[INVERSE[orientation]]) if orientation > 1 else upright
        content = encoded(turned, kind, orientation, **FORMATS[kind])
        found = decode_bytes(content, "", size, channels, None).astype(int)
        assert np.abs(found - expected).max() <= (12 if kind in ("JPEG", "AVIF") else 0), orientation


@pytest.mark.parametrize("exif", [b"Exif\0\0nonsense", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0", b"?"])
def test_a_damaged_exif_block_spoils_no_image(exif):
    good = corners("RGB")
    expected = decode_bytes(encoded(good, "JPEG"), "", 8, 3, None)
    assert np.array_equal(decode_bytes(encoded(good, "JPEG", exif=exif), "", 8, 3, None), expected)


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_an_unknown_orientation_changes_nothing(orientation):
    expected = decode_bytes(encoded(corners("RGB"), "PNG"), "", 8, 3, None)
    assert np.array_equal(decode_bytes(encoded(corners("RGB"), "PNG", orientation), "", 8, 3, None), expected)


def deep(value, dtype, kind="PNG"):
    return encoded(Image.fromarray(np.full((10, 12), value, dtype)), kind)


@pytest.mark.parametrize(
    ("content", "levels", "expected"),
    [
        (deep(3000, np.uint16), 4095, 187),
        (deep(3000, np.uint16), None, 11),
        (deep(4095, np.uint16), 4095, 255),
        (deep(9999, np.uint16), 4095, 255),  # brighter than white
        (deep(200, np.int32, "TIFF"), 255, 200),
        (deep(200, np.int32, "TIFF"), None, 0),
        (deep(2**30, np.int32, "TIFF"), 2**31 - 1, 128),
        (deep(0.5, np.float32, "TIFF"), 1.0, 128),
        (deep(1, np.uint8), 1, 255),
        (deep(1, np.uint8), 15, 17),
        (encoded(Image.new("RGB", (9, 9), (3, 3, 3)), "PNG"), 15, 51),
    ],
)
def test_levels_tell_which_value_is_white(content, levels, expected):
    assert set(decode_bytes(content, "", 4, 1, levels).flat) == {expected}


def test_missing_pixels_are_refused():
    with pytest.raises(ValueError, match="pixels are missing"):
        decode_bytes(deep(np.nan, np.float32, "TIFF"), "", 4, 1, 1.0)


@pytest.mark.parametrize("value", [-100, 5000])
def test_pixels_beyond_black_and_white_are_said_once(value, caplog):
    say_outside.cache_clear()
    for _ in range(2):
        decode_bytes(deep(value, np.int32, "TIFF"), "", 4, 1, 4095)
    assert [r.getMessage() for r in caplog.records] == [
        "dataset.levels=4095: images have pixels below 0 or above it, which become black or white"
    ]


def png16(value):
    """An RGB PNG of 16 bits a channel, which PIL cannot write and reads as 8 bits."""
    import struct
    import zlib

    rows = (b"\0" + struct.pack(">H", value) * 3 * 9) * 9
    parts = [b"IHDR" + struct.pack(">IIBBBBB", 9, 9, 16, 2, 0, 0, 0), b"IDAT" + zlib.compress(rows), b"IEND"]
    chunks = [struct.pack(">I", len(p) - 4) + p + struct.pack(">I", zlib.crc32(p)) for p in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize(
    ("kind", "white", "value", "levels", "expected"),
    [
        *[(5, 4095, 2048, 4095, 128), (6, 1023, 512, 1023, 128), (5, 15, 8, 15, 136), (5, 4095, 2048, None, 128)],
        *[(5, 4095, 1024, 2048, 128), (5, 255, 100, 255, 100), (6, 65535, 32768, 65535, 128)],
    ],
)
def test_levels_of_files_whose_header_names_a_white(kind, white, value, levels, expected):
    """PIL stretches .pgm and .ppm files by the header's white; `levels` is of the numbers in the file."""
    numbers = np.full(16 * (3 if kind == 6 else 1), value, ">u2" if white > 255 else "u1")
    content = f"P{kind} 4 4 {white}\n".encode() + numbers.tobytes()
    assert set(decode_bytes(content, "", 4, 1, levels).flat) == {expected}


def test_levels_of_colour_images_of_16_bits():
    assert set(decode_bytes(png16(4000), "", 4, 3, None).flat) == {15}
    for value, expected in ((4095, 255), (2048, 128), (3000, 187), (9999, 255)):
        assert set(decode_bytes(png16(value), "", 4, 3, 4095).flat) == {expected}  # of all 16 bits


@pytest.mark.parametrize("levels", [0, -1, "white", True])
def test_levels_out_of_range_are_refused(tmp_path, levels):
    (tmp_path / "a.png").write_bytes(deep(3, np.uint8))
    with pytest.raises(ValueError, match=r"dataset\.levels=.*give the pixel value of white"):
        image_folder(path=str(tmp_path), **(PHOTOS | {"levels": levels}))


@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
def test_dark_images_are_warned_about(tmp_path, caplog, dtype):
    for i, value in enumerate((200, 3000)):
        (tmp_path / f"{i}.tif").write_bytes(deep(value, dtype, "TIFF"))
    image_folder(path=str(tmp_path), **PHOTOS)
    assert "no training image has a pixel above 11 of 255: set dataset.levels" in caplog.text
    caplog.clear()
    bright = image_folder(path=str(tmp_path), **(PHOTOS | {"levels": 4095}))
    assert "no training image" not in caplog.text and bright.train.samples.max() == 187  # another cache
    (tmp_path / "2.tif").write_bytes(deep(60000, dtype, "TIFF"))
    image_folder(path=str(tmp_path), **PHOTOS)
    assert "no training image" not in caplog.text


@pytest.mark.parametrize("depth", [8, 16])
def test_white_may_be_zero_in_a_tiff(depth):
    """PIL inverts such files of 8 bits, not those of 16; it writes them by hand-made tags alone."""
    grey = np.arange(64, dtype=f"<u{depth // 8}").reshape(8, 8) * 4 ** (depth // 8)
    entries = [(256, 8), (257, 8), (258, depth), (259, 1), (262, 0), (273, 8), (277, 1), (278, 8), (279, grey.nbytes)]
    table = b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in entries)
    head = b"II*\0" + struct.pack("<I", 8 + grey.nbytes)
    content = head + grey.tobytes() + struct.pack("<H", len(entries)) + table + bytes(4)
    expected = 255 - (grey >> (depth - 8)).astype(np.uint8)
    assert np.array_equal(decode_bytes(content, ".tif", 8, 1, None)[0], expected)


def test_a_grey_that_a_deep_png_calls_transparent_is_white():
    file, grey = io.BytesIO(), np.full((8, 8), 40_000, np.uint16)
    grey[0] = 7
    Image.fromarray(grey).save(file, "PNG", transparency=7)
    assert np.array_equal(decode_bytes(file.getvalue(), ".png", 8, 1, None)[0, :, 0], [255] + [156] * 7)
