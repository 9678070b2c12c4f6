"""Every option of every group is instantiated, every experiment composed and trained for two steps."""

import importlib
import inspect

import pytest
import torch
from hydra import compose, initialize_config_dir

from wgangp.config import CONF, build, check, plain

DATA = {"shape": [3, 32, 32], "num_classes": 0}


def options(group):
    return sorted(str(p.relative_to(CONF / group).with_suffix("")) for p in (CONF / group).rglob("*.yaml"))


def composed(*overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", overrides=list(overrides))
    check(cfg)
    return cfg


@pytest.mark.parametrize("group", ["generator", "critic"])
def test_every_network(group):
    for option in options(group):
        cfg = composed(f"{group}={option}", "generator.width=4", "critic.width=4")
        module = build(cfg[group], **DATA)
        x = torch.randn(2, 3, 32, 32) if group == "critic" else torch.randn(2, module.nz)
        assert module(x).shape == ((2, 1) if group == "critic" else (2, 3, 32, 32))


@pytest.mark.parametrize("option", options("penalty"))
def test_every_penalty(option):
    penalty = build(composed(f"penalty={option}").penalty)
    assert penalty(lambda x: x.sum(1), torch.randn(4, 3), torch.randn(4, 3)).ndim == 0


@pytest.mark.parametrize("option", options("loss"))
def test_every_loss(option):
    loss = build(composed(f"loss={option}").loss)
    assert loss.critic(torch.randn(4), torch.randn(4)).ndim == loss.generator(torch.randn(4)).ndim == 0


@pytest.mark.parametrize("option", options("optimizer"))
def test_every_optimizer(option):
    cfg = composed(f"optimizer@generator_optimizer={option}", f"optimizer@critic_optimizer={option}")
    for node in (cfg.generator_optimizer, cfg.critic_optimizer):
        p = torch.nn.Parameter(torch.ones(3))
        optimizer = build(node, [p])
        p.sum().backward()
        optimizer.step()
        assert (p < 1).all()


def constructor(node):
    module, name = node["_target_"].rsplit(".", 1)
    return getattr(importlib.import_module(module), name)


@pytest.mark.parametrize("option", options("dataset"))
def test_every_dataset_option_has_the_keys_that_its_function_takes(option):
    path = ["dataset.path=x"] if option in ("array", "image_folder") else []
    node = plain(composed(f"dataset={option}", *path))["dataset"]
    arguments = {key: value for key, value in node.items() if key != "_target_"}
    inspect.signature(constructor(node)).bind(**arguments, seed=0, device="cpu")


@pytest.mark.parametrize("option", ["gaussians8", "gaussians25", "swissroll"])
def test_every_toy_trains_and_is_drawn(call, option):
    code, text = call("train", f"dataset={option}", "steps=2", "evaluation_samples=100", "hydra.run.dir=run")
    assert code == 0 and "samples: " in text
    assert ("eval/modes" in text) == (option != "swissroll")  # a swiss roll has no modes


@pytest.mark.parametrize("option", options("experiment"))
def test_every_experiment_trains_for_two_steps(call, option):
    code, text = call("train", f"experiment={option}", "steps=2", "evaluation_samples=100", "hydra.run.dir=run")
    assert code == 0, text


@pytest.mark.parametrize("penalty", options("penalty"))
@pytest.mark.parametrize("optimizer", options("optimizer"))
def test_every_penalty_goes_with_every_optimizer(penalty, optimizer):
    """A dataset chooses options and never reaches into them, so that another choice finds no stray keys."""
    cfg = composed("dataset=mnist", f"penalty={penalty}", f"optimizer@critic_optimizer={optimizer}")
    build(cfg.penalty), build(cfg.critic_optimizer, [torch.nn.Parameter(torch.ones(3))])


def test_every_default_lives_in_conf_alone():
    """Constructors that conf/ instantiates give no defaults to what it sets."""
    for group in ("generator", "critic", "penalty", "dataset"):
        for option in options(group):
            path = ["dataset.path=x"] if option in ("array", "image_folder") else []
            target = constructor(composed(f"{group}={option}", *path)[group])
            for parameter in inspect.signature(target).parameters.values():
                assert parameter.default is inspect.Parameter.empty, f"{target}({parameter})"
                assert parameter.kind is not inspect.Parameter.VAR_KEYWORD, f"{target}({parameter})"
