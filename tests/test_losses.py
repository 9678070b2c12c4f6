"""The losses in closed form."""

import math

import pytest
import torch

from wgangp.losses import LeastSquares, Standard, Wasserstein, class_loss

REAL, FAKE = torch.tensor([3.0, 1.0]), torch.tensor([0.0, -2.0])


def minus_log_sigmoid(f):
    return math.log1p(math.exp(-f))


@pytest.mark.parametrize(
    ("loss", "critic", "generator"),
    [
        (Wasserstein(), -1 - 2, 1),
        (
            Standard(),
            (minus_log_sigmoid(3) + minus_log_sigmoid(1) + minus_log_sigmoid(0) + minus_log_sigmoid(2)) / 2,
            (minus_log_sigmoid(0) + minus_log_sigmoid(-2)) / 2,
        ),
        (LeastSquares(), ((4 + 0) / 2 + (0 + 4) / 2) / 2, (1 + 9) / 2),
    ],
)
def test_closed_forms(loss, critic, generator):
    assert loss.critic(REAL, FAKE).item() == pytest.approx(critic)
    assert loss.generator(FAKE).item() == pytest.approx(generator)


def test_the_standard_loss_is_binary_cross_entropy_and_bears_large_scores():
    bce = torch.nn.BCEWithLogitsLoss()
    expected = bce(REAL, torch.ones(2)) + bce(FAKE, torch.zeros(2))
    torch.testing.assert_close(Standard().critic(REAL, FAKE), expected)
    assert Standard().critic(100 * REAL, 100 * REAL).item() == pytest.approx(200)


def test_class_loss_is_nothing_without_a_class_head():
    assert class_loss(torch.zeros(4, 0), torch.zeros(4, dtype=torch.long)) == 0
    assert class_loss(torch.zeros(4, 5), torch.zeros(4, dtype=torch.long)).item() == pytest.approx(math.log(5))
