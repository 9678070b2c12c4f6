"""What the names in a tree of folders mean: parts (train, val, test), classes, an order, or nothing."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise, takewhile
from pathlib import Path

import torch
from torch import Tensor

from wgangp.data.labels import listed
from wgangp.machine.text import shown

# Names of parts, without digits, blanks and other signs: train2017 and "Training Set" are train and trainingset.
TRAIN = ("train", "training", "trainset", "trainingset", "trainval", "trainimages", "trainingimages", "segtrain")
HELD_OUT = (  # the first found is used
    *("val", "valid", "validation", "valset", "validset", "validationset", "valimages", "validationimages", "dev"),
    *("devset", "eval", "evalset", "evaluation", "holdout", "heldout", "test", "tests", "testing", "testset"),
    *("testingset", "testimages", "testingimages", "segtest"),
)
Parts = list[str]  # of a name: its folders, and the file


@dataclass
class Layout:
    """The names of the two parts and their labels, zeros without classes; `notes` are lines for the log."""

    train: list[str]
    labels: Tensor
    held_out: list[str]
    held_out_labels: Tensor
    class_names: list[str] | None
    notes: list[str]


def read_layout(names: Sequence[str]) -> Layout:
    """Returns the parts and the classes of images with these names.

    Folders called train, and val or test, are parts, above the classes or below each; others beside them are left out.
    Elsewhere the first folders of which there are several are classes. Few images beside these folders are left out;
    if they are the most, all are used and the images have no classes.
    """
    parts, notes = [name.split("/") for name in names], list[str]()
    depth = branching(parts)
    if depth is None or not mostly_inside(parts, depth):
        return _labelled(parts, [], 0, notes)
    at = depth
    train, held_out, left = _parts_among(parts, at, notes)
    if train is None and not notes:  # cat/train and dog/train
        at = depth + 1
        train, held_out, left = _parts_among(parts, at, notes)
        with_train = {folder_at(p, depth) for p in parts if folder_at(p, at) == train}
        if train is not None and not (with_train == {*folders_at(parts, depth)} and mostly_inside(parts, at)):
            notes.append(f"not each class has a folder {shown(train)}, so all images are trained on")
            train = None
    if train is None:
        return _labelled(parts, [], 0, notes)
    notes += _strays(parts, at)
    if left:
        n = sum(folder_at(p, at) in left for p in parts)
        notes.append(f"the {n} images in {shown(listed(left))} are used neither for training nor as held-out images")
    in_train, in_held_out = ([p for p in parts if folder_at(p, at) == folder] for folder in (train, held_out))
    return _labelled(in_train, in_held_out, depth + 1 if at == depth else depth, notes)


def _parts_among(parts: list[Parts], depth: int, notes: list[str]) -> tuple[str | None, str | None, list[str]]:
    """Returns the folders of the training and the held-out part, and those of neither; None if they are classes.

    Other folders beside them may have as many images as the training part.
    """
    folders = folders_at(parts, depth)
    plain = {folder: re.sub(r"[\W\d_]", "", folder.lower()) for folder in folders}
    train, held_out = ([f for name in names for f in folders if plain[f] == name] for names in (TRAIN, HELD_OUT))
    others = [folder for folder in folders if folder not in train + held_out]
    count = Counter(folder_at(p, depth) for p in parts)
    if len(train) == 1 and held_out and sum(count[folder] for folder in others) <= count[train[0]]:
        return train[0], held_out[0], [*held_out[1:], *others]
    if len(train + held_out) > 1:
        notes.append(
            f"the folders {shown(listed(folders))} are no parts, and all images are trained on: for parts, keep only "
            "one train, and val or test"
        )
    return None, None, []


def _labelled(train: list[Parts], held_out: list[Parts], start: int, notes: list[str]) -> Layout:
    """Returns the layout of two parts, whose classes are looked for from the folders at depth `start`."""
    depth = branching(train, start)
    folders = [] if depth is None else sorted(folders_at(train, depth), key=by_numbers)
    if depth is not None and not mostly_inside(train, depth):
        notes.append(f"the images have no classes, since most are in none of the folders {shown(listed(folders))}")
        depth = None
    if depth is None:
        return Layout(names_of(train), zeros(len(train)), names_of(held_out), zeros(len(held_out)), None, notes)
    notes += _strays(train, depth)
    number = {name: i for i, name in enumerate(folders)}
    train, known = ([p for p in part if folder_at(p, depth) in number] for part in (train, held_out))
    if others := len(held_out) - len(known):
        notes.append(f"left out {others} of {len(held_out)} held-out images, which are in no folder of a class")
    labels, held_out_labels = (torch.tensor([number[p[depth]] for p in part]).long() for part in (train, known))
    return Layout(names_of(train), labels, names_of(known), held_out_labels, [*map(shown, folders)], notes)


def zeros(n: int) -> Tensor:
    return torch.zeros(n, dtype=torch.long)


def branching(parts: Sequence[Parts], start: int = 0) -> int | None:
    """Returns the first depth with several folders; None if there is none."""
    depth, folders = start, [""]
    while len(folders) == 1:
        folders = folders_at(parts, depth)
        depth += 1
    return depth - 1 if folders else None


def mostly_inside(parts: Sequence[Parts], depth: int) -> bool:
    """Returns whether more than half of the images are in a folder at this depth."""
    return 2 * sum(len(p) > depth + 1 for p in parts) > len(parts)


def folders_at(parts: Sequence[Parts], depth: int) -> list[str]:
    return sorted({p[depth] for p in parts if len(p) > depth + 1})


def folder_at(parts: Parts, depth: int) -> str | None:
    """Returns the folder of an image at this depth; None if the image lies above it."""
    return parts[depth] if len(parts) > depth + 1 else None


def by_numbers(name: str) -> tuple[list[str | int], str]:
    """Returns a key that sorts 2 before 10, in names, too."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)], name


def in_order_of_numbers(files: Sequence[Path]) -> list[Path]:
    """Returns files in the order of the numbers in their names.

    Names that are one number after what they have in common are decimal and negative, too: 0, 0.04, 0.1, as of times.
    """
    alike = takewhile(lambda letters: len({*letters}) == 1, zip(*(file.stem for file in files), strict=False))
    common = "".join(letters[0] for letters in alike).rstrip(".0123456789")
    numbers = {file: file.stem.removeprefix(common) for file in files}
    if are_decimal([*numbers.values()]):
        return sorted(files, key=lambda file: Decimal(numbers[file]))
    return sorted(files, key=lambda file: by_numbers(file.name))


def are_decimal(numbers: Sequence[str]) -> bool:
    """Whether these are decimal numbers, and not pairs of counts such as 1.9 and 1.10.

    Decimal are those of one length, those that begin at 0, have a 0 after the point, or are evenly spaced.
    """
    if not all(re.fullmatch(r"-?\d+(\.\d+)?", number) for number in numbers):
        return False
    whole, fractions = zip(*(number.partition(".")[::2] for number in numbers), strict=True)
    if len({*map(len, fractions)}) == 1:
        return True
    if any(len(f) > 1 and f.endswith("0") for f in fractions):
        return False
    if any(len(f) > 1 and f.startswith("0") for f in fractions) or any(int(w.lstrip("-")) == 0 for w in whole):
        return True
    values = sorted(map(Decimal, numbers))
    return len({after - before for before, after in pairwise(values)}) == 1


def names_of(parts: Sequence[Parts]) -> list[str]:
    return ["/".join(p) for p in parts]


def _strays(parts: Sequence[Parts], depth: int) -> list[str]:
    strays = names_of([p for p in parts if folder_at(p, depth) is None])
    few = shown(listed(strays))
    note = f"left out {len(strays)} of {len(parts)} images, which are in none of the class folders: {few}"
    return [note] if strays else []
