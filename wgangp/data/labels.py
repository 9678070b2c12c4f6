"""Classes: which images to use, and the numbers of their classes."""

import logging
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from wgangp.machine.text import typed

log = logging.getLogger(__name__)

MOST_LISTED = 10  # classes in a message


def name_of(label: int, names: Sequence[str] | None) -> str:
    """Returns the name of a class; its number if the data have no name for it."""
    return names[label] if names is not None and label < len(names) else str(label)


def position_of(entry: object, names: Sequence[str]) -> int | None:
    """Returns the position of a name that an option gives, perhaps read as true or 1.5 where it is True or 1.50.

    None if there is no such name.
    """
    for text in (str(entry), typed(entry)):
        if text in names:
            return names.index(text)
    same = [i for i, name in enumerate(names) if type(entry) in (int, float) and as_number(name) == entry]
    return same[0] if len(same) == 1 else None


def as_number(name: str) -> float:
    """Returns the number that a name is; NaN if it is none."""
    try:
        return float(name)
    except ValueError:
        return math.nan


def has_numbers(names: Sequence[str]) -> bool:
    """Whether a name is a number: a number that an option gives is then a name, and no position."""
    return any(not math.isnan(as_number(name)) for name in names)


def choose(
    labels: Tensor, classes: Sequence[int | float | str] | None, limit: int | None, names: Sequence[str] | None
) -> tuple[Tensor, list[int]]:
    """Returns the positions of the images to use, ascending, and the labels that they may have, in the wanted order.

    Raises ValueError if `classes` or `limit` are out of range.
    """
    found = torch.unique(labels).tolist()
    wanted = found if classes is None else wanted_labels(classes, found, names)
    positions = torch.arange(len(labels))
    if len(wanted) < len(found):
        positions = positions[torch.isin(labels, torch.tensor(wanted))]
    return positions[draw_evenly(labels[positions], limit)], wanted


def wanted_labels(classes: Sequence[int | float | str], found: Sequence[int], names: Sequence[str] | None) -> list[int]:
    """Returns the labels of `classes`, which gives them by name or by number."""
    if isinstance(classes, str) or not isinstance(classes, Sequence) or not classes:
        raise ValueError(f"dataset.classes={classes}: give a list of names or numbers, as in [{classes or 0}], or null")
    known = [name_of(label, names) for label in found]
    wanted = []
    for entry in classes:
        position = position_of(entry, known)
        number = entry if type(entry) is int and not has_numbers(known) else None
        label = number if position is None else found[position]
        if label is None or label not in found:
            choices = f"choose from {listed(known)}" if len(found) > 1 else "this data has no classes"
            raise ValueError(f"dataset.classes={list(classes)}: no sample is of class {entry}; {choices}")
        if label in wanted:
            raise ValueError(f"dataset.classes={list(classes)}: class {entry} is named twice; name it once")
        wanted.append(label)
    return wanted


def draw_evenly(labels: Tensor, limit: int | None) -> Tensor:
    """Returns `limit` positions, ascending: of every class the same part, drawn at random; all if it is None.

    The draw is the same for every seed of the training. Each class has an image, unless there are more classes.
    """
    n = len(labels)
    if limit is None:
        return torch.arange(n)
    if type(limit) is not int or not 1 <= limit <= n:
        raise ValueError(f"dataset.limit={limit}: give a whole number from 1 to {n}, the training images, or null")
    shuffled = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    _, classes, counts = torch.unique(labels[shuffled], return_inverse=True, return_counts=True)
    by_class = classes.argsort(stable=True)
    ranks = torch.arange(n) - (counts.cumsum(0) - counts).repeat_interleave(counts)  # within the class
    quantiles = torch.empty(n, dtype=torch.float64)
    quantiles[by_class] = ranks.double() / counts.repeat_interleave(counts)
    return shuffled[quantiles.argsort(stable=True)[:limit]].sort().values


def renumbered(labels: Tensor, wanted: Sequence[int], names: Sequence[str] | None) -> tuple[Tensor, tuple[str, ...]]:
    """Returns a table (highest label + 1,) of new numbers, -1 for labels that do not occur, and the classes' names.

    The labels that occur are numbered from 0, in the wanted order. One class alone counts as none: it has no name.
    """
    occurring = set(torch.unique(labels).tolist())
    order = [label for label in wanted if label in occurring]
    table = torch.full((max(order) + 1,), -1)
    table[order] = torch.arange(len(order))
    if len(order) == 1:
        return table, ()
    class_names = tuple(name_of(label, names) for label in order)
    if order != list(range(len(order))):
        log.info("classes %s are numbered from 0 to %d", listed(class_names), len(order) - 1)
    return table, class_names


def listed(names: Sequence[str]) -> str:
    """Returns the first names, and how many more there are."""
    more = f" and {len(names) - MOST_LISTED:,} more" if len(names) > MOST_LISTED else ""
    return ", ".join(names[:MOST_LISTED]) + more
