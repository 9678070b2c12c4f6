"""Tables: .csv, .tsv and .parquet files, with numbers in their columns and, perhaps, classes in one of them."""

import csv
import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from wgangp.data.labels import listed
from wgangp.data.sources.content import Content, check_whole, is_blank
from wgangp.machine.text import shown

log = logging.getLogger(__name__)

ROWS = 2**16  # that are read at once
WHOLE = re.compile(r"\s*[+-]?\d+\s*")
QUOTED = re.compile(r'"[^"]*"')
COMMENT = re.compile(r"^#\s+(?=[^\s,;|])")  # before the names of the columns, as np.savetxt writes it
UNNAMED = re.compile(r"(Unnamed: \d+(_level_\d+)?)?")  # as pandas calls columns without a name
THOUSANDS = re.compile(r"\s*-?[1-9]\d{0,2}(,\d{3})+(\.\d*)?\s*")
DECIMAL_COMMA = re.compile(r"\s*-?\d+,\d+\s*")
BOOLEANS = {"true": "1", "false": "0"}  # True and False, as pandas writes them
MISSING = ("", "na", "n/a", "nan", "null", "none")


@dataclass(frozen=True)
class Columns:
    """The columns that are wanted of a table, by name: of numbers (None: all), of the classes, and of the condition."""

    numbers: Sequence[str] | None
    labels: str | None
    condition: Sequence[str]


def read_table(path: Path, wanted: Columns) -> Content:
    """Returns the numbers of a table, its classes and its conditions, which are no part of the samples.

    Raises ValueError, naming column and row, if the table has text where numbers belong.
    """
    read = _read_parquet if path.suffix.lower() == ".parquet" else _read_csv
    try:
        content = read(path, wanted)
    except (csv.Error, UnicodeDecodeError, OSError) as error:
        advice = "save it as UTF-8" if isinstance(error, UnicodeDecodeError) else "check its quotes and its first line"
        raise ValueError(f"dataset.path={shown(path)} cannot be read as a table ({shown(error)}): {advice}") from error
    if not wanted.condition:
        return content
    k = len(content.names) - len(wanted.condition)  # the last columns
    given = Content(content.x[:, k:], names=content.names[k:])
    return replace(content, x=content.x[:, :k], names=content.names[:k], condition=given)


def _positions(path: Path, names: Sequence[str], wanted: Columns) -> tuple[list[int], int | None]:
    """Returns the positions of the columns of numbers, those of the condition last, and of that of the classes."""
    columns, labels, condition = wanted.numbers, wanted.labels, wanted.condition
    for name in [*(names if columns is None else columns), *([labels] if labels else []), *condition]:
        if name not in names:
            raise ValueError(
                f"dataset.path={shown(path)} has no column {shown(name)}: choose from {shown(listed(names))}"
            )
        if names.count(name) > 1:
            raise ValueError(f"dataset.path={shown(path)} has several columns {shown(name)}: rename them")
    for option, asked in (("columns", columns or []), ("condition", condition)):
        if len({*asked}) < len(asked):
            raise ValueError(f"dataset.{option}={[*asked]} names a column twice: name each once")
    label = None if labels is None else names.index(labels)
    chosen = range(len(names)) if columns is None else [names.index(name) for name in columns]
    given = [names.index(name) for name in condition]
    numbers = [i for i in chosen if i not in (label, *given)]
    if not numbers:
        beside = "condition" if given else "labels"
        raise ValueError(f"dataset.path={shown(path)} has no column of numbers beside the {beside}")
    return numbers + given, label


def _check_fields(path: Path, i: int, row: Sequence[str], n: int) -> None:
    if len(row) != n:
        raise ValueError(
            f"dataset.path={shown(path)}: row {i + 1} has {len(row)} fields, and the first line {n}: make them alike"
        )


def _read_csv(path: Path, wanted: Columns) -> Content:
    with open(path, newline="", encoding="utf-8-sig") as file:
        rows = _rows(path, file)
        header = [name.strip() for name in next(rows, [])]
        if not header:
            raise ValueError(f"dataset.path={shown(path)} has no first line with the names of its columns: add it")
        second = next(rows, [])
        header, found = _names(path, header, second)
        found.append(second)
        named = [name for name in header if not UNNAMED.fullmatch(name)]
        if wanted.numbers is None and 0 < len(named) < len(header):
            log.info("%s: left out columns without a name: they are likely the rows' index, or empty", shown(path))
            wanted = replace(wanted, numbers=named)
        numbers, label = _positions(path, header, wanted)
        parts, classes, read = [], list[str](), 0
        while found := found + list(islice(rows, ROWS - len(found))):
            found = [row for row in found if row]  # without empty lines
            for i, row in enumerate(found, read):
                _check_fields(path, i, row, len(header))
                if label is not None and is_blank(row[label]):
                    raise _no_class(path, wanted.labels, i)
            for i in numbers:
                _check_whole(path, header[i], [row[i] for row in found])
            part = [_numbers([row[i] for row in found], _naming(path, header[i], read)) for i in numbers]
            parts.append(np.stack(part, 1))
            classes += [row[label].strip() for row in found] if label is not None else []
            read, found = read + len(found), []
    if not read:
        raise ValueError(f"dataset.path={shown(path)} has no rows below the names of its columns")
    y = None if label is None else np.array(classes)
    check_names(path, wanted.labels, y)
    return Content(np.concatenate(parts), y, tuple(header[i] for i in numbers))


def _rows(path: Path, file: TextIO) -> Iterator[list[str]]:
    """Returns the fields of each line: between commas, or what the first line has most, or blanks (np.savetxt)."""
    lines = [COMMENT.sub("", file.readline()), file.readline()]
    first, second = (QUOTED.sub("", line) for line in lines)
    tabs = path.suffix.lower() == ".tsv" and "\t" in first
    delimiter = "\t" if tabs else max(",;\t|", key=first.count)
    if delimiter not in first + second and len(first.split()) == len(second.split()) > 1:
        return map(str.split, chain(lines, file))
    return csv.reader(chain(lines, file), delimiter=delimiter, strict=True)


def _names(path: Path, first: list[str], second: list[str]) -> tuple[list[str], list[list[str]]]:
    """Returns the columns' names, and the first line as a sample, if it has numbers alone that are not 0, 1, 2, ...

    pandas writes these where columns have no names. Some numbers of a sample may be missing.
    """
    positions = [str(i) for i in range(len(first))]
    missing = [name for name in first if name.lower() in MISSING]
    numbers = [name for name in first if _is_number(name) and name not in missing]
    if numbers == positions[: len(numbers)] and not (len(first) == len(numbers) == 1):
        if numbers:
            log.info("%s: the first line, 0, 1 and so on, is taken for the columns' names", shown(path))
        return first, []
    rising = all(float(a) < float(b) for a, b in pairwise(numbers))
    index = second[0].strip() if second else ""
    if missing == [first[0]] == [""] and rising and (index == "0" or (index and not _is_number(index))):
        log.info("%s: the first line, which has no first name, is taken for the columns' names", shown(path))
        return first, []
    if len(numbers) + len(missing) < len(first):
        log.warning(
            "%s: the first line is taken for the columns' names, and has numbers, such as %s: if it is a sample, write "
            "a line of names before it",
            *(shown(path), shown(numbers[0])),
        )
        return first, []
    log.info("%s: the first line has numbers alone, so it is taken for a sample", shown(path))
    return positions, [first]


def _naming(path: Path, name: str, start: int) -> Callable[[int, str], ValueError]:
    """Returns the function that makes the error of a value that is no number, by its row."""

    def error(i: int, value: str) -> ValueError:
        comma = " (write decimals with a point)" if DECIMAL_COMMA.fullmatch(value) else ""
        comma = " (write it without a comma, and decimals with a point)" if THOUSANDS.fullmatch(value) else comma
        return ValueError(
            f"dataset.path={shown(path)}: the column {shown(name)} has values that are no numbers, such as "
            f"{shown(value)!r} in row {start + i + 1}{comma}: leave it out by dataset.columns=[...], or make it the "
            f"classes by dataset.labels={shown(name)}"
        )

    return error


def text_of(value: object) -> str:
    """Returns a class as text; parquet has bytes, too, which are text in what wrote them."""
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else str(value)


def check_names(path: Path, labels: str | None, y: np.ndarray | None) -> None:
    """Raises ValueError if a column of classes has measurements: numbers with fractions, most of which differ."""
    if y is None or y.dtype.kind != "U" or not all(_is_number(value) for value in y):
        return
    numbers = y.astype(np.float64)
    fractions = y[np.isfinite(numbers) & (numbers != numbers.round())]
    if len(set(fractions)) > len(y) / 2:
        raise ValueError(
            f"dataset.path={shown(path)}: the column {shown(labels)} has measurements, such as {shown(fractions[0])}, "
            f"and classes are names or whole numbers: give it as dataset.condition={shown(labels)}, or leave it out"
        )


def _no_class(path: Path, labels: str | None, i: int) -> ValueError:
    return ValueError(
        f"dataset.path={shown(path)}: row {i + 1} has no class in the column {shown(labels)}: fill it in, or "
        "remove the row"
    )


def _numbers(values: list[str], error: Callable[[int, str], ValueError]) -> np.ndarray:
    """Returns the numbers (n,) float64; NaN where one is missing."""
    if not any("_" in value for value in values):  # Python's 1_000 is no number of a table
        with suppress(ValueError):
            return np.array(values, dtype=np.float64)
    missing = [value.strip().lower() in MISSING for value in values]
    if all(no or value.strip().lower() in BOOLEANS for no, value in zip(missing, values, strict=True)):
        values = [BOOLEANS.get(value.strip().lower(), value) for value in values]
    for i, value in enumerate(values):
        if not missing[i] and not _is_number(value):
            raise error(i, value)
    return np.array([np.nan if no else float(value) for no, value in zip(missing, values, strict=True)])


def _check_whole(path: Path, name: str, values: list[str]) -> None:
    """Raises ValueError if float64 does not hold a whole number among these."""
    if long := [int(value[:99]) for value in values if len(value) > 15 and WHOLE.fullmatch(value)]:
        check_whole(f"dataset.path={shown(path)}: the column {shown(name)}", min(long), max(long))


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return "_" not in value


def _index_columns(metadata: Mapping[bytes, bytes]) -> list[object]:
    """Returns the columns that pandas wrote for the rows' index, by its note in the file, which may be of any kind."""
    try:
        columns = json.loads(metadata.get(b"pandas", b"{}"))["index_columns"]
    except (ValueError, LookupError, TypeError):
        return []
    return columns if isinstance(columns, list) else []


def _plain(column: Any) -> Any:
    """Returns a column of pyarrow with decimals and booleans as numbers, whose missing ones are then NaN."""
    from pyarrow import float64, types, uint8

    if types.is_boolean(column.type):
        return column.cast(uint8())
    return column.cast(float64()) if types.is_decimal(column.type) else column


def _read_parquet(path: Path, wanted: Columns) -> Content:
    try:
        from pyarrow import ArrowException, parquet
    except ModuleNotFoundError as error:
        raise ValueError(
            f"dataset.path={shown(path)}: {error.name} is not installed: pip install -e '.[arrays]'"
        ) from error
    try:
        schema = parquet.ParquetFile(path).schema_arrow
        names = schema.names
        noted = _index_columns(schema.metadata or {})
        index = [name for name in names if name in noted]
        if wanted.numbers is None and index:
            log.info("%s: left out the rows' index, %s", shown(path), shown(listed(index)))
            wanted = replace(wanted, numbers=[name for name in names if name not in index])
        positions, label = _positions(path, names, wanted)
        numbers = [names[i] for i in positions]
        table = parquet.read_table(path, columns=numbers + ([] if label is None else [names[label]]))
        found = [_plain(table.column(name)).to_numpy() for name in numbers]
    except ArrowException as error:
        raise ValueError(f"dataset.path={shown(path)} is damaged or no Parquet file ({shown(error)})") from error
    for i, (name, column) in enumerate(zip(numbers, found, strict=True)):
        if column.dtype.kind not in "biuf":
            found[i] = _numbers(["" if value is None else str(value) for value in column], _naming(path, name, 0))
        if column.dtype.kind in "iu" and len(column):
            check_whole(f"dataset.path={shown(path)}: the column {shown(name)}", int(column.min()), int(column.max()))
    y = None if label is None else _parquet_classes(path, names[label], table.column(names[label]))
    check_names(path, wanted.labels, y)
    return Content(np.stack([column.astype(np.float64) for column in found], 1), y, tuple(numbers))


def _parquet_classes(path: Path, name: str, column: Any) -> np.ndarray:
    """Returns the classes of a column of pyarrow. Raises ValueError if one is missing, or is a list."""
    if column.null_count:  # categories have them beside their values
        raise _no_class(path, name, column.is_null().to_pylist().index(True))
    y: np.ndarray = column.to_numpy()
    if y.dtype.kind == "O" and any(isinstance(value, np.ndarray | dict) for value in y):
        raise ValueError(
            f"dataset.path={shown(path)}: the column {shown(name)} has lists: classes are names or whole numbers"
        )
    if missing := [i for i, value in enumerate(y) if is_blank(str(value))]:
        raise _no_class(path, name, missing[0])
    return y if y.dtype.kind in "iu" else np.array([text_of(value) for value in y])
