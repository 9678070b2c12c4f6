"""RMSProp against TensorFlow 1's formulas in numpy."""

import copy

import numpy as np
import pytest
import torch

from wgangp.optimizers import RMSProp

OPTIONS = {"lr": 5e-5, "alpha": 0.9, "eps": 1e-10}


def tensorflow_rmsprop(p, gradients, lr, alpha, eps):
    """The weights after each gradient."""
    square = np.ones_like(p)
    for g in gradients:
        square = alpha * square + (1 - alpha) * g**2
        p = p - lr * g / np.sqrt(square + eps)
        yield p


def test_rmsprop_is_tensorflows():
    rng = np.random.default_rng(0)
    start, gradients = rng.normal(size=(4, 3)), rng.normal(size=(50, 4, 3)) * 10.0 ** rng.integers(-7, 2, (50, 4, 3))
    p = torch.nn.Parameter(torch.tensor(start))
    unused = torch.nn.Parameter(torch.ones(2))
    optimizer = RMSProp([p, unused], **OPTIONS)
    for expected, g in zip(tensorflow_rmsprop(start, gradients, **OPTIONS), gradients, strict=True):
        p.grad = torch.tensor(g)
        optimizer.step()
        np.testing.assert_allclose(p.detach().numpy(), expected, rtol=1e-14, atol=0)
    assert torch.equal(unused, torch.ones(2))


@pytest.mark.parametrize(
    ("optimizer", "move"),
    [
        (RMSProp, 5e-5 * 1e-3 / np.sqrt(0.9 + 0.1 * 1e-6 + 1e-10)),  # 5.3e-8
        (torch.optim.RMSprop, 5e-5 / np.sqrt(0.1)),  # 1.6e-4, 3,000 times as large
    ],
)
def test_the_first_move(optimizer, move):
    p = torch.nn.Parameter(torch.zeros((), dtype=torch.float64))
    p.grad = torch.tensor(1e-3, dtype=torch.float64)
    optimizer([p], **OPTIONS).step()
    assert -p.item() == pytest.approx(move, rel=1e-6)


def steps(optimizer, p, n):
    for _ in range(n):
        optimizer.zero_grad()
        (p - 1).square().sum().backward()
        optimizer.step()


def test_a_learning_rate_may_be_a_tensor_and_the_state_resumes_exactly():
    p, q = (torch.nn.Parameter(torch.linspace(-1, 3, 5)) for _ in range(2))
    by_number, by_tensor = RMSProp([p], **OPTIONS), RMSProp([q], **(OPTIONS | {"lr": torch.tensor(5e-5)}))
    steps(by_number, p, 4), steps(by_tensor, q, 2)
    resumed = RMSProp([q], **OPTIONS)
    resumed.load_state_dict(copy.deepcopy(by_tensor.state_dict()))
    steps(resumed, q, 2)
    torch.testing.assert_close(p, q, rtol=0, atol=0)


def test_bad_options_are_refused():
    with pytest.raises(ValueError, match="alpha is 1"):
        RMSProp([torch.nn.Parameter(torch.ones(1))], lr=1e-3, alpha=1, eps=1e-10)
