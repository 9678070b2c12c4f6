"""The tables of comparisons are drawn from the scores of every seed."""

import csv
from pathlib import Path

import pytest
import results
import seed_scores
import successes
from PIL import Image

PAGES = Path(__file__).parents[1] / "docs" / "results"

SUMMARY = """job,name,seed,eval/wasserstein1,eval/modes,status
0,slow,1,0.5,20,done
1,slow,2,0.3,22,done
2,slow,3,0.4,24,done
3,fast,1,0.1,25,done
4,fast,2,0.2,25,done
5,fast,3,,,failed
"""


@pytest.fixture
def summary(tmp_path):
    (tmp_path / "summary.csv").write_text(SUMMARY)
    return tmp_path / "summary.csv"


def drawn(file, scores=None):
    return seed_scores.table(*results.read(file, scores))


def test_each_method_has_its_median_and_interval_the_best_first(summary):
    head, _, *rows = drawn(summary).splitlines()
    assert head == "| method | seeds | wasserstein1 | modes |"
    assert rows == [
        "| fast | 2 | 0.15 (0.1 to 0.2) | 25 (25 to 25) |",
        "| slow | 3 | 0.4 (0.3 to 0.5) | 22 (20 to 24) |",
    ]
    assert drawn(summary, ["eval/modes"]).splitlines()[2].startswith("| fast")  # more are better
    with pytest.raises(ValueError, match="has no scores eval/fid; it has eval/wasserstein1, eval/modes"):
        results.read(summary, ["eval/fid"])


MIXTURE = ["eval/sliced_wasserstein", "eval/wasserstein1", "eval/modes", "eval/high_quality"]


@pytest.mark.parametrize(
    ("page", "data", "scores"),
    [
        ("experiments.md", "paper_collapse.csv", MIXTURE),
        ("experiments.md", "stacked_mnist.csv", ["eval/stacked_modes", "eval/stacked_kl"]),
        ("penalties.md", "penalties.csv", MIXTURE),
        ("penalties.md", "adaptive_gaussians8.csv", MIXTURE),
        ("penalties.md", "adaptive_swissroll.csv", MIXTURE[:2]),
    ],
)
def test_the_page_has_the_table_of_its_data(page, data, scores):
    assert drawn(PAGES / "data" / data, scores) in (PAGES / page).read_text()


@pytest.mark.parametrize("standard", ["standard", "standard_1200"])
def test_the_page_counts_the_architectures_that_train(standard):
    files = [PAGES / "data" / f"random_architectures_{method}.csv" for method in ("wgan_gp", standard)]
    scores = [successes.read(file, "architecture_seed", "eval/classifier_score") for file in files]
    counted = successes.table(("WGAN-GP", "the standard GAN"), *scores, [1.5, 2, 3, 4, 5, 6])
    assert counted in (PAGES / "experiments.md").read_text()


@pytest.mark.parametrize("data", ["equal_time_mnist.csv", "equal_time_cifar10.csv"])
def test_the_laptops_page_has_the_last_scores_of_each_program(data):
    with open(PAGES / "data" / data, newline="") as lines:
        ends = {(row["name"], row["seed"]): row for row in csv.DictReader(lines)}
    for line in seed_scores.table(list(ends.values()), ["steps", "frechet"]).splitlines()[2:]:
        assert line.split("|", 3)[3] in (PAGES / "laptop.md").read_text(), line


def test_the_page_has_the_best_distance_of_each_method_and_architecture():
    with open(PAGES / "data" / "robustness.csv", newline="") as lines:
        ends = [row for row in csv.DictReader(lines) if row["step"] == "3000"]
    found: dict[str, dict[str, float]] = {}
    for row in ends:
        method, distance = row["method"], float(row["frechet"])
        best = found.setdefault(row["architecture"], {})
        best[method] = min(distance, best.get(method, distance))
    for architecture, best in found.items():
        line = f"| {architecture} | {' | '.join(f'{distance:.3g}' for distance in best.values())} |"
        assert line in (PAGES / "experiments.md").read_text()
    del found["resnet101"]  # of which the page says that one method alone trains it
    worst = [max(best[method] / min(best.values()) for best in found.values()) for method in found["dcgan"]]
    assert [round(ratio, 1) for ratio in worst] == [1.3, 3.6, 2.3, 4.2]


@pytest.mark.parametrize("page", ["laptop", "gpu"])
def test_the_page_has_the_last_distance_of_each_run(page):
    with open(PAGES / "data" / f"{page}.csv", newline="") as lines:
        ends = {row["run"]: row for row in csv.DictReader(lines)}
    for row in ends.values():
        assert f" {float(row['eval/classifier_frechet']):.3g}" in (PAGES / f"{page}.md").read_text(), row


def test_the_plot_has_a_row_for_each_method(summary, tmp_path):
    results.plot(summary, "eval/wasserstein1", tmp_path / "plot.png")
    assert Image.open(tmp_path / "plot.png").size == (700, 200)
