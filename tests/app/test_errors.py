"""What wrong command lines are answered, beside those of tests/test_commands.py."""

import errno
import importlib
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import numpy
import pytest

from wgangp import commands
from wgangp.app.command_line import show
from wgangp.app.compose import load_config
from wgangp.app.errors import NAMES_ELSEWHERE, keys, one_line


def test_what_others_call_by_another_name_exists_here():
    known = keys("train", [])
    for ours in NAMES_ELSEWHERE.keys() - {"wgangp-resume run=DIR"}:
        for key in re.split(" and | or ", ours):
            data = {"dataset.size": "mnist", "dataset.root": "mnist", "dataset.path": "image_folder"}.get(key)
            found = keys("train", [f"dataset={data}"]) if data else known
            assert key in found or key.startswith("hydra."), key


def test_a_new_key_is_taken_if_another_one_names_it():
    assert load_config("+w=7", "generator.width=${w}").generator.width == 7
    assert load_config("+a={b: 3}", "steps=${a.b}").steps == 3
    assert load_config("+k=5", "steps=${oc.select:k}").steps == 5
    with pytest.raises(ValueError, match=r"\+k=5: nothing reads this key"):
        load_config("+k=5")


def test_every_command_has_an_entry_point_that_takes_an_interrupt(monkeypatch, capfd):
    scripts = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["scripts"]
    assert all(script == f"wgangp.commands:{name.removeprefix('wgangp-')}" for name, script in scripts.items())
    imported = commands.importlib.import_module

    def interrupted(name):
        if name != "wgangp.machine.signals":
            raise KeyboardInterrupt
        return imported(name)

    monkeypatch.setattr(commands.importlib, "import_module", interrupted)
    for script in scripts.values():
        with pytest.raises(SystemExit, match="130"):
            getattr(commands, script.partition(":")[2])()
        assert capfd.readouterr().err == "interrupted\n"


def test_an_error_in_somebodys_own_code_names_its_line(tmp_path, monkeypatch):
    (tmp_path / "mine_with_a_fault.py").write_text("import math\n\n\ndef f():\n    math.sqrt('a')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(TypeError) as raised:
        importlib.import_module("mine_with_a_fault").f()
    assert one_line(raised.value).endswith("mine_with_a_fault.py, line 5; debug=true shows the traceback)")
    with pytest.raises(TypeError) as raised:
        numpy.mean(numpy.array(["a"]))
    raised.value.__traceback__ = raised.value.__traceback__.tb_next  # without this file
    assert "line" not in one_line(raised.value)


def test_a_message_with_letters_that_the_terminal_lacks_is_shown(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", "from wgangp import commands; commands.train()", "penalty=猫"],
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 1 and rb"penalty=\u732b: Hydra cannot read this value" in done.stdout + done.stderr


def test_an_empty_folder_of_data_is_none(tmp_path, monkeypatch):
    monkeypatch.setenv("WGANGP_DATA", "")
    monkeypatch.setattr(commands.importlib, "import_module", lambda name: SimpleNamespace(main=lambda: None))
    commands.train()
    assert "WGANGP_DATA" not in os.environ


def test_a_page_that_cannot_be_printed_is_told_in_a_line(monkeypatch):
    def full(*args, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("builtins.print", full)
    monkeypatch.setattr("wgangp.app.command_line.os.dup2", lambda *descriptors: None)
    with pytest.raises(SystemExit, match="standard output: No space left on device"):
        show("a page")
