"""The scores of seeds in a file, their table, and the pages that show it."""

from pathlib import Path

import pytest
from seed_scores import SeedScores, read, table

RESULTS = Path(__file__).parents[1] / "docs" / "results"


def test_the_table_has_the_median_and_its_interval(tmp_path):
    scores = SeedScores(tmp_path / "s.csv", ["return"])
    for seed, value in enumerate((-200.0, -150.0, -160.0)):
        scores.add("b", seed, value)
    scores.add("a", 0, -1.5)
    assert read(tmp_path / "s.csv") == scores.rows and SeedScores(tmp_path / "s.csv", ["return"]).has("b", 2)
    assert table(scores.rows, ["return"]).splitlines()[2:] == ["| b | 3 | -160 (-200 to -150) |", "| a | 1 | -1.5 |"]
    with pytest.raises(ValueError, match="has the columns name, seed, return"):
        SeedScores(tmp_path / "s.csv", ["accuracy"])


@pytest.mark.parametrize(
    ("page", "file", "scores"),
    [
        ("few-labels.md", "few_labels.csv", ["accuracy"]),
        ("imitation.md", "imitation.csv", ["return"]),
        ("penalties.md", "regularize_classifier.csv", ["clean", "noise 0.2", "noise 0.4", "noise 0.6"]),
    ],
)
def test_the_pages_tables_are_those_of_the_seeds(page, file, scores):
    assert table(read(RESULTS / "data" / file), scores) in (RESULTS / page).read_text()
