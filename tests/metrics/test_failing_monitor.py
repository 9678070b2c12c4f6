"""A run whose monitored score cannot be computed at its end."""

import json
from pathlib import Path

from test_commands import SMALL, rows

from wgangp.run_dir.status import read_status

MODULE = """
from pathlib import Path

from wgangp.metrics import Metric, Result


class Fragile(Metric):
    higher_is_better = {"fragile": True}

    def __call__(self, samples, labels, dataset, device):
        if not Path("sound").exists():
            raise RuntimeError("no more memory")
        return Result({"fragile": 1.0}, {"samples": len(samples)})
"""
OWN = ["+scores.fragile._target_=fragile.Fragile", "evaluate.metrics=[fragile]", "monitor=eval/fragile"]


def test_it_fails_in_a_line_and_is_scored_when_resumed(call, tmp_path, monkeypatch):
    (tmp_path / "fragile.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    code, text = call("train", *SMALL, *OWN, "allow=[fragile]", "steps=4", "hydra.run.dir=run")
    status, run = read_status(tmp_path / "run"), Path("run")
    assert code == 1 and "fragile cannot be computed and is left out: RuntimeError: no more memory" in text, text
    assert "monitor=eval/fragile could not be computed" in text and f"wgangp-resume run={tmp_path / 'run'}" in text
    assert (status.state, status.step) == ("failed", 4) and (run / "checkpoints" / "step_00000004.pt").exists()
    Path("sound").touch()
    code, text = call("resume", "run=run", "allow=[fragile]")
    assert code == 0 and "eval/fragile = 1" in text, text
    assert read_status(run).state == "done" and json.loads((run / "evaluation.json").read_text())["step"] == 4
    assert rows(run)[-1]["eval/fragile"] == 1


def test_a_score_of_an_earlier_step_is_not_reported_as_the_last_one(call, tmp_path, monkeypatch):
    module = MODULE.replace('not Path("sound").exists()', "samples.std() == Fragile.seen or Fragile.seen")
    module = module.replace("        return Result", "        Fragile.seen = samples.std()\n        return Result")
    (tmp_path / "fragile2.py").write_text(
        module.replace("class Fragile(Metric):", "class Fragile(Metric):\n    seen = 0")
    )
    monkeypatch.syspath_prepend(tmp_path)
    own = [option.replace("fragile.Fragile", "fragile2.Fragile") for option in OWN]
    code, text = call(
        "train", *SMALL, *own, "allow=[fragile2]", "steps=4", "evaluate_every=2", "log_every=2", "hydra.run.dir=run"
    )
    assert code == 1 and "could not be computed" in text and "eval/fragile = " not in text, text
