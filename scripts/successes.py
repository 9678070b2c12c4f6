"""Which architectures train by one method only: Table 2 of Gulrajani et al. 2017, from two sweeps.

    wgangp-train -m experiment=paper/random_architecture 'architecture_seed=range(40)' hydra.sweep.dir=FIRST
    wgangp-train -m [the same by another method] hydra.sweep.dir=SECOND
    wgangp-summarize sweep=FIRST    # and SECOND
    python scripts/successes.py FIRST/summary.csv SECOND/summary.csv --score eval/classifier_score --thresholds 2 4 6

An architecture trains if its score is above the threshold. A run without a score has failed.
"""

import argparse
import csv
import math
from pathlib import Path

import seed_scores


def read(file: Path, key: str, score: str) -> dict[str, float]:
    """Returns the score of each value of the key. Raises ValueError if a column lacks or a value is twice there."""
    rows = seed_scores.read(file)
    if not rows:
        raise ValueError(f"{file} has no rows")
    for column in (key, score):
        if column not in rows[0]:
            raise ValueError(f"{file} has no column {column}; it has {', '.join(rows[0])}")
    scores = {row[key]: float(row[score] or math.nan) for row in rows}
    if len(scores) < len(rows):
        raise ValueError(f"{file} has the same {key} more than once: give a sweep over {key} alone")
    return scores


def table(names: tuple[str, str], first: dict[str, float], second: dict[str, float], thresholds: list[float]) -> str:
    """Markdown: a line for each threshold. Raises ValueError if the methods were not given the same architectures."""
    if first.keys() != second.keys():
        odd = ", ".join(sorted(first.keys() ^ second.keys()))
        raise ValueError(f"only one of the two files has {odd}")
    lines = [["score above", f"only {names[0]}", f"only {names[1]}", "both", "neither"], ["---"] * 5]
    for threshold in thresholds:
        trained = [(first[key] > threshold, second[key] > threshold) for key in first]
        counts = [trained.count(pair) for pair in ((True, False), (False, True), (True, True), (False, False))]
        lines.append([f"{threshold:g}", *map(str, counts)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs=2, metavar="SUMMARY.csv")
    parser.add_argument("--names", nargs=2, default=("the first", "the second"), help="of the two methods")
    parser.add_argument("--score", required=True, help="a column of both files; more must be better")
    parser.add_argument("--key", default="architecture_seed", help="the column that the sweeps differ in")
    parser.add_argument("--thresholds", type=float, nargs="+", required=True)
    options = parser.parse_args()
    try:
        scores = [read(file, options.key, options.score) for file in options.files]
        print(table(tuple(options.names), *scores, options.thresholds))
    except (OSError, ValueError, csv.Error) as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
