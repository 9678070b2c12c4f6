"""The weight's course: values in closed form, what the controller comes to, and that it goes on where it stopped."""

from functools import partial

import pytest
import torch
from conftest import PENALTY, small_trainer

from wgangp.observer import Observer
from wgangp.penalties import GradientPenalty, Sobolev
from wgangp.schedules import Adaptive, Constant, Linear

ADAPTIVE = {"target": 1.1, "rate": 0.05, "least": 1e-3, "most": 1e4}


def penalty(schedule, **changes):
    return GradientPenalty(**(PENALTY | {"schedule": schedule} | changes))


def test_constant_and_linear():
    constant, linear = Constant(3.0), Linear(2.0, final=0.5)
    for progress in (0.0, 0.25, 1.0):
        constant.begin(progress), linear.begin(progress)
        assert constant.value == 3 and linear.value.item() == 2 - 1.5 * progress


def test_linear_over_a_run_comes_to_its_end():
    trainer = small_trainer(penalty=penalty(partial(Linear, final=1.0)), steps=4)
    weights = []
    for _ in range(4):
        logs = trainer.train_step()
        weights.append(Observer(trainer, lambda generate: {}).measure(logs)["penalty/weight"])
    assert weights == [10.0, 7.75, 5.5, 3.25]


def test_adaptive_is_multiplied_by_a_power_of_the_norm_over_its_target():
    weight = Adaptive(10.0, **ADAPTIVE)
    weight.observe(torch.tensor(2.2))
    assert weight.value.item() == pytest.approx(10 * 2**0.05)
    weight.observe(torch.tensor(0.55))
    assert weight.value.item() == pytest.approx(10)
    weight.observe(torch.tensor(1e9))  # an update changes it by at most 10^rate
    assert weight.value.item() == pytest.approx(10 * 10**0.05)


def test_adaptive_stays_within_its_bounds():
    weight = Adaptive(10.0, **(ADAPTIVE | {"rate": 5.0}))
    for norm, bound in ((50.0, 1e4), (0.0, 1e-3)):
        for _ in range(5):
            weight.observe(torch.tensor(norm))
        assert weight.value.item() == pytest.approx(bound)


@pytest.mark.parametrize("start", [0.01, 1.0, 1000.0])
def test_the_controller_brings_the_norm_to_its_target_from_anywhere(start):
    """f(x) = w x against the pull of a unit distance: the penalised optimum |w| = 1 + 1 / (2 weight), by hand."""
    weight = Adaptive(start, **ADAPTIVE)
    for _ in range(3000):
        weight.observe(1 + 1 / (2 * weight.value))
    assert (1 + 1 / (2 * weight.value)).item() == pytest.approx(1.1, abs=1e-4)
    assert weight.value.item() == pytest.approx(5, rel=1e-3)


@pytest.mark.parametrize(
    "made",
    [
        lambda: penalty(partial(Adaptive, **ADAPTIVE)),
        lambda: penalty(partial(Linear, final=0.1)),
        lambda: Sobolev(rho=0.1),
    ],
    ids=["adaptive", "linear", "sobolev"],
)
def test_a_moving_weight_goes_on_where_it_stopped(made):
    whole, first, second = (small_trainer(penalty=made()) for _ in range(3))
    for _ in range(6):
        whole.train_step()
    for _ in range(3):
        first.train_step()
    second.load_state(first.state())
    for _ in range(3):
        second.train_step()
    assert float(whole.penalty.weight) == float(second.penalty.weight) not in (0.0, 10.0)
    for a, b in zip(whole.critic_params, second.critic_params, strict=True):
        assert torch.equal(a, b)


def test_another_penalty_may_go_on():
    constant, adaptive = small_trainer(), small_trainer(penalty=penalty(partial(Adaptive, **ADAPTIVE)))
    adaptive.train_step()
    constant.load_state(adaptive.state())
    adaptive.load_state(constant.state())
    assert constant.penalty.weight == 10 and constant.step == 1


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (partial(Adaptive, **(ADAPTIVE | {"target": 0.0})), "target 0.0"),
        (partial(Adaptive, **(ADAPTIVE | {"rate": 0.0})), "rate 0.0"),
        (partial(Adaptive, **(ADAPTIVE | {"most": 5.0})), "most 5.0"),
        (partial(Linear, final=-1.0), "final is -1.0"),
    ],
)
def test_bad_options_are_refused(schedule, message):
    with pytest.raises(ValueError, match=message):
        penalty(schedule)
