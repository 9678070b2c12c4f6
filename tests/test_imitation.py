"""Imitation: the expert, the discriminator's formulas, and a tiny run where the extra `rl` is installed."""

import math
import re
import sys
from pathlib import Path

import numpy as np
import pendulum
import pytest
import torch
from discriminator import Discriminator, critic_update, reward_of
from torch import nn

from wgangp.app.build import build
from wgangp.app.compose import load_config
from wgangp.losses import LeastSquares, Standard, Wasserstein
from wgangp.penalties import NoPenalty


def observed(angle, speed):
    return np.stack([np.cos(angle), np.sin(angle), speed], axis=1)


def test_the_expert_swings_up_and_balances_from_any_start():
    random = np.random.default_rng(0)
    angle, speed = random.uniform(-math.pi, math.pi, 200), random.uniform(-1, 1, 200)
    angle[:2], speed[:2] = [math.pi, 0], [0, 0]  # it hangs at rest, it stands at rest
    total = np.zeros(200)
    for _ in range(200):
        torque = pendulum.expert(observed(angle, speed))[:, 0]
        angle, speed, reward = pendulum.step(angle, speed, torque)
        total += reward
    assert np.cos(angle).min() > 0.999 and abs(speed).max() < 0.01
    assert total[1] == 0 and total.mean() > -175 and total.min() > -450


def test_the_expert_by_hand():
    """Balance: -10 theta - 3 theta'. Swing: with too little energy along the speed, with too much against it."""
    angle, speed = np.array([0.1, -0.1, math.pi, math.pi, 1.0]), np.array([0.0, 0.1, 1.0, -1.0, 8.0])
    np.testing.assert_allclose(pendulum.expert(observed(angle, speed))[:, 0], [-1, 0.7, 2, -2, -2], atol=1e-12)


def test_the_rewards_by_hand():
    f, expert = torch.tensor([-3.0, 0.0, 2.0]), torch.tensor([1.0, 3.0])
    assert reward_of(Wasserstein(), f, expert).tolist() == [-5, -2, 0]
    assert torch.equal(reward_of(Wasserstein(), f + 7, expert + 7), reward_of(Wasserstein(), f, expert))
    torch.testing.assert_close(reward_of(Standard(), f, expert), -(1 - f.sigmoid()).log())  # GAIL's -log(1 - D)
    with pytest.raises(ValueError, match="LeastSquares has no reward here: use loss=wasserstein or loss=standard"):
        reward_of(LeastSquares(), f, expert)


class Parabola(nn.Module):
    """f(x) = w x^2 / 2 of pairs (n, 1): its gradient is w x."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.tensor(2.0))

    def forward(self, x):
        return self.w * x.square() / 2


@pytest.mark.parametrize(
    ("penalty", "gradient"),
    [
        ("none", 0.0),
        ("r1", 10 * 2 * 5.0),  # 5 E[(w x)^2] at the expert's 1 and 3: 10 w E[x^2]
        ("r2", 10 * 2 * 2.0),  # at the policy's 0 and 2
    ],
)
def test_an_update_by_hand(penalty, gradient):
    """SGD with rate 0.1 on E[f(policy)] - E[f(expert)] + penalty, from w = 2."""
    critic, expert, policy = Parabola(), torch.tensor([[1.0], [3.0]]), torch.tensor([[0.0], [2.0]])
    optimizer = torch.optim.SGD(critic.parameters(), lr=0.1)
    added = NoPenalty() if penalty == "none" else build(load_config(f"penalty={penalty}").penalty)
    critic_update(critic, optimizer, Wasserstein(), added, expert, policy)
    assert critic.w.item() == pytest.approx(2 - 0.1 * (2.0 / 2 - 5.0 / 2 + gradient), rel=1e-5)


@pytest.mark.parametrize("loss", ["wasserstein", "standard"])
@pytest.mark.parametrize("penalty", ["wgan_gp", "r1", "weight_clipping"])
def test_the_expert_earns_more_than_the_policy(loss, penalty):
    torch.manual_seed(0)
    shift = torch.tensor([1.0, 0.0, 0.0, 0.0])
    expert, policy = torch.randn(200, 4) + shift, torch.randn(200, 4) - shift
    small = ["critic.width=16", "critic.depth=2", "batch_size=64", "critic_optimizer.lr=1e-3"]
    discriminator = Discriminator(load_config(f"loss={loss}", f"penalty={penalty}", *small), expert)
    discriminator.learn(policy, 60)
    assert discriminator.reward(expert).mean() > discriminator.reward(policy).mean()


def test_the_discriminator_standardises_by_the_expert():
    expert = torch.tensor([[1.0, 5.0], [3.0, 5.0]])  # the second input never changes
    discriminator = Discriminator(load_config("critic.width=4", "penalty=none"), expert)
    found = discriminator.standardised(torch.tensor([[2.0, 5.1]]))
    torch.testing.assert_close(found, torch.tensor([[0.0, 1.0]]), rtol=0, atol=1e-5)


def test_the_how_to():
    page = (Path(__file__).parents[1] / "docs" / "how-to" / "imitation.md").read_text()
    names = {}
    for block in re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        exec(block, names)
    policy = names["expert"] - 2
    names["learn"](policy, updates=20)
    assert names["reward"](names["expert"]).mean() > names["reward"](policy).mean()
    assert names["penalty_loss"].ndim == 0


def test_our_pendulum_is_gymnasiums():
    gymnasium = pytest.importorskip("gymnasium")
    environment = gymnasium.make("Pendulum-v1").unwrapped
    environment.reset(seed=0)
    angle, speed = environment.state
    for torque in (2.0, -1.0, 0.3, 5.0):
        angle, speed, reward = pendulum.step(angle, speed, np.clip(torque, -2, 2))
        _, theirs, *_ = environment.step(np.array([torque]))
        np.testing.assert_allclose([*environment.state, theirs], [angle, speed, reward], rtol=1e-12)


def test_the_command(monkeypatch, tmp_path, capsys):
    pytest.importorskip("stable_baselines3")
    import imitate

    for name, value in (("ENVIRONMENTS", 2), ("ROLLOUT", 256), ("UPDATES", 2), ("CLONING_UPDATES", 2)):
        monkeypatch.setattr(imitate, name, value)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["imitate.py", "standard/r1", "cloning", "--seeds", "0", "1", "--steps", "600"])
    imitate.main()
    text = capsys.readouterr().out
    assert "| standard/r1 | 2 |" in text and "| cloning | 2 |" in text and "The expert's return is -1" in text
    assert (tmp_path / "imitation_curves.csv").read_text().count("\n") == 1 + 2 * 2
    assert (tmp_path / "imitation.png").stat().st_size > 5000
