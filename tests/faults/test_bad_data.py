"""Bad data through the real command: refused in one line that names it, or trained on without it, never a crash."""

import errno
import gzip
import io
import json
import os
import pickle
import struct
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import array, composed, picture, write_idx, write_mnist
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from wgangp.app.build import make_dataset, make_trainer
from wgangp.app.errors import one_line
from wgangp.data.files import Files, decode, decoding
from wgangp.data.files import cache as cache_module
from wgangp.data.files.pixels import decode_file
from wgangp.data.sources import image_folder
from wgangp.data.sources.files import Keys, read_arrays
from wgangp.data.sources.published import _sound_idx

DRAW = {"held_out": None, "limit": None, "flip": False, "dequantise": False, "seed": 0, "device": torch.device("cpu")}
PHOTOS = {"size": 8, "channels": 3, "classes": None, "levels": None, "cache": None, **DRAW}
TRAINS = ""
X = np.arange(6 * 8 * 8, dtype=np.uint16).astype(np.uint8).reshape(6, 8, 8)
Y = np.arange(6) % 3


class Exploit:
    """Unpickled, it leaves a marker behind."""

    def __reduce__(self):
        return Path.touch, (Path("marker").absolute(),)


# Files. Each function writes into the working directory.


def encoded(mode="RGB", kind="PNG", size=(12, 10), **options):
    file = io.BytesIO()
    pixels = np.arange(size[0] * size[1] * 3, dtype=np.uint32).astype(np.uint8).reshape(size[1], size[0], 3)
    Image.fromarray(pixels).convert(mode).save(file, kind, **options)
    return file.getvalue()


def deep(kind, dtype):
    file = io.BytesIO()
    Image.fromarray(np.full((10, 12), 40_000, dtype)).save(file, kind)
    return file.getvalue()


def animated(kind):
    frames = [Image.new("RGB", (12, 10), colour) for colour in ("red", "green", "blue")]
    file = io.BytesIO()
    frames[0].save(file, kind, save_all=True, append_images=frames[1:])
    return file.getvalue()


def claims(width, height):
    """A PNG of one pixel that claims to be of another size."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(bytes(4))
    chunks = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (header, data, b"IEND")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def photos(good, **more):
    """A folder of good pictures and others of the given names and bytes."""

    def write():
        Path("photos").mkdir()
        for i in range(good):
            picture(Path("photos") / f"good{i:03d}.png", (8, 8))
        for name, content in more.items():
            (Path("photos") / name).write_bytes(content)

    return write


def among(content, name="bad.jpg", good=3):
    return photos(good, **{name: content})


def special(make):
    def write():
        photos(3)()
        make(Path("photos"))

    return write


def odd_names(folder):
    for name in ("a b.png", "ä€😀.png", "two\nlines.png", "100% $HOME {x}, [1]=2;'.png", os.fsdecode(b"\xff\xfe.png")):
        (folder / name).write_bytes(encoded())


def sub_folder_loop(folder):
    (folder / "deeper").mkdir()
    (folder / "deeper" / "up").symlink_to(folder.absolute())
    (folder / "beside").mkdir()
    (folder / "beside" / "over").symlink_to((folder / "deeper").absolute())
    (folder / "deeper" / "over").symlink_to((folder / "beside").absolute())
    (folder / "deeper.png").mkdir()  # a folder by the name of a file
    (folder / "deeper.png" / "x.png").write_bytes(encoded())


def zipped(members, path="photos.zip", method=zipfile.ZIP_DEFLATED):
    def write():
        with zipfile.ZipFile(path, "w", method) as archive:
            for name, content in members.items():
                archive.writestr(name, content)

    return write


def patched(write, path, *changes):
    """What `write` has written, with every `old` replaced by `new`: a field of a header changed."""

    def patch():
        write()
        content = Path(path).read_bytes()
        for old, new in changes:
            assert old in content and len(old) == len(new)
            content = content.replace(old, new)
        Path(path).write_bytes(content)

    return patch


def cut(write, path, end):
    def writes():
        write()
        Path(path).write_bytes(Path(path).read_bytes()[:end])

    return writes


def put(path, content):
    def write():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(content)

    return write


def encrypted(path, members):
    """The flag of encryption in the local headers and in the directory."""
    local, central = (b"PK\x03\x04" + bytes([20, 0]), b"PK\x01\x02" + bytes([20, 3, 20, 0]))
    changes = [(start + bytes(2), start + bytes([1, 0])) for start in (local, central)]
    return patched(zipped(members, path), path, *changes)


def npy(x, path="x.npy"):
    return lambda: np.save(path, x, allow_pickle=True)


def objects():
    """An array of objects, of which the header claims as many as go into its pickle's length."""
    code = pickle.dumps(Exploit())
    code += bytes(-len(code) % 8)
    header = repr({"descr": "|O", "fortran_order": False, "shape": (len(code) // 8,)})
    Path("x.npy").write_bytes(npy_header(header, tail=code))


def npy_in(folder):
    def write():
        Path(folder).mkdir()
        np.save(Path(folder) / "x.npy", X)

    return write


def npz(path="x.npz", **arrays):
    return lambda: np.savez(path, **arrays)


def npy_header(header, version=(1, 0), tail=b""):
    text = header.encode() + b"\n"
    return b"\x93NUMPY" + bytes(version) + struct.pack("<H", len(text)) + text + tail


def claiming(shape, dtype="|u1"):
    return npy_header(repr({"descr": dtype, "fortran_order": False, "shape": shape}), tail=bytes(64))


RAW = Path("MNIST/raw")


def mnist(name, content):
    """MNIST with one of its files replaced; `content` may depend on what it was."""

    def write():
        write_mnist(RAW)
        path = RAW / name
        path.write_bytes(content(path.read_bytes()) if callable(content) else content)

    return write


def few_labels():
    write_mnist(RAW)
    write_idx(RAW / "train-labels-idx1-ubyte", np.zeros(10, np.uint8))


def legacy_mnist():
    write_mnist(RAW)
    for name in ("training.pt", "test.pt"):
        put(f"MNIST/processed/{name}", pickle.dumps(Exploit()))()
        torch.save(Exploit(), f"MNIST/processed/{name}")


def cifar_exploit():
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta"]:
        put(f"cifar-10-batches-py/{name}", pickle.dumps(Exploit()))()


def faces(partition=b"", **more):
    def write():
        for i in range(4):
            picture(Path("img_align_celeba") / f"{i:06d}.jpg")
        for name, content in more.items():
            put(f"img_align_celeba/{name}", content)()
        if partition:
            put("list_eval_partition.txt", partition)()

    return write


SENTENCES = "".join(f"sentence {i}\n" for i in range(20)).encode()
MEMBERS = {f"{i}.png": encoded() for i in range(3)}
BOMB = bytes(70 * 2**20)
NO_TEXT = os.fsdecode(b"no\xfftext")
SAVED = io.BytesIO()
np.save(SAVED, X)

# How to train on them.

NETWORKS = ["generator=dcgan", "critic=dcgan", "generator.width=4", "critic.width=4"]
FOLDER = ["dataset=image_folder", "dataset.path=photos", "dataset.size=8", *NETWORKS]
ZIP = ["dataset=image_folder", "dataset.path=photos.zip", "dataset.size=8", *NETWORKS]
NPY = ["dataset=array", "dataset.path=x.npy", *NETWORKS]
NPZ = ["dataset=array", "dataset.path=x.npz", *NETWORKS]
MNIST = ["dataset=mnist", "dataset.root=.", "dataset.download=false", "dataset.size=8", *NETWORKS]
CIFAR = ["dataset=cifar10", "dataset.root=.", "dataset.download=false", *NETWORKS]
CELEBA = ["dataset=celeba", "dataset.root=.", "dataset.download=false", "dataset.size=8", *NETWORKS]
SHORT = ["dataset.length=8", "dataset.held_out=2", "generator.width=8", "critic.width=8"]
TEXT = ["dataset=text", "dataset.path=x.txt", *SHORT]
GZ = ["dataset=text", "dataset.path=x.txt.gz", *SHORT]

# What is written, how it is trained on, and a part of the one line that refuses it; TRAINS where it is good enough.

CASES = {
    # image files
    "truncated JPEG": (among(encoded(kind="JPEG")[:-200]), FOLDER, "photos/bad.jpg cannot be read as an image: remove"),
    "truncated PNG": (among(encoded(size=(80, 80))[:-200], "bad.png"), FOLDER, "photos/bad.png cannot be read"),
    "a JPEG's start alone": (among(encoded(kind="JPEG")[:20]), FOLDER, "photos/bad.jpg cannot be read"),
    "text named JPEG": (among(b"not an image"), FOLDER, "photos/bad.jpg cannot be read"),
    "an empty file": (among(b"", "bad.png"), FOLDER, "photos/bad.png cannot be read"),
    "a program named JPEG": (among(encoded(kind="EPS")), FOLDER, "photos/bad.jpg cannot be read"),
    "a pickle named JPEG": (special(lambda p: (p / "bad.jpg").write_bytes(pickle.dumps(Exploit()))), FOLDER, "bad.jpg"),
    "a bomb of 10^10 pixels": (among(claims(10**5, 10**5), "bad.png"), FOLDER, "decompression bomb"),
    "a bomb of 10^8 pixels": (among(claims(10**4, 10**4), "bad.png"), FOLDER, "decompression bomb"),
    "a PNG without pixels": (among(claims(0, 0), "bad.png"), FOLDER, "photos/bad.png cannot be read"),
    "a PNG that lacks rows": (among(claims(50, 50), "bad.png"), FOLDER, "photos/bad.png cannot be read"),
    "floating-point pixels": (among(deep("TIFF", np.float32), "bad.tif"), FOLDER, "floating-point pixels"),
    "a broken link": (special(lambda p: (p / "bad.png").symlink_to("nowhere.png")), FOLDER, "no regular file"),
    "a pipe": (special(lambda p: os.mkfifo(p / "bad.png")), FOLDER, "no regular file"),
    "damaged, by an odd name": (
        among(b"no", os.fsdecode(b"two\nlines \xff.png")),
        FOLDER,
        r"photos/two lines \udcff.png cannot be read",
    ),
    "CMYK": (among(encoded("CMYK", "JPEG")), FOLDER, TRAINS),
    "palette": (among(encoded("P"), "p.png"), FOLDER, TRAINS),
    "palette with transparency": (among(encoded("P", transparency=3), "p.png"), FOLDER, TRAINS),
    "grey with transparency": (among(encoded("LA"), "la.png"), FOLDER, TRAINS),
    "a transparent colour": (among(encoded("RGB", transparency=(1, 2, 3)), "t.png"), FOLDER, TRAINS),
    "1 bit": (among(encoded("1"), "one.png"), FOLDER, TRAINS),
    "16 bits": (among(deep("PNG", np.uint16), "deep.png"), FOLDER, TRAINS),
    "16 bits, TIFF": (among(deep("TIFF", np.uint16), "deep.tif"), FOLDER, TRAINS),
    "animated GIF": (among(animated("GIF"), "a.gif"), FOLDER, TRAINS),
    "animated PNG": (among(animated("PNG"), "a.png"), FOLDER, TRAINS),
    "pages of TIFF": (among(animated("TIFF"), "a.tif"), FOLDER, TRAINS),
    "a PNG named JPEG": (among(encoded(), "a.jpg"), FOLDER, TRAINS),
    "one pixel": (among(encoded(size=(1, 1)), "a.png"), FOLDER, TRAINS),
    "odd names": (special(odd_names), FOLDER, TRAINS),
    "a loop of folders": (special(sub_folder_loop), FOLDER, TRAINS),
    "few bad of many": (among(b"no", good=150), FOLDER, "left out 1 of 151 images, which cannot be read: bad.jpg"),
    "more bad than may be": (
        photos(150, **{f"bad{i}.png": b"no" for i in range(2)}),
        FOLDER,
        "photos/bad0.png cannot be read as an image: remove or replace it",
    ),
    "few bad, but verified": (
        among(b"no", good=150),
        [*FOLDER, "dataset.verify=true"],
        "photos/bad.jpg cannot be read",
    ),
    "verify is no word": (photos(3), [*FOLDER, "dataset.verify=maybe"], "dataset.verify=maybe: give true or false"),
    "levels are no number": (
        photos(3),
        [*FOLDER, "dataset.levels=white"],
        "dataset.levels=white: give a number or null",
    ),
    "no such folder of a class": (photos(3), [*FOLDER, "dataset.classes=[cat]"], "class cat; this data has no classes"),
    "a stray image": (
        special(lambda p: [put(p / k / f"{i}.png", encoded())() for k in "ab" for i in range(4)]),
        FOLDER,
        "left out 3 of 11 images, which are in none of the class folders: good000.png, good001.png, good002.png",
    ),
    "a cache nowhere": (photos(3), [*FOLDER, "dataset.cache=/proc/none"], "so the next start decodes again"),
    "all bad": (among(b"no", good=0), FOLDER, "photos/bad.jpg cannot be read as an image: remove or replace it"),
    "absent": (lambda: None, FOLDER, "dataset.path=photos: there is no such folder or zip file"),
    "an empty folder": (lambda: Path("photos").mkdir(), FOLDER, "dataset.path=photos has no images"),
    "no image in the folder": (put("photos/readme.txt", b"?"), FOLDER, "dataset.path=photos has no images"),
    "a file for a folder": (put("photos", b"?"), FOLDER, "photos is no folder and no sound zip file"),
    # zips of image files
    "zip": (zipped(MEMBERS), ZIP, TRAINS),
    "zip, ../": (zipped(MEMBERS | {"../out.png": encoded()}), ZIP, "member ../out.png has a name that leads out"),
    "zip, a/../../": (zipped(MEMBERS | {"a/../../out.png": b""}), ZIP, "a/../../out.png has a name that leads out"),
    "zip, absolute": (zipped(MEMBERS | {"/out.png": b""}), ZIP, "member /out.png has a name that leads out"),
    "zip, ..\\": (zipped(MEMBERS | {"..\\out.png": b""}), ZIP, "member ..\\out.png has a name that leads out"),
    "zip, bomb": (zipped(MEMBERS | {"bomb.png": BOMB}), ZIP, "member bomb.png claims to be 73,400,320 bytes"),
    "zip, encrypted": (encrypted("photos.zip", MEMBERS), ZIP, "member 0.png is encrypted"),
    "zip, LZMA": (zipped(MEMBERS, method=zipfile.ZIP_LZMA), ZIP, "0.png is packed by another method than deflate"),
    "zip, BZ2": (zipped(MEMBERS, method=zipfile.ZIP_BZIP2), ZIP, "0.png is packed by another method than deflate"),
    "zip, truncated": (cut(zipped(MEMBERS), "photos.zip", -30), ZIP, "photos.zip is no folder and no sound zip file"),
    "zip, no zip": (put("photos.zip", b"PK\x03\x04 nonsense"), ZIP, "photos.zip is no folder and no sound zip file"),
    "zip, empty": (zipped({}), ZIP, "dataset.path=photos.zip has no images"),
    "zip, a damaged member": (
        patched(zipped(MEMBERS, method=zipfile.ZIP_STORED), "photos.zip", (encoded()[-60:-50], bytes(10))),
        ZIP,
        "photos.zip/0.png cannot be read as an image: remove or replace it (Bad CRC-32",
    ),
    "zip, claims less": (
        patched(
            zipped({"0.png": b"\0" * 5000}),
            "photos.zip",
            (struct.pack("<I", 5000), struct.pack("<I", 50)),
        ),
        ZIP,
        "photos.zip/0.png cannot be read",
    ),
    # CelebA
    "celeba, a binary partition": (faces(b"\xff\xfe\0\1"), CELEBA, "list_eval_partition.txt has no lines like"),
    "celeba, a damaged face": (faces(**{"bad.jpg": b"no"}), CELEBA, "img_align_celeba/bad.jpg cannot be read"),
    "celeba, a damaged zip": (
        put("img_align_celeba.zip", b"no"),
        CELEBA,
        "img_align_celeba.zip is no folder",
    ),
    "celeba, a partition of other faces": (
        faces(b"1.jpg 0\n2.jpg 1\n"),
        CELEBA,
        "the partition file names none of the images, such as 000000.jpg",
    ),
    # IDX files
    "idx, wrong magic": (
        mnist("train-images-idx3-ubyte", lambda b: b"\1\2" + b[2:]),
        MNIST,
        "images-idx3-ubyte is dam",
    ),
    "idx, truncated": (mnist("t10k-images-idx3-ubyte", lambda b: b[:-9]), MNIST, "t10k-images-idx3-ubyte is damaged"),
    "idx, too long": (
        mnist("train-labels-idx1-ubyte", lambda b: b + b"?"),
        MNIST,
        "train-labels-idx1-ubyte is damaged",
    ),
    "idx, empty": (mnist("train-images-idx3-ubyte", b""), MNIST, "train-images-idx3-ubyte is damaged"),
    "idx, no images": (
        mnist("train-images-idx3-ubyte", b"\0\0\x08\x03" + struct.pack(">III", 0, 28, 28)),
        MNIST,
        "train-images-idx3-ubyte is damaged",
    ),
    "idx, 10^28 pixels": (
        mnist("train-images-idx3-ubyte", lambda b: b[:4] + b"\xff" * 12 + b[16:]),
        MNIST,
        "train-images-idx3-ubyte is damaged",
    ),
    "idx, floats": (
        mnist("train-images-idx3-ubyte", lambda b: b[:2] + b"\x0d" + b[3:4] + struct.pack(">III", 1, 1, 1) + bytes(4)),
        MNIST,
        "train-images-idx3-ubyte is damaged",
    ),
    "idx, labels for images": (
        mnist("train-images-idx3-ubyte", lambda b: b"\0\0\x08\x01" + struct.pack(">I", 4) + b[:4]),
        MNIST,
        "train-images-idx3-ubyte is damaged",
    ),
    "idx, few labels": (few_labels, MNIST, "MNIST/raw (30 samples have 10 labels"),
    "idx, absent": (lambda: None, MNIST, "put train-images-idx3-ubyte, train-labels-idx1-ubyte"),
    "idx, pickles of old": (legacy_mnist, MNIST, "MNIST/processed/test.pt is damaged, replace it"),
    # CIFAR-10's pickles
    "cifar, code": (cifar_exploit, CIFAR, "cifar-10-batches-py/data_batch_1 is damaged, replace it"),
    "cifar, absent": (lambda: None, CIFAR, "put data_batch_1 to data_batch_5, test_batch and batches.meta"),
    # arrays
    "npy": (npy(X), NPY, TRAINS),
    "npy, an odd path": (
        npy_in("zwei\nzeilen ä €😀"),
        [NPY[0], "dataset.path='zwei\nzeilen ä €😀/x.npy'", *NETWORKS],
        TRAINS,
    ),
    "npy, a path without quotes": (npy_in("ä"), [NPY[0], "dataset.path=ä/x.npy", *NETWORKS], TRAINS),
    "npy, a path that is no text": (
        npy_in(NO_TEXT),
        [NPY[0], f"dataset.path='{NO_TEXT}/x.npy'", *NETWORKS],
        r"dataset.path=no\udcfftext/x.npy: this name is not UTF-8",
    ),
    "npy, code": (lambda: np.save("x.npy", np.array([Exploit()] * 9, object)), NPY, "x.npy is damaged or no array"),
    "npy, code of its length": (objects, NPY, "it holds Python objects: save text by .astype(str)"),
    "npy, a pickle": (lambda: put("x.npy", pickle.dumps(Exploit()))(), NPY, "x.npy is damaged or no array"),
    "npy, code as header": (
        put("x.npy", npy_header("__import__('pathlib').Path('marker').touch()")),
        NPY,
        "x.npy is damaged or no array",
    ),
    "npy, truncated": (cut(npy(X), "x.npy", -1), NPY, "is not what its size of"),
    "npy, too long": (put("x.npy", SAVED.getvalue() + b"?"), NPY, "is not what its size of"),
    "npy, 10^15 bytes": (put("x.npy", claiming((10**5, 10**5, 10**5))), NPY, "is not what its size of"),
    "npy, 10^60 bytes": (put("x.npy", claiming((10**20, 10**20, 10**20))), NPY, "is not what its size of"),
    "npy, negative": (put("x.npy", claiming((-4, 4, -4))), NPY, "x.npy is damaged or no array"),
    "npy, version 9": (put("x.npy", b"\x93NUMPY\x09\0" + bytes(90)), NPY, "x.npy is damaged or no array"),
    "npy, empty file": (put("x.npy", b""), NPY, "x.npy is damaged or no array"),
    "npy, a folder": (lambda: Path("x.npy").mkdir(), NPY, "dataset.path=x.npy: there is no such file"),
    "npy, floats": (npy(X / 255), NPY, "of shape (6, 8, 8) has several readings: set dataset.axes to nct"),
    "npy, none": (npy(X[:0]), NPY, "has type uint8 and shape (0, 8, 8): give an array of real numbers"),
    "npy, no pixels": (npy(X[:, :0]), NPY, "has type uint8 and shape (6, 0, 8): give an array of real numbers"),
    "npy, 5 channels": (npy(np.zeros((6, 5, 8, 8), np.uint8)), NPY, "has several readings: set dataset.axes to nchw"),
    "npy, text": (npy(np.array(["a", "b"])), NPY, "has type <U1 and shape (2,): give an array of real numbers"),
    "npz": (npz(images=X, labels=Y, test_images=X, test_labels=Y), NPZ, TRAINS),
    "npz, conditional": (npz(images=X, labels=Y), [*NPZ, "conditional=true"], TRAINS),
    "npz, few training classes": (
        npz(images=X, labels=Y % 2, test_images=X, test_labels=Y),
        [*NPZ, "conditional=true"],
        TRAINS,
    ),
    "npz, one training class": (
        npz(images=X, labels=Y * 0, test_images=X, test_labels=Y),
        [*NPZ, "conditional=true"],
        "conditional=true needs labels",
    ),
    "npz, labels with gaps": (npz(images=X, labels=Y * 30_000), [*NPZ, "conditional=true"], TRAINS),
    "npz, no such class": (
        npz(images=X, labels=Y),
        [*NPZ, "dataset.classes=[cat]"],
        "no sample is of class cat",
    ),
    "npz, a class twice": (npz(images=X, labels=Y), [*NPZ, "dataset.classes=[1,1]"], "class 1 is named twice"),
    "npz, a limit of no number": (
        npz(images=X, labels=Y),
        [*NPZ, "dataset.limit=few"],
        "dataset.limit=few: give a whole number or null",
    ),
    "npz, code": (
        lambda: np.savez("x.npz", images=np.array([Exploit()] * 9, object)),
        NPZ,
        "images in dataset.path=x.n",
    ),
    "npz, code for labels": (
        lambda: np.savez("x.npz", images=X, labels=np.array([Exploit()] * 6, object)),
        NPZ,
        "labels in dataset.path=x.npz is damaged or no array",
    ),
    "npz, code beside": (lambda: np.savez("x.npz", images=X, more=np.array([Exploit()], object)), NPZ, TRAINS),
    "npz, one array of another name": (npz(faces=X), NPZ, TRAINS),
    "npz, two arrays": (
        npz(faces=X, hands=X),
        NPZ,
        "x.npz has the arrays faces, hands: choose one of them by dataset.key",
    ),
    "npz, truncated": (cut(npz(images=X), "x.npz", -20), NPZ, "x.npz is damaged or no array"),
    "npz, damaged": (patched(npz(images=X), "x.npz", (X.tobytes()[9:19], bytes(10))), NPZ, "Bad CRC-32"),
    "npz, bomb": (zipped({"images.npy": BOMB}, "x.npz"), NPZ, "images.npy claims to be 73,400,320 bytes"),
    "npz, 10^15 bytes": (zipped({"images.npy": claiming((10**15, 1, 1))}, "x.npz"), NPZ, "is not what its size of"),
    "npz, ../": (zipped({"../images.npy": SAVED.getvalue()}, "x.npz"), NPZ, "../images.npy has a name that leads out"),
    "npz, encrypted": (encrypted("x.npz", {"images.npy": SAVED.getvalue()}), NPZ, "member images.npy is encrypted"),
    "npz, few labels": (npz(images=X, labels=Y[:2]), NPZ, "dataset.path=x.npz: 6 samples have 2 labels"),
    "npz, negative labels": (npz(images=X, labels=Y - 1), NPZ, TRAINS),
    "npz, huge labels": (npz(images=X, labels=Y * 10**12), NPZ, TRAINS),
    "npz, labels of no number": (npz(images=X, labels=Y + np.nan), NPZ, "x.npz has labels of type float64"),
    "npz, other test images": (
        npz(images=X, test_images=X[:, 1:, 1:]),
        NPZ,
        "held-out samples of shape (1, 7, 7), and training samples",
    ),
    "npz, absent classes": (
        npz(images=X, labels=2 * Y),
        [*NPZ, "dataset.classes=[1]"],
        "of class 1; choose from 0, 2, 4",
    ),
    # text
    "text": (put("x.txt", SENTENCES), TEXT, TRAINS),
    "text, marked and of Windows": (put("x.txt", b"\xef\xbb\xbf" + SENTENCES.replace(b"\n", b"\r\n")), TEXT, TRAINS),
    "text, binary": (put("x.txt", bytes(range(256)) * 9), TEXT, "x.txt is no sound UTF-8 text file"),
    "text, UTF-16": (put("x.txt", SENTENCES.decode().encode("utf-16")), TEXT, "x.txt is no sound UTF-8 text file"),
    "text, zeros": (put("x.txt", b"ab\0\n" * 20), TEXT, "x.txt is no sound UTF-8 text file (it has zero bytes)"),
    "text, empty": (put("x.txt", b""), TEXT, "dataset.path=x.txt has 0 lines"),
    "text, blank": (put("x.txt", b" \n\t\n" * 30), TEXT, "dataset.path=x.txt has 0 lines"),
    "text, endless line": (put("x.txt", b"ab " * 400_000), TEXT, "a line has more than 1,048,576 characters"),
    "text, a folder": (lambda: Path("x.txt").mkdir(), TEXT, "dataset.path=x.txt: there is no such file"),
    "gz": (put("x.txt.gz", gzip.compress(SENTENCES)), GZ, TRAINS),
    "gz, no gzip": (put("x.txt.gz", SENTENCES), GZ, "x.txt.gz is no sound UTF-8 text file"),
    "gz, truncated": (put("x.txt.gz", gzip.compress(SENTENCES)[:-12]), GZ, "x.txt.gz is no sound UTF-8 text file"),
    "gz, damaged": (
        put("x.txt.gz", gzip.compress(SENTENCES)[:30] + bytes(20) + gzip.compress(SENTENCES)[50:]),
        GZ,
        "x.txt.gz is no sound UTF-8 text file",
    ),
    "gz, wrong sum": (put("x.txt.gz", gzip.compress(SENTENCES)[:-8] + bytes(8)), GZ, "x.txt.gz is no sound UTF-8"),
    "gz, bomb": (
        lambda: put("x.txt.gz", gzip.compress((b"a" * 999 + b"\n") * 70_000, 1))(),
        GZ,
        "it unpacks to more than 67,108,864 characters",
    ),
}
LEFT_OUT = ("few bad of many", "a stray image", "a cache nowhere")  # told and trained on


QUICK = ["batch_size=2", "n_critic=1", "steps=1", "evaluation_samples=4", "device=cpu", "compile=false"]
NOISE = ("decoding", "CelebA: found", "left out 4 of 6 held-out samples")  # what is said of data that are sound so far
GOOD = {name for name, (_, _, told) in CASES.items() if told == TRAINS or name in LEFT_OUT}


@pytest.mark.parametrize("name", sorted(CASES.keys() - GOOD))
def test_bad_data_are_refused_in_one_line(name, tmp_path, monkeypatch, capfd, caplog):
    """And no library says anything beside it."""
    monkeypatch.chdir(tmp_path)
    caplog.set_level("INFO")
    write, arguments, told = CASES[name]
    write()
    with pytest.raises(Exception) as refused:
        cfg = composed(*arguments, *QUICK)
        make_trainer(cfg, make_dataset(cfg, DRAW["device"]), DRAW["device"])
    line = one_line(refused.value)
    assert told in line and "debug=true" not in line and not Path("marker").exists(), line
    said = [*caplog.messages, *"".join(capfd.readouterr()).splitlines()]
    assert not [text for text in said if text and not text.startswith(NOISE)], said


@pytest.mark.parametrize("name", [*sorted(GOOD), "gz, bomb"])
def test_data_through_the_command(call, name):
    write, arguments, told = CASES[name]
    write()
    code, text = call("train", *arguments, *QUICK, "hydra.run.dir=run")
    assert code == (0 if name in GOOD else 1), text
    assert told in text and "Traceback" not in text and not Path("marker").exists(), text
    assert name in GOOD or len(text.splitlines()) == 1, text


def test_the_exploit_would_work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(Exploit()))
    assert Path("marker").exists()


# What is left out.


@pytest.fixture
def shades(tmp_path):
    """Two classes of pictures whose grey is their number, two of which are damaged."""
    folder = tmp_path / "shades"
    for i in range(202):
        path = folder / ("dark" if i < 100 else "light") / f"{i:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), i).save(path)
    for i in (7, 150):
        (folder / ("dark" if i < 100 else "light") / f"{i:03d}.png").write_bytes(b"no")
    return folder


@pytest.mark.parametrize("full", [False, True])
def test_labels_stay_with_their_images(shades, monkeypatch, caplog, full):
    """Decoded, and from the cache; and where there is no room for one."""
    if full:
        monkeypatch.setattr(cache_module.os, "replace", lambda *a: (_ for _ in ()).throw(OSError("no space left")))
    for _ in range(2):
        caplog.clear()
        split = image_folder(path=str(shades), verify=False, **PHOTOS).train
        numbers = [i for i in range(202) if i not in (7, 150)]
        assert split.samples[:, 0, 0, 0].tolist() == numbers
        assert split.labels.tolist() == [int(i >= 100) for i in numbers]
        assert "left out 2 of 202 images, which cannot be read: dark/007.png, light/150.png" in caplog.text
        if not full:
            (cache,) = shades.glob(".*.cache")
            assert json.loads(cache.read_bytes()[:4096])["shape"] == [200, 3, 8, 8]
            monkeypatch.setattr(decoding, "decode_file", lambda *a: pytest.fail("decoded again"))


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), MemoryError()])
def test_what_the_system_fails_to_read_is_never_left_out(shades, monkeypatch, error):
    """The next start may read it."""
    original = Files.read

    def read(self, name):
        if "120" in name:
            raise error
        return original(self, name)

    monkeypatch.setattr(Files, "read", read)
    with pytest.raises(ValueError, match=r"light/120\.png cannot be read"):
        image_folder(path=str(shades), verify=False, **PHOTOS)
    assert not list(shades.glob(".*"))


def test_verify_decodes_what_is_cached(tmp_path):
    (tmp_path / "a.png").write_bytes(content := encoded())
    stat = os.stat(tmp_path / "a.png")
    image_folder(path=str(tmp_path), verify=False, **PHOTOS)
    (tmp_path / "a.png").write_bytes(b"?" * len(content))  # bits may rot without a trace in size and time
    os.utime(tmp_path / "a.png", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert len(image_folder(path=str(tmp_path), verify=False, **PHOTOS)) == 1
    with pytest.raises(ValueError, match=r"a\.png cannot be read"):
        image_folder(path=str(tmp_path), verify=True, **PHOTOS)


@pytest.mark.parametrize("header", [b"", b"{", b"[]", b'{"shape": 3}', b'{"shape": ["x"]}', b"\xff" * 5000])
def test_a_cache_of_nonsense_is_decoded_again(tmp_path, header):
    (tmp_path / "a.png").write_bytes(encoded())
    (cache := tmp_path / "cache").write_bytes(header)
    images, kept = decode(Files(tmp_path), ["a.png"], size=8, channels=3, levels=None, cache=cache, verify=False)
    assert images.shape == (1, 3, 8, 8) and kept.tolist() == [0] and cache.stat().st_size == 4096 + 3 * 8 * 8


def test_pictures_of_every_kind_look_the_same(tmp_path):
    """The first frame, of the same colours."""
    contents = {"a.gif": animated("GIF"), "a.png": animated("PNG"), "a.tif": animated("TIFF")}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    for name in contents:
        assert decode_file(Files(tmp_path), name, 4, 3, None).mean(axis=(1, 2)).tolist() == [255, 0, 0]
    for name, kind in (("deep.tiff", "TIFF"), ("deep.png", "PNG")):
        (tmp_path / name).write_bytes(deep(kind, np.uint16))
        assert set(decode_file(Files(tmp_path), name, 4, 1, None).flat) == {40_000 >> 8}


LIAR = patched(zipped({"0.png": BOMB}), "photos.zip", (struct.pack("<I", len(BOMB)), struct.pack("<I", 50)))
HUGE = zipped({"images.npy": claiming((2**28, 1, 1))}, "x.npz")


@pytest.mark.parametrize(("write", "read"), [(LIAR, "photos.zip"), (HUGE, "x.npz")])
def test_no_memory_is_taken_for_what_is_not_there(tmp_path, monkeypatch, write, read):
    """A member that unpacks to a million times what it claims, and an array that claims more than it is."""
    monkeypatch.chdir(tmp_path)
    write()
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"0\.png cannot be read|is not what its size"):
        read_arrays(Path(read), Keys()) if read == "x.npz" else decode_file(Files(Path(read)), "0.png", 8, 3, None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**22


# Files with a few bytes changed, for which no case above was thought of.

CHANGES = st.lists(st.tuples(st.integers(0, 2**16), st.binary(min_size=1, max_size=6)), min_size=1, max_size=4)


def changed(content, changes, end):
    """The bytes with some overwritten, and the end cut off."""
    for start, new in changes:
        start %= len(content)
        content = (content[:start] + new + content[start + len(new) :])[: len(content)]
    return content[: len(content) - end]


def refused_or_read(read):
    """Reads; errors are ValueErrors of one line that a log can write."""
    try:
        read()
    except ValueError as error:
        assert "\n" not in str(error) and str(error).encode()


@given(changes=CHANGES, end=st.integers(0, 20))
@pytest.mark.parametrize("save", [np.save, np.savez, np.savez_compressed])
def test_changed_arrays(tmp_path, save, changes, end):
    file = io.BytesIO()
    save(file, **({"arr": X} if save is np.save else {"images": X, "labels": Y}))
    (tmp_path / "x").write_bytes(changed(file.getvalue(), changes, end))
    as_is = {"size": None, "channels": None, "classes": None, **DRAW}
    refused_or_read(lambda: array(path=str(tmp_path / "x"), **as_is))


@given(changes=CHANGES, end=st.integers(0, 20))
def test_changed_zips(tmp_path, changes, end):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/0.png", encoded())
        archive.writestr("b/1.jpg", encoded(kind="JPEG"))
    (tmp_path / "x.zip").write_bytes(changed(file.getvalue(), changes, end))
    refused_or_read(lambda: image_folder(path=str(tmp_path / "x.zip"), verify=True, **PHOTOS))


@given(changes=CHANGES, end=st.integers(0, 20))
def test_changed_idx_files(tmp_path, changes, end):
    write_idx(path := tmp_path / "x-images-idx3-ubyte", X)
    path.write_bytes(changed(path.read_bytes(), changes, end))
    assert _sound_idx(path) in (True, False)
