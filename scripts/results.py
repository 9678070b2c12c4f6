"""A comparison's table and plot, drawn from the scores of every seed.

    python scripts/results.py SUMMARY.csv --scores eval/wasserstein1 eval/modes [--plot FILE]

SUMMARY.csv is what `wgangp-summarize sweep=DIR/seeds` writes after a comparison (sweep=paper_collapse and others). Each
method is a row: the median of its seeds, and the median's 95 % interval (bootstrap), of up to five seeds the lowest and
the highest. The best median of the first score is on top. Overlapping intervals do not show that two methods are equal.
"""

import argparse
import csv
import math
from pathlib import Path
from statistics import median

from wgangp import style
from wgangp.metrics.objective import higher_is_better
from wgangp.sweeps.jobs import median_interval, rank
from wgangp.sweeps.tables import rounded

Scores = dict[str, list[float]]  # of each method, a number a seed


def read(file: Path, score: str) -> Scores:
    """Raises ValueError if the file has no such column."""
    found: Scores = {}
    with open(file, newline="", encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            if score not in row:
                known = ", ".join(key for key in row if "/" in key)
                raise ValueError(f"{file} has no scores {score}; it has {known}")
            found.setdefault(row["name"], []).extend([float(row[score])] if row[score] else [])
    return found


def cell(scores: list[float]) -> str:
    """The median and its interval; "none" if no seed has a score."""
    if not scores:
        return "none"
    low, high = median_interval(scores)
    return rounded(median(scores)) + (f" ({rounded(low)} to {rounded(high)})" if low == low else "")


def ordered(scores: Scores, name: str) -> list[str]:
    """The methods, the best median first."""
    medians = {method: median(values) if values else math.nan for method, values in scores.items()}
    return sorted(medians, key=lambda method: rank(medians[method], higher_is_better(name, ())))


def table(file: Path, names: list[str]) -> str:
    columns = {name: read(file, name) for name in names}
    methods = ordered(columns[names[0]], names[0])
    seeds = [len(columns[names[0]][method]) for method in methods]
    rows = [
        [method, str(n), *(cell(columns[name][method]) for name in names)]
        for method, n in zip(methods, seeds, strict=True)
    ]
    head = ["method", "seeds", *(name.removeprefix("eval/") for name in names)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rows))


def plot(file: Path, name: str, out: Path) -> None:
    """Every seed as a point, the median and its interval as a bar."""
    scores = read(file, name)
    methods = ordered(scores, name)[::-1]
    with style.apply():
        figure = style.figure(7, 0.4 * len(methods) + 1.2)
        axes = figure.add_subplot(xlabel=style.direction(name, higher_is_better(name, ())))
        for i, method in enumerate(methods):
            axes.plot(scores[method], [i] * len(scores[method]), "o", color=style.SERIES[0], alpha=0.5)
            if len(scores[method]) > 1:
                axes.plot(median_interval(scores[method]), [i, i], color=style.INK, linewidth=2)
                axes.plot(median(scores[method]), i, "|", color=style.INK, markersize=12)
        axes.set_yticks(range(len(methods)), methods)
        figure.savefig(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--scores", nargs="+", required=True, help="columns of the file")
    parser.add_argument("--plot", type=Path, help="draw the first score into this file")
    options = parser.parse_args()
    try:
        print(table(options.file, options.scores))
        if options.plot:
            plot(options.file, options.scores[0], options.plot)
    except (OSError, ValueError) as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
