"""Strengths are chosen by a validation part and seeds of their own; the test part judges others."""

import sys

import pytest
import regularize_classifier as script
import torch
from conftest import write_mnist
from seed_scores import SeedScores, read

from wgangp.train_classifier import load

CPU = torch.device("cpu")


@pytest.fixture
def mnist(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_mnist(tmp_path / "MNIST" / "raw", n=60)
    return ["dataset=mnist", f"dataset.root={tmp_path}"]


def test_the_choice_has_the_best_mean_over_noises_and_seeds(tmp_path):
    scores = SeedScores(tmp_path / "s.csv", script.COLUMNS)
    for strength, clean, noisy in ((0.2, 90, 10), (0.4, 50, 60), (0.6, 50, 50), (0.8, 0, 0)):
        for seed in (1000, 1001):
            scores.add(f"500 labels, dropout {strength}", seed, clean, noisy, noisy, noisy)
    assert script.chosen(scores, 500, "dropout") == 0.4


def test_every_method_but_none_has_as_many_strengths():
    assert {len(strengths) for method, strengths in script.METHODS.items() if method != "none"} == {4}


def test_the_validation_part_is_neither_trained_on_nor_tested_on(mnist, monkeypatch):
    seen = {}
    monkeypatch.setattr(script, "train", lambda network, split, *rest: seen.update(train=split))
    monkeypatch.setattr(script, "accuracies", lambda network, split: seen.update(judge=split))
    _, dataset = load(mnist, CPU)
    script.run(dataset, 40, "none", 0.0, 0, 1, "validation")
    both = torch.cat([seen["train"].all(), seen["judge"].all()]).flatten(1)
    assert len(seen["train"]) == 40 and len(both) == len(both.unique(dim=0)) == 60
    first = seen["train"].all()
    script.run(dataset, 40, "none", 0.0, 0, 1, "test")
    assert torch.equal(seen["judge"].all(), dataset.held_out_split.all()) and torch.equal(seen["train"].all(), first)
    script.run(dataset, 40, "none", 0.0, 1, 1, "test")
    assert not torch.equal(seen["train"].all(), first)


def test_the_command(mnist, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(script, "METHODS", {"none": [0.0], "jacobian": [0.1, 1.0]})
    small = ["--labels", "20", "--methods", "none", "jacobian", "--seeds", "0", "1", "--steps", "2"]
    monkeypatch.setattr(sys, "argv", ["regularize_classifier.py", *mnist, *small])
    script.main()
    assert "| 20 labels, none | 2 |" in capsys.readouterr().out
    tuned = {row["name"] for row in read(tmp_path / "regularize_classifier_validation.csv")}
    assert tuned == {"20 labels, none", "20 labels, jacobian 0.1", "20 labels, jacobian 1"}
    assert (tmp_path / "regularize_classifier.png").stat().st_size > 5000
