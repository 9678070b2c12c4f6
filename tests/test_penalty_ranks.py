"""Two processes train as one does, with every penalty of conf/ but ct, which is refused there."""

import torch
from conftest import composed, on_two_ranks, options

from wgangp.app.build import make_dataset, make_trainer

COMMON = ["dataset=gaussians8", "device=cpu", "batch_size=16", "n_critic=3", "steps=4", "lr_decay=none"]
COMMON += ["generator.width=16", "critic.width=16", "generator.depth=2", "critic.depth=2"]
# Adam divides a gradient by its own size, be it a rounding error around zero; with a larger epsilon it does not.
COMMON += ["+generator_optimizer.eps=1e-3", "+critic_optimizer.eps=1e-3"]
CASES = [f"penalty={option}" for option in options("penalty") if option != "ct"]
CASES += ["penalty.interval=2", "penalty/schedule=adaptive", "penalty.power=1"]
CPU = torch.device("cpu")


def weights(cfg):
    trainer = make_trainer(cfg, make_dataset(cfg, CPU), CPU)
    for _ in range(4):
        trainer.train_step()
    return torch.cat([p.detach().flatten() for p in (*trainer.critic_params, *trainer.generator_params)])


def compare(configs, alone):
    together = {case: weights(cfg) for case, cfg in configs.items()}  # on both ranks, before any of them ends
    for case, one in alone.items():
        torch.testing.assert_close(one, together[case], rtol=1e-4, atol=1e-5, msg=lambda text, c=case: f"{c}: {text}")


def test_every_penalty_trains_as_in_one_process():
    configs = {case: composed(*COMMON, case) for case in CASES}
    on_two_ranks(compare, configs, {case: weights(cfg) for case, cfg in configs.items()})
