"""A stranger's run directory, checkpoint or configuration runs none of its code: the marker file never appears."""

import copy
import hashlib
import io
import os
import shutil
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from conftest import finished, start_command
from hypothesis import example, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

import wgangp
from wgangp.app.build import build
from wgangp.machine import bounded
from wgangp.machine.text import printable
from wgangp.metrics.classifier import ResNet, load_classifier
from wgangp.run_dir.checkpoint import newest_checkpoint, save_checkpoint, sealed
from wgangp.run_dir.files import open_for_writing, read_json
from wgangp.run_dir.log import log_file
from wgangp.run_dir.record import parse_yaml
from wgangp.run_dir.rows import read_rows

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


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    assert finished([start_command("train", *RUN, cwd=folder)]) == [0], (folder / "output").read_text()
    return folder / "run"


@pytest.fixture
def run(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "run")


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
    with pytest.raises(ValueError, match="is no part of wgangp that a configuration may name"):
        build(OmegaConf.create(node))


@pytest.mark.parametrize("group", ["generator", "critic", "dataset", "loss", "penalty", "critic_optimizer"])
def test_the_command_line_is_held_to_it_too(group, call, marker):
    code, text = call("train", *SMALL, f"{group}._target_=os.mkdir")
    assert (
        code == 1
        and "_target_=os.mkdir is no part of wgangp" in text
        and "allow=[os]" in text
        and "Traceback" not in text
    )


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
    assert code == 1
    assert "weights are not those of the generator" in text or "no network is so large" in text


@pytest.mark.parametrize("command", ["sample", "evaluate"])
@pytest.mark.parametrize("part", ["generator", "dataset"])
def test_a_recorded_target_is_not_called(command, part, run, call, marker):
    config = OmegaConf.create(torch.load(newest_checkpoint(run), weights_only=True)["config"])
    config[part] = {"_target_": "os.mkdir", "path": str(marker)}
    edited(run, config=OmegaConf.to_yaml(config))
    code, text = call(command, "run=run")
    if command == "evaluate" or part == "generator":
        assert code == 1 and "_target_=os.mkdir is no part of wgangp" in text


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
        "+hydra.callbacks.x._target_=os.mkdir",
        "+optimizer@hydra.callbacks.x=../../../../proc/self/cwd/run/evil",
        "--config-dir=/",
        "dataset.root=${oc.env:SECRET}",
        "sweep=../../run/evil",
        "optimizer@critic_optimizer=../../run/evil",
    ],
)
def test_recorded_overrides_and_options_are_data(override, run, call, marker, monkeypatch):
    """A run is resumed from the configuration in its checkpoint: nothing of its record is composed."""
    monkeypatch.setenv("SECRET", "swordfish")
    (run / "evil.yaml").write_text(f"_target_: os.mkdir\npath: {marker}\n")
    OmegaConf.save(OmegaConf.create([*SMALL, override]), run / ".hydra" / "overrides.yaml")
    group, _, option = override.partition("=")
    choices = {"hydra": {"runtime": {"choices": {group: option, "optimizer@hydra.callbacks.x": "../../run/evil"}}}}
    OmegaConf.save(OmegaConf.create(choices), run / ".hydra" / "hydra.yaml")
    code, text = call("resume", "run=run", "steps=3")
    assert code == 0 and "swordfish" not in text, text


@pytest.mark.parametrize(
    "change", ["hydra.run.dir=elsewhere", "-m", "seed=1,2", "--config-dir=/", "dataset=gaussians8"]
)
def test_what_a_resumed_run_does_not_take(change, run, call, tmp_path):
    code, text = call("resume", "run=run", "steps=3", change)
    assert code == 1 and "Traceback" not in text and not (tmp_path / "x").exists()
    assert call("resume", "run=run", "steps=3")[0] == 0  # and it is not on record


EVIL = {"_target_": "os.mkdir", "path": "marker"}
LOADS = {"_target_": "torch.hub.load", "source": "local", "repo_or_dir": ".", "model": "x"}
VALUES = st.one_of(
    st.sampled_from([EVIL, LOADS, {"_target_": "torch.load", "f": "x", "weights_only": False}, "${oc.env:HOME}"]),
    st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5), st.lists, max_leaves=4),
)


FIELDS = ("shape", "num_classes", "vocabulary", "class_names", "step", "config", "ema", "penalty", "logs")
READERS = ("sample", "evaluate", "resume", "load_generator")
CONFIG_BOMB = "generator: {_target_: wgangp.models.mlp.Generator, nz: 2, width: 8, depth: 1000000000}"


@settings(max_examples=settings().max_examples // 6)
@given(reader=st.sampled_from(READERS), field=st.sampled_from(FIELDS), value=VALUES)
@example("evaluate", "num_classes", EVIL)
@example("load_generator", "num_classes", LOADS)
@example("resume", "num_classes", EVIL)
@example("sample", "shape", [EVIL])
@example("evaluate", "shape", [10**9, 10**9])
@example("sample", "num_classes", 10**9)
@example("resume", "config", "generator: {a: &a [1], b: *a}")
@example("load_generator", "config", CONFIG_BOMB)
@example("resume", "config", CONFIG_BOMB)
@example("evaluate", "config", 'seed: "\\x24{oc.env:HOME}"')
def test_a_forged_header_is_refused_or_harmless(run, call, marker, reader, field, value):
    """Every field of every type, through all that reads checkpoints."""
    path = newest_checkpoint(run)
    whole = path.read_bytes()
    try:
        edited(run, **{field: value})
        if reader == "load_generator":
            with suppress(ValueError, OSError):
                wgangp.load_generator(run)
        else:
            code, text = call(reader, "run=run", "steps=2" if reader == "resume" else "n=2")
            assert code in (0, 1) and "Traceback" not in text, text
    finally:
        path.write_bytes(whole)
    assert not marker.exists()


def test_expanded_tensors_take_no_memory(run, call):
    """Views of one number claim as many as they like."""
    huge = {"output.weight": torch.zeros(1).expand(10**6, 10**6)}
    state = torch.load(newest_checkpoint(run), weights_only=True)
    edited(run, ema=state["ema"] | huge)
    code, text = call("sample", "run=run")
    assert code == 1 and "need more memory" in text


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to])
@pytest.mark.parametrize("place", [".lock", "train.log", "metrics.jsonl", "status.json", "samples/step_00000004.png"])
def test_links_in_a_run_are_not_followed(place, link, run, call, tmp_path):
    """Nothing is written through them, whatever becomes of the run; a lock that is one is named."""
    target = tmp_path / "target"
    target.write_text("precious")
    (run / place).unlink(missing_ok=True)
    (run / place).parent.mkdir(exist_ok=True)
    link(run / place, target)
    _, text = call("resume", "run=run", "steps=4", "sample_every=2", "log_every=2")
    assert target.read_text() == "precious" and "Traceback" not in text
    assert (place, link) != (".lock", Path.symlink_to) or "is a link: replace it" in text


@pytest.mark.parametrize("folder", ["samples", "checkpoints", ".hydra"])
def test_folders_that_are_links_are_refused(folder, run, call, tmp_path):
    (run / folder).rename(tmp_path / "elsewhere") if (run / folder).exists() else (tmp_path / "elsewhere").mkdir()
    (run / folder).symlink_to(tmp_path / "elsewhere")
    before = sorted((tmp_path / "elsewhere").iterdir())
    code, text = call("resume", "run=run", "steps=4", "sample_every=2")
    assert code == 1 and "is a link" in text and sorted((tmp_path / "elsewhere").iterdir()) == before


def test_a_log_message_is_one_line(tmp_path):
    with log_file(tmp_path) as log:
        log.error("two\nlines\x1b[31m")
    (line,) = (tmp_path / "train.log").read_text().splitlines()
    assert line.endswith("two\\nlines\\x1b[31m")


@pytest.mark.parametrize("text", ["\x1b]0;x\x07", "\x9b31m", "a\rb", "\u202egnp", "\u2066x", "a\u2028b"])
def test_no_control_reaches_the_terminal(text):
    assert printable(text).isprintable()


def doubled(times):
    """A list that holds itself twice, `times` over: a few bytes, 2^times paths."""
    node = [0]
    for _ in range(times):
        node = [node, node]
    return node


@pytest.mark.parametrize("field", ["logs", "class_names", "config", "ema", "critic_optimizer"])
def test_content_that_holds_itself_takes_no_time(field, run, call):
    edited(run, **{field: doubled(60)})
    code, text = call("resume", "run=run", "steps=3")
    assert code == 1 and f"it holds more than {bounded.MOST_NODES:,} values" in text


@pytest.mark.parametrize(
    ("before", "after"), [("width: 8", "width: 20000"), ("depth: 3", "depth: 60000"), ("depth: 3", "depth: 1000000000")]
)
def test_a_resumed_network_is_bounded_by_its_weights(before, after, run, call):
    config = torch.load(newest_checkpoint(run), weights_only=True)["config"]
    head, _, tail = config.partition("critic:")
    assert before in tail
    edited(run, config=f"{head}critic:{tail.replace(before, after, 1)}")
    code, text = call("resume", "run=run", "steps=3")
    assert code == 1 and ("networks have many more" in text or "no network is so large" in text)


def test_tied_weights_count_once():
    """torch.save writes their memory once; an expanded view claims more than that."""
    tied, file = torch.randn(1000), io.BytesIO()
    torch.save({"a": tied, "b": tied, "c": [torch.zeros(0), torch.zeros(0)]}, file)
    read = bounded.load_bounded(file.getvalue())
    assert torch.equal(read["a"], tied) and torch.equal(read["b"], tied)
    file = io.BytesIO()
    torch.save({"a": torch.zeros(1).expand(10**6)}, file)
    with pytest.raises(ValueError, match="need more memory than the file has"):
        bounded.load_bounded(file.getvalue())


def test_a_sample_is_not_larger_than_any_image(run, call):
    edited(run, shape=[3, 2**16, 2**16])
    code, text = call("sample", "run=run")
    assert code == 1 and "the most is 4 axes and 16,777,216 numbers" in text


@pytest.mark.parametrize(
    "place",
    ["metrics.jsonl", "train.log", "status.json", ".hydra/overrides.yaml", "checkpoints/step_00000009.pt"],
)
def test_pipes_in_a_run_hold_nobody_up(place, run, call):
    (run / place).unlink(missing_ok=True)
    os.mkfifo(run / place)
    code, text = call("resume", "run=run", "steps=3")
    assert code in (0, 1) and "Traceback" not in text
    assert place != "status.json" or (run / place).is_file()  # it was replaced


def test_a_pipe_is_neither_written_nor_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="No such device or address"):
        open_for_writing(tmp_path / "pipe")
    for act in (lambda path: open_for_writing(path, "a+b"), read_json):
        with pytest.raises(OSError, match="no regular file"):
            act(tmp_path / "pipe")


@pytest.mark.parametrize("command", ["sample", "evaluate"])
@pytest.mark.parametrize("folder", ["samples", "cache"])
def test_other_commands_follow_no_links_either(command, folder, run, call, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    if (run / folder).exists():
        (run / folder).rename(tmp_path / "before")
    (run / folder).symlink_to(tmp_path / "elsewhere")
    code, text = call(command, "run=run")
    assert code == 1 and f"{folder} is a link" in text and not list((tmp_path / "elsewhere").iterdir())


def test_a_folder_of_samples_that_is_a_link_is_refused(run, call, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (run / "samples").mkdir(exist_ok=True)
    (run / "samples" / "seed_0_step_00000002_n_4").symlink_to(tmp_path / "elsewhere")
    code, text = call("sample", "run=run", "n=4", "format=files")
    assert code == 1 and "is a link" in text


@pytest.mark.parametrize("kind", ["expanded", "packed", "named"])
def test_a_classifier_takes_no_more_memory_than_its_file(kind, tmp_path):
    file, state = tmp_path / "c.pt", ResNet(1, 3, 1).state_dict()
    if kind == "expanded":
        state["linear.weight"], state["linear.bias"] = torch.zeros(1).expand(10**8, 64), torch.zeros(1).expand(10**8)
    if kind == "named":
        state |= {f"layer1.{i}.x": torch.zeros(0) for i in range(1000)}
    torch.save({"state_dict": state}, file)
    if kind == "packed":
        with zipfile.ZipFile(file) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(name, content + bytes(2**20))
    with pytest.raises(ValueError, match="is not a file of") as caught:
        load_classifier(file)
    assert "the file has" in str(caught.value.__cause__) or "without their weights" in str(caught.value.__cause__)


@pytest.mark.parametrize(
    "line",
    [
        '{"step": 1e999}',
        "[" * 10**5,
        '{"step": null}',
        "[]",
        "\x00",
        '{"step": 2, ',
        f'{{"step": 2, "x": 1{"0" * 400}}}',
    ],
)
def test_lines_that_are_no_rows_or_cut_are_left_out(line, tmp_path):
    (tmp_path / "metrics.jsonl").write_text(f'{{"step": 1}}\n{line}')
    assert read_rows(tmp_path / "metrics.jsonl") == [{"step": 1}]
    (tmp_path / "x.json").write_text(line)
    with suppress(ValueError):
        read_json(tmp_path / "x.json")


@pytest.mark.parametrize("text", ["x: " + "1:" * 10**5 + "1", "[" * 10**5, "&a [*a]", "x: " + "y" * 10**6])
def test_yaml_takes_neither_time_nor_memory(text):
    with pytest.raises(ValueError, match="cannot be read"):
        parse_yaml(text, "x")
