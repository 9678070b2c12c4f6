"""On the Dirac-GAN (Mescheder et al. 2018) the penalties do what the theory says."""

import importlib.util
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "dirac_gan.py"
spec = importlib.util.spec_from_file_location("dirac_gan", SCRIPT)
dirac_gan = importlib.util.module_from_spec(spec)
spec.loader.exec_module(dirac_gan)


def distance(name, steps=800):
    """From the equilibrium, at most, over the last quarter of the steps."""
    return dirac_gan.trajectory(dirac_gan.load(name), steps).norm(dim=1)[-steps // 4 :]


@pytest.mark.parametrize("name", ["r1", "r2", "r1_r2", "max_gp", "finite_difference"])
def test_zero_centred_penalties_converge(name):
    assert distance(name).max() < 0.05


@pytest.mark.parametrize("name", ["none", "weight_clipping", "wgan_gp", "wgan_lp", "dragan"])
def test_the_others_go_round_in_cycles(name):
    assert distance(name).min() > 0.2


def test_clipping_holds_the_critic():
    assert dirac_gan.trajectory(dirac_gan.load("weight_clipping"), 300)[1:, 1].abs().max() <= 1


def test_the_picture(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["dirac_gan.py", "r1", "wgan_gp", "--steps", "20", "--out", f"{tmp_path}/d.png"])
    dirac_gan.main()
    assert (tmp_path / "d.png").stat().st_size > 5000
