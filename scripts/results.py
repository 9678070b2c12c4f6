"""A comparison's table and plot, drawn from the scores of every seed.

    python scripts/results.py FILE.csv [--scores eval/wasserstein1 eval/modes] [--plot PICTURE]

FILE.csv is what `wgangp-summarize sweep=DIR/seeds` writes after a comparison (sweep=paper_collapse and others), or a
script that compares methods. Each method is a row: the median of its seeds, and the median's 95 % interval (bootstrap),
of up to five seeds the lowest and the highest. By a score of runs, eval/..., the best median is on top. Overlapping
intervals do not show that two methods are equal.
"""

import argparse
import math
from pathlib import Path
from statistics import median

import seed_scores
from seed_scores import KEYS, Rows, by_name, table

from wgangp import style
from wgangp.metrics.objective import higher_is_better
from wgangp.sweeps.jobs import median_interval, rank


def read(file: Path, scores: list[str] | None = None) -> tuple[Rows, list[str]]:
    """Returns the rows, by a score of runs the best method first, and the scores: all of the file if they are None.

    Raises ValueError if the file has no such column.
    """
    rows = seed_scores.read(file)
    if not rows:
        raise ValueError(f"{file} has no rows")
    known = [column for column in rows[0] if column.startswith("eval/")] or [c for c in rows[0] if c not in KEYS]
    scores = scores or known
    if absent := [score for score in scores if score not in rows[0]]:
        raise ValueError(f"{file} has no scores {', '.join(absent)}; it has {', '.join(known)}")
    if not scores[0].startswith("eval/"):
        return rows, scores
    medians = {name: median(found) if found else math.nan for name, found in by_name(rows, scores[0]).items()}
    return sorted(rows, key=lambda row: rank(medians[row["name"]], higher_is_better(scores[0], ()))), scores


def plot(file: Path, name: str, out: Path) -> None:
    """Every seed as a point, the median and its interval as a bar."""
    scores = by_name(read(file, [name])[0], name)
    methods = list(scores)[::-1]
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
    parser.add_argument("--scores", nargs="+", help="columns of the file; default: all")
    parser.add_argument("--plot", type=Path, help="draw the first score into this file")
    options = parser.parse_args()
    try:
        rows, scores = read(options.file, options.scores)
        print(table(rows, scores))
        if options.plot:
            plot(options.file, scores[0], options.plot)
    except (OSError, ValueError) as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
