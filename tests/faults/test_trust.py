"""A stranger's run directory, checkpoint or configuration runs none of its code: the marker file never appears."""

import copy
import hashlib
import io
import os
import zipfile

import pytest
import torch
from omegaconf import OmegaConf

from wgangp.app import trust
from wgangp.app.build import build
from wgangp.run_dir.checkpoint import newest_checkpoint, save_checkpoint, sealed

SMALL = ["steps=2", "batch_size=8", "log_every=1", "evaluation_samples=50", "generator.width=8", "critic.width=8"]
RUN = [*SMALL, "hydra.run.dir=run", "sample_every=0"]


class Payload:
    """Unpickled, it makes the marker."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


@pytest.fixture
def marker(tmp_path):
    yield tmp_path / "marker"
    assert not (tmp_path / "marker").exists()


@pytest.fixture
def run(call, tmp_path):
    assert call("train", *RUN)[0] == 0
    return tmp_path / "run"


def edited(run, **changes):
    path = newest_checkpoint(run)
    state = torch.load(path, weights_only=True)
    save_checkpoint(path, state | changes)


@pytest.mark.parametrize(
    "target",
    [
        "os.mkdir",
        "subprocess.run",
        "builtins.eval",
        "torch.load",
        "torch.optim.adam.torch.load",
        "wgangp.train.os.mkdir",
        "wgangp.data.files.decode",
        "wgangp.models.mlp.math.prod",
        "wgangp.run_dir.checkpoint.Checkpoints",
        "hydra.utils.call",
        "wgangp",
    ],
)
@pytest.mark.parametrize("nested", [False, True])
def test_only_our_own_parts_are_made(target, nested, marker):
    node = {"_target_": target, "path": str(marker)}
    if nested:
        node = {"_target_": "wgangp.losses.Wasserstein", "x": [{"y": node}]}
    with pytest.raises(ValueError, match=r"is not of wgangp\.data\.sources"):
        build(OmegaConf.create(node))


@pytest.mark.parametrize("group", ["generator", "critic", "dataset", "loss", "penalty", "critic_optimizer"])
def test_the_command_line_is_held_to_it_too(group, call, marker):
    code, text = call("train", *SMALL, f"{group}._target_=os.mkdir")
    assert code == 1 and "_target_=os.mkdir is not of" in text and "allow=[os]" in text and "Traceback" not in text


def test_what_the_command_line_allows_is_made(call, tmp_path, monkeypatch):
    """A user's own penalty, for one command; not so by a run that was started with it."""
    (tmp_path / "my_package.py").write_text(
        "from wgangp.penalties import NoPenalty\nclass Mine(NoPenalty):\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    mine = ["penalty=none", "penalty._target_=my_package.Mine"]
    assert call("train", *RUN, *mine)[0] == 1
    assert call("train", *RUN, *mine, "allow=[my_package]")[0] == 0
    code, text = call("resume", "run=run", "steps=4")
    assert code == 1 and "allow=[my_package]" in text
    assert call("resume", "run=run", "steps=4", "allow=[my_package]")[0] == 0


@pytest.mark.parametrize("command", ["sample", "evaluate", "resume"])
def test_a_pickle_is_not_run(command, run, call, marker):
    save_checkpoint(newest_checkpoint(run), Payload(marker))
    code, text = call(command, "run=run", *(["steps=3"] if command == "resume" else []))
    assert code == 1 and "is no checkpoint of wgangp" in text and "Traceback" not in text


def test_a_checkpoint_does_not_unpack_to_more_than_it_is(run, call, monkeypatch):
    """torch.load would: 300 kB to 300 MB."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(2**22))
    body = packed.getvalue()
    newest_checkpoint(run).write_bytes(body + sealed(hashlib.sha256(body)))
    monkeypatch.setattr(torch, "load", None)
    code, text = call("sample", "run=run")
    assert code == 1 and "is no checkpoint of wgangp" in text and "Traceback" not in text


@pytest.mark.parametrize("width", [9, 10**9])
def test_a_generator_of_another_size_takes_no_memory(width, run, call):
    config = torch.load(newest_checkpoint(run), weights_only=True)["config"]
    edited(run, config=config.replace("width: 8", f"width: {width}"))
    code, text = call("sample", "run=run")
    assert code == 1 and "its weights are not those of the generator that it describes" in text


@pytest.mark.parametrize("command", ["sample", "evaluate"])
@pytest.mark.parametrize("part", ["generator", "dataset"])
def test_a_recorded_target_is_not_called(command, part, run, call, marker):
    config = OmegaConf.create(torch.load(newest_checkpoint(run), weights_only=True)["config"])
    config[part] = {"_target_": "os.mkdir", "path": str(marker)}
    edited(run, config=OmegaConf.to_yaml(config))
    code, text = call(command, "run=run")
    if command == "evaluate" or part == "generator":
        assert code == 1 and "_target_=os.mkdir is not of" in text


@pytest.mark.parametrize("command", ["sample", "evaluate"])
def test_a_recorded_configuration_reads_no_secrets(command, run, call, monkeypatch):
    monkeypatch.setenv("SECRET", "swordfish")
    config = copy.copy(torch.load(newest_checkpoint(run), weights_only=True)["config"])
    edited(run, config=config.replace("seed: 0", "seed: ${oc.env:SECRET}"))
    code, text = call(command, "run=run")
    assert code == 1 and "has interpolations" in text and "swordfish" not in text


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.mkdir [{}]", "!!python/name:os.mkdir"])
def test_yaml_tags_are_not_followed(tag, run, call, marker):
    edited(run, config=f"generator: {tag.format(marker)}\n")
    code, text = call("sample", "run=run")
    assert code == 1 and "Traceback" not in text


@pytest.mark.parametrize(
    "override",
    [
        "hydra.job_logging.handlers.x.()=os.mkdir",
        "hydra/launcher=joblib",
        "+hydra.callbacks.x._target_=os.mkdir",
        "~hydra.sweeper",
        "--config-dir=/",
        "dataset.root=${oc.env:SECRET}",
        "sweep=../../run/evil",
        "optimizer@critic_optimizer=../../run/evil",
    ],
)
def test_recorded_overrides_do_not_configure_hydra(override, run, call):
    OmegaConf.save(OmegaConf.create([*SMALL, override]), run / ".hydra" / "overrides.yaml")
    code, text = call("resume", "run=run", "steps=3")
    assert code == 1 and "not used from a file" in text


def test_recorded_overrides_allow_nothing():
    assert trust.recorded_overrides(["steps=3", "allow=[os]", "+allow=[os]"]) == ["steps=3"]


def test_paths_of_data_may_lead_anywhere():
    assert trust.recorded_overrides(["dataset.path=../photos"]) == ["dataset.path=../photos"]
