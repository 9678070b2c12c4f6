"""The scores of single seeds in a CSV file, a line a run, and the table that is drawn from them.

Scripts that compare methods write a line as soon as a run ends, and do not repeat a run whose line is there.
scripts/results.py prints the table of a file.
"""

import csv
from pathlib import Path
from statistics import median

from wgangp.sweeps.jobs import median_interval
from wgangp.sweeps.tables import rounded

KEYS = ["name", "seed"]
Rows = list[dict[str, str]]


class SeedScores:
    """The lines of a file, and those that are added. Raises ValueError if the file has other columns."""

    def __init__(self, file: Path, scores: list[str]) -> None:
        self.file, self.columns, self.rows = file, [*KEYS, *scores], read(file) if file.exists() else []
        if self.rows and list(self.rows[0]) != self.columns:
            raise ValueError(f"{file} has the columns {', '.join(self.rows[0])}: give another file by --out")

    def has(self, name: str, seed: int) -> bool:
        return any(row["name"] == name and row["seed"] == str(seed) for row in self.rows)

    def add(self, name: str, seed: int, *scores: float) -> None:
        self.rows.append(dict(zip(self.columns, [name, str(seed), *(f"{score:.6g}" for score in scores)], strict=True)))
        new = not self.file.exists()
        with open(self.file, "a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.columns, lineterminator="\n")
            if new:
                writer.writeheader()
            writer.writerow(self.rows[-1])


def read(file: Path) -> Rows:
    with open(file, newline="", encoding="utf-8-sig") as lines:  # spreadsheets begin with a byte order mark
        return list(csv.DictReader(lines))


def by_name(rows: Rows, score: str) -> dict[str, list[float]]:
    """Returns the scores of each method, in the order of the rows, a number for each seed that has one."""
    found: dict[str, list[float]] = {}
    for row in rows:
        found.setdefault(row["name"], []).extend([float(row[score])] if row[score] else [])
    return found


def table(rows: Rows, scores: list[str]) -> str:
    """Returns Markdown: a line for each method, in the order of the rows, with the seeds that have the first score."""
    columns = [by_name(rows, score) for score in scores]
    lines = [["method", "seeds", *(score.removeprefix("eval/") for score in scores)], ["---"] * (2 + len(scores))]
    lines += [[name, str(len(first)), *(cell(found[name]) for found in columns)] for name, first in columns[0].items()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cell(scores: list[float]) -> str:
    """The median and its 95 % interval; "none" if no seed has a score."""
    if not scores:
        return "none"
    low, high = median_interval(scores)
    return rounded(median(scores)) + (f" ({rounded(low)} to {rounded(high)})" if low == low else "")
