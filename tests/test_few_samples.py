"""Very little data, and data that nobody can draw: training ends well, and what is logged is true."""

import math
from pathlib import Path

import pytest
from test_commands import DCGAN, SMALL, digits, images, rows

from wgangp.run_dir.status import read_status

BLOCKS = """
import torch

from wgangp.data import Dataset


class Blocks(Dataset):
    shape, num_classes = (2, 3, 4, 5), 0

    def __init__(self, *, seed, device):
        self.device = device

    def fetch(self, index, n):
        return (torch.zeros(n, dtype=torch.long, device=self.device),)

    def make(self, y):
        return torch.randn(len(y), *self.shape, device=self.device), y
"""


@pytest.mark.parametrize("n", [2, 3, 5, 9])
def test_runs_of_few_images(n, call, tmp_path):
    data = images(digits(tmp_path / "d.npz", n=n))
    code, text = call("train", *data, *DCGAN, "batch_size=2", "steps=2", "evaluation_samples=20", "hydra.run.dir=run")
    assert code == 0 and "nan" not in text and "kthvalue" not in text, text
    assert all(math.isfinite(value) for row in rows(Path("run")) for value in row.values())


def test_data_of_a_shape_that_has_no_picture(call, tmp_path, monkeypatch):
    """Every checkpoint is saved, one line says why there is no picture, and no line names one."""
    (tmp_path / "blocks.py").write_text(BLOCKS)
    monkeypatch.syspath_prepend(tmp_path)
    own = ["dataset._target_=blocks.Blocks", "allow=[blocks]", "generator=mlp", "critic=mlp", "monitor=critic/loss"]
    every = ["steps=4", "sample_every=2", "checkpoint_every=2", "evaluate_every=0", "hydra.run.dir=run"]
    code, text = call("train", *SMALL, *own, *every)
    assert code == 0 and read_status(Path("run")).state == "done", text
    assert sorted(p.name for p in Path("run/checkpoints").glob("step_*")) == ["step_00000002.pt", "step_00000004.pt"]
    (line,) = [line for line in text.splitlines() if "cannot be drawn" in line]
    assert line.startswith("the picture of step 2 cannot be drawn: ") and "give the dataset a picture() method" in line
    assert "samples:" not in text


def test_text_in_chinese_from_training_to_a_picture(call, tmp_path):
    lines = [f"{'中国人民'[i % 4]}{'日月水火'[i % 3]}{i % 10}" for i in range(60)]
    (tmp_path / "lines.txt").write_text("\n".join(lines), encoding="utf-8")
    small = ["dataset.length=6", "dataset.held_out=10", "generator.width=8", "critic.width=8", "batch_size=8"]
    code, text = call("train", "dataset=text", "dataset.path=lines.txt", *small, "steps=1", "hydra.run.dir=run")
    assert code == 0 and "Glyph" not in text, text
    assert Path("run/samples/step_00000001.png").exists() and "cannot be drawn" not in text
