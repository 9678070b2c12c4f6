"""The table of architectures that train by one method only."""

import sys

import pytest
import successes

HEAD = "job,architecture_seed,eval/classifier_score,status\n"


@pytest.fixture
def summaries(tmp_path):
    (tmp_path / "first.csv").write_text(HEAD + "0,0,5,done\n1,1,3,done\n2,2,1,done\n3,3,8,done\n")
    (tmp_path / "second.csv").write_text(HEAD + "0,3,2,done\n1,2,6,done\n2,1,3.5,done\n3,0,,failed\n")
    return [str(tmp_path / "first.csv"), str(tmp_path / "second.csv")]


def run(monkeypatch, capsys, files, *arguments):
    score = ["--score", "eval/classifier_score", "--thresholds", "1", "4", "9"]
    monkeypatch.setattr(sys, "argv", ["successes.py", *files, *score, *arguments])
    successes.main()
    return capsys.readouterr().out.splitlines()


def test_each_threshold_counts_who_trains(summaries, monkeypatch, capsys):
    head, _, *rows = run(monkeypatch, capsys, summaries, "--names", "WGAN-GP", "GAN")
    assert head == "| score above | only WGAN-GP | only GAN | both | neither |"
    assert rows == ["| 1 | 1 | 1 | 2 | 0 |", "| 4 | 2 | 1 | 0 | 1 |", "| 9 | 0 | 0 | 0 | 4 |"]


@pytest.mark.parametrize(
    ("line", "key", "answer"),
    [
        ("4,4,1,done\n", "architecture_seed", "only one of the two files has 4"),
        ("4,3,1,done\n", "architecture_seed", "has the same architecture_seed more than once"),
        ("", "seed", "has no column seed; it has job, architecture_seed"),
    ],
)
def test_sweeps_that_do_not_match_are_refused(summaries, monkeypatch, capsys, line, key, answer):
    with open(summaries[1], "a") as file:
        file.write(line)
    with pytest.raises(SystemExit):
        run(monkeypatch, capsys, summaries, "--key", key)
    assert answer in capsys.readouterr().err
