"""Command lines and recorded overrides that nobody thought of: each is composed, or refused in a line."""

import pytest
from conftest import composed
from hypothesis import example, given, settings
from hypothesis import strategies as st

from wgangp.app.plain import plain
from wgangp.run_dir.record import flatten

KEYS = [
    *flatten(plain(composed())),
    *["generator", "penalty", "dataset", "experiment", "penalty/schedule", "sweep", "x.y", "run", "n"],
]
KEYS += ["format", "metrics", "seed", "hydra.run.dir", "optimizer@critic_optimizer", "objective"]
VALUES = [
    "0",
    "-1",
    "1e999",
    "nan",
    "null",
    "true",
    "[",
    "[1,2]",
    "1,2",
    "range(3)",
    "interval(0,1)",
    "${seed}",
    "${oc.env:HOME}",
    "${",
    "???",
    "../x",
    "x/y",
    "mlp",
]
VALUES += ["{a: 1}", "!!python/name:os.system", "é", "\udcff", "a b", "=", "''", "'\"", "\\"]
TEXT = st.text(st.characters(exclude_characters="\x00"), max_size=8)  # no argument of a process can hold a zero byte
OVERRIDE = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(["", "+", "~", "++"]),
    st.sampled_from(KEYS) | TEXT,
    st.sampled_from(["=", "", "=="]),
    st.sampled_from(VALUES) | TEXT,
)
OPTIONS = st.sampled_from(["-m", "--cfg", "--resolve", "--cfg=job", "-p", "--multirun", "--package=x"])


def answered(call, name, arguments):
    """The exit code says whether it worked, and no answer is a traceback."""
    code, text = call(name, *arguments)
    assert code in (0, 1, 2) and "Traceback" not in text, text
    assert code == 0 or text.strip(), "refused without a word"


def listed(overrides):
    """As Hydra records them."""
    return "".join(f"- {override}\n" for override in overrides).encode(errors="surrogateescape")


@pytest.fixture
def quiet(call, monkeypatch):
    """The commands without what comes after their configuration is made and checked."""
    bodies = ("app.hydra_run.train_composed", "app.hydra_run.resume", "sample.sample", "evaluate.evaluate")
    for body in bodies:
        monkeypatch.setattr(f"wgangp.{body}", lambda *arguments, **options: None)
    return call


@pytest.mark.parametrize("command", ["train", "sample", "evaluate", "summarize"])
@settings(max_examples=settings().max_examples // 5)
@given(arguments=st.lists(OVERRIDE | OPTIONS, max_size=3))
@example(arguments=["generator=mlp"])  # a group of another command's
def test_any_command_line(quiet, command, arguments):
    answered(quiet, command, arguments)


@settings(max_examples=settings().max_examples // 5)
@given(
    recorded=st.lists(OVERRIDE | OPTIONS, max_size=3).map(listed) | st.binary(max_size=30),
    arguments=st.lists(OVERRIDE | OPTIONS, max_size=2),
)
def test_any_recorded_overrides(quiet, tmp_path, recorded, arguments):
    (tmp_path / "run" / ".hydra").mkdir(parents=True, exist_ok=True)
    (tmp_path / "run" / "checkpoints").mkdir(exist_ok=True)
    (tmp_path / "run" / "checkpoints" / "step_00000001.pt").touch()
    (tmp_path / "run" / ".hydra" / "overrides.yaml").write_bytes(recorded)
    answered(quiet, "resume", ["run=run", *arguments])
