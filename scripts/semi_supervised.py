"""A critic that also classifies, from few labels: with the GAN's help, and without.

    python scripts/semi_supervised.py dataset=mnist [KEY=VALUE ...] [--labels 100 500] [--seeds 3]

The run is one of wgangp-train, conditional (AC-GAN), but that the critic's class head is taught by a batch of the
labelled images at each critic update; the other images' labels are not used, except that the generator is asked for
classes as often as they occur. Beside it, the same critic learns from the same labelled batches alone. Prints a table
of test accuracies in Markdown.
"""

import argparse
import statistics
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor, nn
from tqdm import trange

from wgangp.app.build import make_dataset, make_trainer, set_up_device
from wgangp.app.compose import load_config
from wgangp.app.errors import one_line
from wgangp.data.images import Images, Split
from wgangp.losses import class_loss
from wgangp.trainer import Trainer, update


class Teacher:
    """Makes a trainer's critic learn its classes from few labelled images alone."""

    def __init__(self, trainer: Trainer, dataset: Images, labelled: Split) -> None:
        self.dataset, self.labelled, self.n = dataset, labelled, trainer.batch_size
        self.trainer = trainer
        trainer.functions = trainer.functions._replace(critic_loss=self.critic_loss)

    def critic_loss(self, penalised: bool, z: Tensor, *fetched: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The critic's loss, with the classes of labelled images in place of the batch's own."""
        real, y = self.dataset.make(*fetched)
        t = self.trainer
        with torch.no_grad(), t.autocast():
            fake = t.generator(z, y).to(real.dtype)
        loss, logs = t.critic_terms(t.critic, real, fake, torch.full_like(y, -1), penalised)
        return loss + self.class_loss(t.critic), logs

    def class_loss(self, critic: nn.Module) -> Tensor:
        """The cross-entropy of one batch of the labelled images."""
        picked = torch.randint(len(self.labelled), (self.n,), device=self.labelled.labels.device)
        x = self.dataset.scale(self.labelled.images[picked])
        return class_loss(critic(x)[:, 1:], self.labelled.labels[picked])


@torch.no_grad()
def accuracy(critic: nn.Module, dataset: Images) -> float:
    assert dataset.test is not None
    rights = 0
    for x, y in zip(dataset.test.images.split(500), dataset.test.labels.split(500), strict=True):
        rights += (critic(dataset.scale(x.to(dataset.device)))[:, 1:].argmax(1).cpu() == y.cpu()).sum().item()
    return rights / len(dataset.test)


def run(cfg: DictConfig, labels: int, supervised: bool) -> float:
    """The critic's accuracy, taught within a GAN or `supervised` alone, for as many updates."""
    device = set_up_device(cfg)
    dataset = make_dataset(cfg, device)
    if not isinstance(dataset, Images) or not dataset.num_classes or dataset.test is None:
        raise ValueError("semi_supervised needs images with labels and a test part, such as dataset=mnist")
    picked = torch.randperm(len(dataset.train))[:labels]
    trainer = make_trainer(cfg, dataset, device)
    teacher = Teacher(trainer, dataset, Split(dataset.train.images[picked], dataset.train.labels[picked]))
    for i in trange(cfg.steps, desc="supervised" if supervised else "with a GAN", leave=False):
        if not supervised:
            trainer.train_step()
            continue
        torch.manual_seed(cfg.seed + i)
        for _ in range(cfg.n_critic):
            update(trainer.critic_params, trainer.critic_optimizer, teacher.class_loss(trainer.critic))
    return accuracy(trainer.critic, dataset)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="+", metavar="KEY=VALUE", help="as for wgangp-train")
    parser.add_argument("--labels", type=int, nargs="+", default=[100, 500])
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    print("| labels | supervised alone | with a GAN |\n|---|---|---|")
    try:
        for labels in options.labels:
            cells: list[Any] = []
            for supervised in (True, False):
                found = []
                for seed in range(options.seeds):
                    cfg = load_config(*options.overrides, "conditional=true", f"seed={seed}")
                    found.append(run(cfg, labels, supervised))
                cells.append(f"{statistics.mean(found):.1%} ± {100 * statistics.stdev(found):.1f}")
            print(f"| {labels:,} | {cells[0]} | {cells[1]} |", flush=True)
    except Exception as error:
        parser.exit(1, one_line(error) + "\n")


if __name__ == "__main__":
    main()
