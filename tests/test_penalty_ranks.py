"""Two processes train as one does, with every penalty of conf/ but ct, which is refused there."""

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import sys
import torch
from conftest import options
from wgangp.app.build import make_dataset, make_trainer
from wgangp.app.compose import load_config
from wgangp.machine import distributed

COMMON = ["dataset=gaussians8", "device=cpu", "batch_size=16", "n_critic=3", "steps=4", "lr_decay=none"]
COMMON += ["generator.width=16", "critic.width=16", "generator.depth=2", "critic.depth=2"]
# Adam divides a gradient by its own size, be it a rounding error around zero; with a larger epsilon it does not.
COMMON += ["+generator_optimizer.eps=1e-3", "+critic_optimizer.eps=1e-3"]
CASES = [f"penalty={option}" for option in options("penalty") if option != "ct"]
CASES += ["penalty.interval=2", "penalty/schedule=adaptive", "penalty.power=1"]
CONFIGS = {case: load_config(*COMMON, case) for case in CASES}
CPU = torch.device("cpu")


def weights(cfg):
    trainer = make_trainer(cfg, make_dataset(cfg, CPU), CPU)
    for _ in range(4):
        trainer.train_step()
    return torch.cat([p.detach().flatten() for p in (*trainer.critic_params, *trainer.generator_params)])


alone = {case: weights(cfg) for case, cfg in CONFIGS.items()}
distributed.join()
failed = []
for case, one in alone.items():
    two = weights(CONFIGS[case])
    if not torch.allclose(one, two, rtol=1e-4, atol=1e-5):
        failed.append(f"{case}: {(one - two).abs().max():.2g}")
if distributed.is_main():
    print(len(CASES), "cases;", "differ:", failed)
distributed.leave()
sys.exit(bool(failed))
"""


def test_every_penalty_trains_as_in_one_process(tmp_path):
    (tmp_path / "ranks.py").write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "ranks.py"]
    environment = os.environ | {"PYTHONPATH": f"{Path(__file__).parent}:{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0 and "differ: []" in done.stdout, done.stdout + done.stderr
