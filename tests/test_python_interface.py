"""The Python interface refuses what it would ignore."""

import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra

import wgangp
from wgangp.api import TRAINING
from wgangp.penalties import NoPenalty
from wgangp.run_dir.checkpoint import run_of

SMALL = ("steps=1", "compile=false", "batch_size=8", "generator.width=4", "critic.width=4", "evaluation_samples=20")


@pytest.mark.parametrize("config", [(["dataset=gaussians8", "steps=1"],), ({"steps": 1},), ("steps=1", {"seed": 1})])
def test_what_is_no_override_and_no_configuration_is_refused(config, tmp_path):
    with pytest.raises(ValueError, match="give overrides as strings"):
        wgangp.train(*config, run_dir=tmp_path / "run")


def test_runs_are_filed_by_their_dataset(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    run = wgangp.train("sweep=seeds", "dataset=gaussians8", *SMALL)
    assert "sweep=seeds is for the command line: this is a single run" in caplog.text
    assert run.path.parts[-3:-1] == ("outputs", "gaussians8") and run.record.choices["penalty"] == "wgan_gp_toy"
    assert wgangp.train(wgangp.load_config("dataset=gaussians8", *SMALL)).path.parts[-2] == "run"
    with open(run.path / "metrics.jsonl", "ab") as file:
        file.write(b'{"step": \xff}\n{"step": 2}}\n')
    assert len(run.metrics()) == 1
    with pytest.raises(ValueError, match="n=0: give a whole number"):
        run.samples(0)
    with pytest.raises(ValueError, match="batchnorm=foo: choose batch, running, standing"):
        run.generator(batchnorm="foo")


def test_a_trainer_takes_a_dataset_without_an_end():
    dataset = wgangp.make_trainer("dataset=gaussians8", *SMALL).dataset
    assert wgangp.make_trainer("dataset=gaussians8", *SMALL, dataset=dataset).dataset is dataset


def test_the_first_weights_are_those_of_the_seed_beside_a_dataset_that_is_given():
    dataset = wgangp.make_trainer("dataset=gaussians8", *SMALL).dataset
    trainers = [wgangp.make_trainer("dataset=gaussians8", *SMALL, dataset=data) for data in (dataset, dataset, None)]
    first, *others = (torch.cat([p.flatten() for p in t.critic_params]) for t in trainers)
    assert all(torch.equal(first, other) for other in others)


def test_torchs_random_numbers_stay_the_callers(tmp_path):
    def drawn(seed):
        torch.manual_seed(seed)
        run = wgangp.train("dataset=gaussians8", *SMALL, run_dir=tmp_path / str(seed))
        run.samples(3)
        wgangp.load_generator(run.path)
        return torch.rand(3)

    torch.manual_seed(6)
    expected = torch.rand(3)
    assert torch.equal(drawn(6), expected)


def test_a_second_training_at_a_time_is_refused(tmp_path):
    with TRAINING, pytest.raises(ValueError, match="another training runs in this process"):
        wgangp.train("dataset=gaussians8", *SMALL, run_dir=tmp_path / "run")


@pytest.mark.parametrize(
    ("overrides", "options", "told"),
    [
        (["hydra.run.dir=x"], {}, "is for the command line: here overrides are key=value, and run_dir="),
        (["steps=1"], {"run_dir": ""}, "run_dir='': give a path"),
        (["dataset=table"], {}, "dataset.path is missing: give dataset.path="),
    ],
)
def test_what_a_program_gives_wrongly_is_a_value_error(overrides, options, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=told):
        wgangp.train(*overrides, *SMALL, **options)
    assert not any(tmp_path.rglob("*.*"))


def test_parts_of_another_kind_are_told():
    for name, part in (("dataset", torch.zeros(5, 2)), ("generator", len), ("critic", print)):
        with pytest.raises(ValueError, match=f"{name} is a .*: give a "):
            wgangp.make_trainer("dataset=gaussians8", *SMALL, **{name: part})
    with pytest.raises(ValueError, match="generator has no attribute nz"):
        wgangp.make_trainer("dataset=gaussians8", *SMALL, generator=torch.nn.Linear(2, 2))


@pytest.mark.parametrize(("columns", "data"), [(5, "gaussians8"), (0, "gaussians8")])
def test_a_critic_of_other_columns_is_refused(columns, data):
    """Four more columns were taken for class logits of labels that points have not."""
    critic = torch.nn.Linear(2, columns) if columns else torch.nn.Sequential(torch.nn.Linear(2, 1), torch.nn.Flatten(0))
    trainer = wgangp.make_trainer(f"dataset={data}", *SMALL, "penalty=none", critic=critic)
    with pytest.raises(ValueError, match=r"the critic returns .* make it return \(n, 1\); of a critic of patches"):
        trainer.train_step()


def test_class_logits_are_refused_if_the_generator_knows_of_no_classes(tmp_path):
    """It would be trained towards classes that nobody asked for."""
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(0).normal(size=(30, 2)), labels=np.arange(30) % 3)
    data = ["dataset=array", f"dataset.path={tmp_path / 'x.npz'}", "generator=mlp", "critic=mlp", *SMALL]
    critic = torch.nn.Linear(2, 4)
    with pytest.raises(ValueError, match=r"the critic returns \(16, 4\) for 16 samples: make it return \(n, 1\); of"):
        wgangp.make_trainer(*data, critic=critic).train_step()
    wgangp.make_trainer(*data, "conditional=true", critic=critic).train_step()


def test_each_step_returns_its_own_scalars():
    trainer = wgangp.make_trainer("dataset=gaussians8", *SMALL, "steps=3")
    history = [trainer.train_step() for _ in range(3)]
    assert len({logs["critic/loss"].item() for logs in history}) == 3


def test_a_run_of_a_network_of_ones_own_is_sampled(tmp_path, monkeypatch):
    """The run that training returns trusts what training was allowed; one that is opened later is told."""
    (tmp_path / "my_networks.py").write_text(
        "from wgangp.models.mlp import Generator\n\nclass Mine(Generator):\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    own = ["generator._target_=my_networks.Mine", "allow=[my_networks]"]
    run = wgangp.train("dataset=gaussians8", *SMALL, *own, "steps=1", run_dir=tmp_path / "run")
    assert run.samples(3).shape == (3, 2)
    assert wgangp.Run(tmp_path / "run", allow=["my_networks"]).samples(3).shape == (3, 2)
    with pytest.raises(ValueError, match=r"allow=\[my_networks\]"):
        wgangp.Run(tmp_path / "run").samples(3)


def test_a_network_that_computes_while_it_is_built_is_read_again(tmp_path, monkeypatch):
    (tmp_path / "my_growing.py").write_text(
        "import torch\nfrom wgangp.models.mlp import Generator\n\nclass Mine(Generator):\n"
        "    def __init__(self, **options):\n        super().__init__(**options)\n"
        "        self.widths = torch.linspace(2, 8, 3).long().tolist()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    own = ["generator._target_=my_growing.Mine", "allow=[my_growing]"]
    assert wgangp.train("dataset=gaussians8", *SMALL, *own, "steps=1", run_dir=tmp_path / "run").samples(3).shape == (
        3,
        2,
    )


def test_a_checkpoint_outside_of_a_run_writes_nothing_beside_it(tmp_path):
    run = wgangp.train("dataset=gaussians8", *SMALL, "steps=1", run_dir=tmp_path / "run")
    (tmp_path / "other").mkdir()
    lone = shutil.copy(next((run.path / "checkpoints").glob("step*.pt")), tmp_path / "other" / "mine.pt")
    assert wgangp.load_generator(lone).nz == run.generator().nz
    with pytest.raises(ValueError, match=r"read in its run directory, as DIR/checkpoints/mine\.pt"):
        run_of(Path(lone))


def test_there_is_no_step_after_the_last():
    trainer = wgangp.make_trainer("dataset=gaussians8", *SMALL, "steps=1")
    trainer.train_step()
    with pytest.raises(ValueError, match="the training has finished its 1 steps: give a larger number of steps"):
        trainer.train_step()


def test_training_leaves_the_settings_of_torch_as_they_were(tmp_path):
    def settings():
        cuda, cudnn = torch.backends.cuda, torch.backends.cudnn
        return cudnn.benchmark, cudnn.allow_tf32, cuda.matmul.allow_tf32, torch.get_float32_matmul_precision()

    before = settings()
    with torch.no_grad():
        wgangp.train("dataset=gaussians8", *SMALL, "deterministic=true", "steps=1", run_dir=tmp_path / "run")
    assert not torch.are_deterministic_algorithms_enabled()
    assert settings() == before


def test_a_penalty_may_be_an_object():
    penalty = NoPenalty()
    assert wgangp.make_trainer("dataset=gaussians8", *SMALL, penalty=penalty).penalty is penalty


def test_settings_of_the_caller_do_not_change_a_run(tmp_path):
    small = ["steps=2", "batch_size=8", "generator.width=8", "critic.width=8", "device=cpu", "compile=false"]
    small += ["evaluation_samples=100", "sample_every=0"]
    plain = wgangp.train(*small, run_dir=tmp_path / "plain").generator().state_dict()
    try:
        torch.set_default_dtype(torch.float64)
        with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
            run = wgangp.train(*small, run_dir=tmp_path / "set")
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert all(torch.equal(plain[name], value) for name, value in run.generator().state_dict().items())


def test_settings_of_the_caller_do_not_change_samples(tmp_path):
    small = ["steps=2", "batch_size=8", "generator.width=8", "critic.width=8", "device=cpu", "compile=false"]
    run = wgangp.train(*small, "evaluate_every=0", "sample_every=0", run_dir=tmp_path / "run")
    samples = run.samples(3)
    try:
        torch.set_default_dtype(torch.float64)
        assert torch.equal(run.samples(3), samples)
    finally:
        torch.set_default_dtype(torch.float32)
    with torch.device("meta"):
        assert torch.equal(run.samples(3), samples)
        assert next(run.generator().parameters()).device.type == "cpu"


def test_what_a_network_draws_and_does_not_save_is_drawn_again(tmp_path, monkeypatch):
    """Fixed random features, as a plain tensor."""
    (tmp_path / "my_features.py").write_text(
        "import torch\n"
        "from wgangp.models import Generator\n"
        "class Mine(Generator):\n"
        "    def __init__(self, shape, num_classes, nz):\n"
        "        super().__init__()\n"
        "        self.nz, self.num_classes = nz, num_classes\n"
        "        self.features = torch.randn(nz, 64)\n"
        "        self.linear = torch.nn.Linear(64, shape[0])\n"
        "    def forward(self, z, y=None):\n"
        "        return self.linear((z @ self.features).sin())\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    own = ["generator._target_=my_features.Mine", "allow=[my_features]", "~generator.width", "~generator.depth"]
    own += ["~generator.output", "seed=5", "steps=2", "batch_size=8", "critic.width=8", "device=cpu", "compile=false"]
    run = wgangp.train(*own, "evaluate_every=0", "sample_every=0", run_dir=tmp_path / "run")
    trained = wgangp.make_trainer(*own).generator.features
    assert torch.equal(run.generator().features, trained) and torch.equal(run.generator().features, trained)


def test_a_configuration_of_another_command_is_refused():
    with pytest.raises(ValueError, match="this is no configuration of wgangp-train: give one of load_config"):
        wgangp.train(wgangp.load_config("run=r", config_name="sample"))


def test_a_training_loop_of_ones_own_has_the_dtype_of_its_program():
    torch.set_default_dtype(torch.float64)
    try:
        trainer = wgangp.make_trainer("dataset=gaussians8", *SMALL)
        assert trainer.train_step()["critic/loss"].dtype == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    with torch.inference_mode():
        assert wgangp.make_trainer("dataset=gaussians8", *SMALL).generator_params[0].requires_grad


def test_ctrl_c_saves_the_run_and_raises_what_python_raises(tmp_path, monkeypatch):
    import wgangp.trainer

    made = wgangp.trainer.Trainer.train_step

    def interrupted(self):
        if self.step == 3:
            signal.raise_signal(signal.SIGINT)
        return made(self)

    monkeypatch.setattr(wgangp.trainer.Trainer, "train_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        wgangp.train("dataset=gaussians8", *SMALL, "steps=9", run_dir=tmp_path / "run")
    assert wgangp.Run(tmp_path / "run").status.state == "stopped" and wgangp.Run(tmp_path / "run").status.step == 4


def test_a_file_that_is_no_checkpoint_is_no_run(tmp_path):
    (tmp_path / "metrics.jsonl").write_text("")
    with pytest.raises(ValueError, match="is a file: give the run's directory, or a checkpoint in it"):
        wgangp.Run(tmp_path / "metrics.jsonl")


def test_configurations_are_composed_in_threads():
    """Hydra has one state for all; it is free again afterwards."""
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda k: wgangp.load_config(f"steps={k}").steps, range(1, 13)))
    assert found == [*range(1, 13)] and not GlobalHydra.instance().is_initialized()
