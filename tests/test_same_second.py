"""Whole processes that start in the same second with default names: each has its own directory and its own record."""

import datetime

import hydra.core.utils
from conftest import finished, start_command

from wgangp.run_dir.checkpoint import load_newest
from wgangp.run_dir.record import parse_yaml, read_record
from wgangp.run_dir.status import read_status

SMALL = ["device=cpu", "steps=2", "batch_size=8", "generator.width=8", "critic.width=8", "n_critic=1", "sample_every=0"]
SMALL += ["evaluation_samples=50"]


class Noon(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2026, 1, 31, 12)


def at_noon():
    hydra.core.utils.datetime = Noon  # of ${now:...}


def started_together(command_lines, cwd):
    processes = [
        start_command("train", *SMALL, *line, cwd=cwd, output=f"output_{i}", before=at_noon)
        for i, line in enumerate(command_lines)
    ]
    codes = finished(processes)
    assert codes == [0] * len(codes), [(cwd / f"output_{i}").read_text() for i in range(len(codes))]


def test_three_runs(tmp_path):
    started_together([[f"seed={seed}"] for seed in (5, 6, 7)], tmp_path)
    runs = sorted((tmp_path / "outputs" / "gaussians25").iterdir())
    first = "2026-01-31_12-00-00"
    assert [run.name for run in runs] == [first, f"{first}-2", f"{first}-3"]
    seeds = []
    for run in runs:
        record, (_, state) = read_record(run), load_newest(run)
        seeds.append(record.config["seed"])
        assert [o for o in record.overrides if o.startswith("seed=")] == [f"seed={seeds[-1]}"]
        assert parse_yaml(state["config"], "config")["seed"] == seeds[-1] and read_status(run).state == "done"
        assert len((run / "metrics.jsonl").read_text().splitlines()) == 1
    assert sorted(seeds) == [5, 6, 7]


def test_two_sweeps(tmp_path):
    started_together([["-m", "seed=0,1", f"batch_size={n}"] for n in (4, 6)], tmp_path)
    sweeps = sorted((tmp_path / "outputs" / "sweeps").iterdir())
    assert [sweep.name for sweep in sweeps] == ["2026-01-31_12-00-00", "2026-01-31_12-00-00-2"]
    found = []
    for sweep in sweeps:
        configs = [read_record(sweep / job).config for job in ("0", "1")]
        assert [config["seed"] for config in configs] == [0, 1] and len({c["batch_size"] for c in configs}) == 1
        assert [read_status(sweep / job).state for job in ("0", "1")] == ["done", "done"]
        found.append(configs[0]["batch_size"])
    assert sorted(found) == [4, 6]
