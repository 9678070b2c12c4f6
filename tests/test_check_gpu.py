"""scripts/check_gpu.py where there is no GPU: what it says, and how results are told apart."""

import sys

import check_gpu
import pytest


def test_without_a_gpu_there_is_nothing_to_check(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["check_gpu.py"])
    with pytest.raises(SystemExit, match="1"):
        check_gpu.main()
    assert "finds no CUDA device here: nothing to check" in capsys.readouterr().err


def test_a_check_passes_fails_or_is_skipped():
    def failing():
        raise AssertionError("losses differ by 1")

    def skipping():
        raise check_gpu.Skipped("one GPU")

    found = [check_gpu.result(check) for check in (lambda: "equal bits", failing, skipping)]
    assert found == ["pass: equal bits", "FAIL: AssertionError: losses differ by 1", "skipped: one GPU"]


def test_processes_that_a_check_starts_must_end_well():
    assert check_gpu.python("-c", "print(6 * 7)") == "42\n"
    with pytest.raises(AssertionError, match="out of memory"):
        check_gpu.python("-c", "raise SystemExit('out of memory')")


def test_there_are_ten_checks_with_names():
    assert len({check.__name__ for check in check_gpu.CHECKS}) == 10
