"""Every option of every group is instantiated, every experiment composed and trained for two steps."""

import importlib
import inspect
import itertools

import numpy as np
import pytest
import torch
import yaml
from conftest import composed, options, picture, small_trainer, write_film, write_mnist

from wgangp.app.build import build
from wgangp.app.paths import CONF
from wgangp.app.plain import plain
from wgangp.data.sources import published
from wgangp.data.sources.source import array_part
from wgangp.data.toy import gaussians8
from wgangp.models.layers import couples_samples
from wgangp.penalties import NoPenalty

DATA = {"shape": [3, 32, 32], "num_classes": 0}
SHAPES = {
    "char": [9, 12],
    "char_gru": [9, 12],
    "char_attention": [9, 12],
    "resnet101": [3, 64, 64],
    "real_plus_noise": [2],
    "video": [3, 7, 18, 16],
}
OWN_DATA = ("language", "ivgan", "own_images")  # experiments without data of their own
NEEDS_PATH = ("array", "image_folder", "text", "video_folder")


@pytest.mark.parametrize("group", ["generator", "critic"])
def test_every_network(group):
    for option in options(group):
        node = composed(f"{group}={option}")[group]
        if "width" in node:
            node.width = 4
        shape = SHAPES.get(option, DATA["shape"])
        pictures = {"condition_shape": [1, 16, 16]} if option == "unet" else {}
        module = build(node, **(DATA | {"shape": shape}), **pictures)
        x = [torch.rand(2, *shape) if group == "critic" else torch.randn(2, module.nz)]
        x += [torch.rand(2, *pictures["condition_shape"])] if pictures else []
        assert module(*x).shape == ((2, 1) if group == "critic" else (2, *shape))


@pytest.mark.parametrize("option", options("penalty"))
def test_every_penalty_trains_gaussians8(option):
    """The penalty does something, for it changes the critic; and all stays finite."""
    data = gaussians8(seed=0, device=torch.device("cpu"))
    penalty = build(composed(f"penalty={option}").penalty)
    penalised, plain = (small_trainer(dataset=data, n_critic=1, penalty=p) for p in (penalty, NoPenalty()))
    for _ in range(5):
        penalised.train_step(), plain.train_step()
    same = [torch.equal(a, b) for a, b in zip(plain.critic_params, penalised.critic_params, strict=True)]
    assert all(same) if option == "none" else not any(same[:-1])  # but for the last bias, which moves no gradient
    for _ in range(75):
        logs = penalised.train_step()
    values = [*logs.values(), *(p.detach() for p in penalised.critic_params + penalised.generator_params)]
    assert all(v.isfinite().all() for v in values)


@pytest.mark.parametrize("option", options("penalty"))
def test_every_penalty_resumes_bit_for_bit(option):
    whole, first, second = (small_trainer(penalty=build(composed(f"penalty={option}").penalty)) for _ in range(3))
    for _ in range(4):
        whole.train_step()
    for _ in range(2):
        first.train_step()
    second.load_state(first.state())
    for _ in range(2):
        second.train_step()
    assert float(getattr(whole.penalty, "weight", 0)) == float(getattr(second.penalty, "weight", 0))
    for part in ("critic", "generator"):
        states = (getattr(trainer, part).state_dict().values() for trainer in (whole, second))
        assert all(torch.equal(a, b) for a, b in zip(*states, strict=True))


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
    path = ["dataset.path=x"] if option in NEEDS_PATH else ["dataset.name=x"] if option == "huggingface" else []
    node = plain(composed(f"dataset={option}", *path))["dataset"]
    arguments = {key: value for key, value in node.items() if key != "_target_"}
    inspect.signature(constructor(node)).bind(**arguments, seed=0, device="cpu")


@pytest.mark.parametrize("option", ["gaussians8", "gaussians25", "swissroll"])
def test_every_toy_trains_and_is_drawn(call, option):
    code, text = call("train", f"dataset={option}", "steps=2", "evaluation_samples=100", "hydra.run.dir=run")
    assert code == 0 and "samples: " in text
    assert ("eval/modes" in text) == (option != "swissroll")  # a swiss roll has no modes


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder of all datasets, each with a few random images in its own format."""
    root = tmp_path_factory.mktemp("data")
    for name in ("MNIST", "FashionMNIST"):
        write_mnist(root / name / "raw", n=1000)
    for folder in ("celeba/img_align_celeba", "lsun/bedroom_train"):
        (root / folder).mkdir(parents=True)
        for i in range(4):
            picture(root / folder / f"{i}.jpg")
    np.savez(root / "cifar10.npz", images=np.zeros((8, 32, 32, 3), np.uint8), labels=np.arange(8) % 4)
    frames = [np.full((4, 4, 3), i, np.uint8) for i in range(40)]
    (root / "videos").mkdir()
    write_film(frames, root / "videos" / "clips.gif")
    (root / "rows.csv").write_text("a,b\n" + "1,2\n2,1\n" * 8)
    np.save(root / "signals.npy", np.random.default_rng(0).normal(size=(8, 16)))
    (root / "lines.txt").write_text("\n".join(f"sentence {i}" for i in range(700)))
    return root


def narrow(option):
    """The experiment's own settings with few filters, where its networks have a width."""
    cfg = composed(f"experiment={option}", *(["dataset.path=x"] if option.endswith(OWN_DATA) else []))
    return [f"{group}.width=4" for group in ("generator", "critic") if "width" in cfg[group]]


@pytest.mark.parametrize("option", options("experiment", "**/*.yaml"))
def test_every_experiment_trains_for_two_steps(call, option, data, monkeypatch):
    """On its own kind of files, but for CIFAR-10, which torchvision checks by md5: there the array is read."""
    monkeypatch.setenv("WGANGP_DATA", str(data))
    cifar10 = f"experiment={option}" if "cifar10" in option or option == "paper/random_architecture" else None
    if cifar10:
        monkeypatch.setattr(published, "read_parts", lambda *a: (array_part(*small_cifar10(data)), None, None))
    path = [f"dataset.path={data / 'lines.txt'}"] if option.endswith("language") else []
    path = [f"dataset.path={data / 'videos'}", "dataset.size=16"] if option.endswith("ivgan") else path
    files = {"own_images": "celeba", "table": "rows.csv", "signals": "signals.npy"}.get(option.rpartition("/")[2])
    path = [f"dataset.path={data / files}"] if files else path
    small = ["batch_size=2", "n_critic=1", "evaluation_samples=10", "steps=2", "log_every=2", *narrow(option)]
    small += ["dataset.limit=1000"] if option.startswith("paper/mnist") else []
    code, text = call("train", f"experiment={option}", *small, *path, "hydra.run.dir=run")
    assert code == 0, text


def small_cifar10(data):
    arrays = np.load(data / "cifar10.npz")
    return torch.from_numpy(arrays["images"]).permute(0, 3, 1, 2), torch.from_numpy(arrays["labels"])


METHODS = {
    "DCGAN": ("adam_gan", "loss=standard", "penalty=none", "n_critic=1", "critic.norm=batch"),
    "LSGAN": ("rmsprop", "loss=least_squares", "penalty=none", "n_critic=1", "critic.norm=batch"),
    "clipping": ("rmsprop", "penalty=weight_clipping", "critic.norm=batch"),
    "WGAN-GP": ("adam",),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("option", [o for o in options("experiment", "**/*.yaml") if "robustness" in o])
def test_every_architecture_of_figure_2_has_its_four_methods(option, method):
    optimizer, *overrides = METHODS[method]
    both = [f"optimizer@{part}_optimizer={optimizer}" for part in ("generator", "critic")]
    cfg = composed(f"experiment={option}", *overrides, *both)
    with torch.device("meta"):
        generator, critic = (build(cfg[part], shape=[3, 64, 64], num_classes=0) for part in ("generator", "critic"))
        assert critic(generator(torch.randn(2, generator.nz))).shape == (2, 1)
    assert couples_samples(critic) == ("critic.norm=batch" in overrides)
    assert build(cfg.penalty).per_sample == (method == "WGAN-GP") and build(cfg.loss)


@pytest.mark.parametrize(
    ("option", "generator", "critic"),
    [
        ("paper/gaussians25", 527_874, 527_361),
        ("paper/mnist", 1_554_177, 1_030_145),
        ("paper/cifar10_dcgan", 5_179_907, 4_114_689),
        ("paper/cifar10_resnet", 1_204_483, 1_053_825),
        ("paper/cifar10_resnet_conditional", 1_218_307, 1_055_115),
        ("paper/celeba64", 8_540_483, 7_491_841),
    ],
)
def test_experiments_have_the_official_networks(option, generator, critic):
    cfg = composed(f"experiment={option}")
    shape = [2] if "gaussians" in option else [1, 28, 28] if "mnist" in option else [3, 32, 32]
    shape = [3, 64, 64] if "64" in option else shape
    given = {"shape": shape, "num_classes": 10 if cfg.conditional else 0}
    with torch.device("meta"):
        modules = [build(cfg[group], **given) for group in ("generator", "critic")]
    assert [sum(p.numel() for p in m.parameters()) for m in modules] == [generator, critic]


@pytest.mark.parametrize(
    ("penalty", "optimizer"), [*zip(options("penalty"), itertools.cycle(options("optimizer")), strict=False)]
)
def test_penalties_and_optimizers_go_with_a_dataset_that_chooses_others(penalty, optimizer):
    """A dataset chooses options and never reaches into them, so that another choice finds no stray keys."""
    cfg = composed("dataset=mnist", f"penalty={penalty}", f"optimizer@critic_optimizer={optimizer}")
    build(cfg.penalty), build(cfg.critic_optimizer, [torch.nn.Parameter(torch.ones(3))])


def test_every_default_lives_in_conf_alone():
    """Constructors that conf/ instantiates give no defaults to what it sets."""
    for group in ("generator", "critic", "penalty", "dataset"):
        nodes = [yaml.safe_load((CONF / group / f"{option}.yaml").read_text()) for option in options(group)]
        nodes = [node.get(group, node) for node in nodes]  # an option of dataset sets other groups, too
        targets = {constructor(node) for node in nodes if "_target_" in node}  # the others are based on these
        assert len(targets) > 3
        for target in targets:
            if target.__init__ is torch.nn.Module.__init__:
                continue  # it takes nothing
            for parameter in inspect.signature(target).parameters.values():
                given = parameter.name == "condition_shape"  # by the data, if they have conditions
                assert given or parameter.default is inspect.Parameter.empty, f"{target}({parameter})"
                assert parameter.kind is not inspect.Parameter.VAR_KEYWORD, f"{target}({parameter})"


@pytest.mark.parametrize("option", ["paper/celeba64", "paper/mnist", "paper/ivgan"])
def test_an_experiment_with_data_that_lack_its_options_is_told_so(call, option):
    code, text = call("train", f"experiment={option}", "dataset=swissroll", "hydra.run.dir=run")
    assert code == 1 and "wgangp.data.toy.swissroll has no such option" in text and "Error" not in text
