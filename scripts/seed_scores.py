"""The scores of single seeds in a CSV file, a line a run, and the table that is drawn from it.

    python scripts/seed_scores.py FILE.csv [--scores NAME ...]

Scripts that compare methods write a line as soon as a run ends, and do not repeat a run whose line is there. The table
has the median of each method's seeds and the median's 95 % interval (bootstrap); up to five seeds, the interval is
little more than the smallest and the largest score. Overlapping intervals do not show that two methods are equal.
"""

import argparse
import csv
from pathlib import Path

from results import cell

KEYS = ["name", "seed"]


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


def read(file: Path) -> list[dict[str, str]]:
    with open(file, newline="", encoding="utf-8-sig") as lines:  # spreadsheets begin with a byte order mark
        return list(csv.DictReader(lines))


def table(rows: list[dict[str, str]], scores: list[str]) -> str:
    """Markdown: a line for each name, in the order of the rows."""
    lines = [["", "seeds", *scores], ["---"] * (2 + len(scores))]
    for name in dict.fromkeys(row["name"] for row in rows):
        runs = [row for row in rows if row["name"] == name]
        lines.append([name, str(len(runs)), *(cell([float(run[score]) for run in runs]) for score in scores)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--scores", nargs="+", help="columns of the file; default: all")
    options = parser.parse_args()
    rows = read(options.file)
    print(table(rows, options.scores or [column for column in rows[0] if column not in KEYS]))


if __name__ == "__main__":
    main()
