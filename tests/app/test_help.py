"""The reader of conf/'s comments: pure text, and right about what OmegaConf reads."""

import subprocess
import sys

import pytest
import yaml
from omegaconf import OmegaConf
from omegaconf._utils import get_yaml_loader

from wgangp.app import help
from wgangp.app.paths import CONF

TEXT = """\
# Two lines
# about it.
defaults:
  - wgan_gp    # the others
  - schedule: constant
  - _self_

_target_: a.B
weight: 10.0      # the paper's "lambda" # 1
name: "a # b"     # quoted
url: a#b
nested:           # a block
  inner: [1, 2]   # a list
  # a comment alone
  deeper:
    last: null
after: 1

hydra:
  job: 1   # not shown
"""


@pytest.fixture
def file(tmp_path):
    (tmp_path / "x.yaml").write_text(TEXT)
    return tmp_path / "x.yaml"


def test_keys_with_their_comments(file):
    assert help.commented_keys(file, "p.") == [
        ("p._target_", "a.B", ""),
        ("p.weight", "10.0", 'the paper\'s "lambda" # 1'),
        ("p.name", '"a # b"', "quoted"),
        ("p.url", "a#b", ""),
        ("p.nested", "", "a block"),
        ("p.nested.inner", "[1, 2]", "a list"),
        ("p.nested.deeper.last", "null", ""),
        ("p.after", "1", ""),
    ]


def test_comments_of_other_files(file):
    others = [help.Key("p._target_", "c.D", "the class"), help.Key("p.weight", "1", "another")]
    keys = {key.name: key.comment for key in help.commented_keys(file, "p.", others)}
    assert keys["p._target_"] == "the class" and keys["p.weight"].startswith("the paper") and keys["p.after"] == ""


def test_head_and_defaults(file):
    assert help.about(file) == "Two lines about it."
    file.with_name("wgan_gp.yaml").write_text("defaults:\n  - common/first@penalty\n  - _self_\nx: 1\n")
    (file.parent / "common").mkdir()
    (file.parent / "common" / "first.yaml").write_text("y: 2\n")
    assert help.bases(file) == [file.with_name("wgan_gp.yaml"), file.parent / "common" / "first.yaml"]
    assert help.default_options(file) == {"schedule": "constant"}


@pytest.mark.parametrize(("package", "name"), [("_global_", "steps"), ("hydra", "hydra.steps")])
def test_a_file_names_its_own_package(package, name, file):
    file.write_text(f"# @package {package}\n# About.\nsteps: 1\n")
    assert help.commented_keys(file, "dataset.") == [(name, "1", "")] and help.about(file) == "About."


def test_aligned(file):
    keys = [help.Key("a", "1", "one"), help.Key("long", "22", "two"), help.Key("b", "3", "")]
    assert help.aligned(keys) == "a: 1       # one\nlong: 22   # two\nb: 3"


@pytest.mark.parametrize("file", sorted(CONF.rglob("*.yaml")), ids=lambda file: str(file.relative_to(CONF)))
def test_every_file_of_conf_is_read_as_omegaconf_reads_it(file):
    whole = OmegaConf.to_container(OmegaConf.load(file))
    keys = [key._replace(name=key.name.removeprefix("hydra.")) for key in help.commented_keys(file)]
    roots = set() if not whole else set(whole) - {"defaults", "hydra"}
    assert {key.name.split(".")[0] for key in keys} == roots
    for name, value, _ in keys:
        if value:
            found = whole
            for part in name.split("."):
                found = found[part]
            assert found == yaml.load(value, get_yaml_loader()), name


def test_no_torch_and_no_omegaconf_are_imported():
    code = "import sys, wgangp.app.help; print(*({'torch', 'omegaconf', 'hydra'} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == ""


def test_own_options_are_listed_and_suggested(call, tmp_path):
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "quickly.yaml").write_text("# @package _global_\nsteps: 3\n")
    _, text = call("train", "--config-dir=mine", "--help")
    assert "quickly" in text and "laptop/mnist" in text
    assert "Did you mean quickly?" in call("train", "--config-dir", "mine", "experiment=quikly")[1]


def test_a_folder_of_options_that_is_not_there_is_refused(call):
    assert "--config-dir=absent: there is no such folder" in call("train", "--config-dir=absent")[1]


@pytest.mark.parametrize("argument", ["-x", "--cfg", "--info=nosuch"])
def test_what_hydra_does_not_know_is_one_line(argument, call):
    code, text = call("train", argument)
    assert code == 1 and text.strip().count("\n") == 0 and "--help lists the options" in text, text
