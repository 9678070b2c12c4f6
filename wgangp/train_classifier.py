"""Trains the classifier by whose features and labels wgangp-evaluate scores images that Inception does not fit.

    python -m wgangp.train_classifier dataset=mnist [dataset.KEY=VALUE ...] [--out FILE] [--blocks 1] [--epochs 2]

The dataset is one of conf/dataset, with labels; its options are those of the run to be scored. MNIST takes two
minutes of two CPU cores to over 99 %; CIFAR-10 wants --blocks 3, more epochs and a GPU.
"""

import argparse
import math
import os
import time
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import trange

from wgangp.app.build import make_dataset
from wgangp.app.compose import config_and_choices
from wgangp.app.errors import one_line
from wgangp.data.images import Images
from wgangp.data.splits import Split
from wgangp.machine.cpu import keep_freed_memory
from wgangp.machine.device import choose_device, set_precision
from wgangp.metrics.classifier import ResNet, read
from wgangp.metrics.videos import paths

BATCH = 128
SHIFT = 2  # pixels, of the random crops


def load(overrides: list[str], device: torch.device) -> tuple[str, Images]:
    """Returns the dataset's name and the dataset.

    Raises ValueError if it has no labels, or an override is not about the data: nothing reads the others.
    """
    for override in overrides:
        if not override.lstrip("+~").startswith(("dataset=", "dataset.", "experiment=", "seed=", "allow=")):
            raise ValueError(f"{override}: give dataset=NAME and dataset.KEY=VALUE; --help lists the other options")
    cfg, choices = config_and_choices(overrides)
    name, dataset = choices["dataset"], make_dataset(cfg, device)
    if not isinstance(dataset, Images) or not dataset.num_classes:
        raise ValueError(f"dataset={name}: a classifier needs images or clips with labels, such as dataset=mnist")
    return name, dataset


def parts(dataset: Images) -> tuple[Split, Split]:
    """What to train on and what to test on: a tenth of the images, where none are held out."""
    if dataset.held_out_split is not None:
        return dataset.train, dataset.held_out_split
    test, train = dataset.feed.order.permutation(0).tensor_split([len(dataset) // 10])
    return dataset.train.part(train), dataset.train.part(test)


def augmented(x: Tensor, flip: bool) -> Tensor:
    """The batch, shifted by a few pixels and mirrored at times."""
    height, width = x.shape[-2:]
    top, left = torch.randint(2 * SHIFT + 1, (2,)).tolist()
    x = F.pad(x, [SHIFT] * 4)[..., top : top + height, left : left + width]
    return x.flip(-1) if flip and torch.rand(()) < 0.5 else x


def train(network: ResNet, split: Split, epochs: int, flip: bool) -> None:
    """SGD with momentum, its learning rate rising and falling once (Smith 2018).

    Of clips it learns the velocity of the centre of brightness, too, by squared errors in pixels per frame.
    """
    batches, moves = len(split.labels) // BATCH, split.samples.ndim == 5
    velocity = nn.Linear(network.linear.in_features, 2 * (split.samples.shape[2] - 1)) if moves else nn.Identity()
    device = network.mean.device
    parameters = [*network.parameters(), *velocity.to(device).parameters()]
    optimizer = torch.optim.SGD(parameters, lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.2, total_steps=epochs * batches)
    for epoch in range(epochs):
        order = torch.randperm(len(split.labels)).to(split.labels.device)
        for i in (bar := trange(batches, desc=f"epoch {epoch + 1}", unit="batch")):
            picked = order[i * BATCH : (i + 1) * BATCH]
            images, labels = (t.to(device) for t in split.pick(picked))
            images = augmented(images, flip)
            features, logits = network(images)
            loss = F.cross_entropy(logits, labels)
            if moves:  # its features see how clips move, beside what they show
                loss = loss + F.mse_loss(velocity(features), paths(images).diff(dim=1).flatten(1))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            if i % 20 == 0:
                bar.set_postfix_str(f"loss {loss.item():.3f}")


@torch.no_grad()
def accuracy(network: ResNet, split: Split) -> float:
    _, logits = read(network.eval(), split.all())
    return (logits.argmax(1).to(split.labels.device) == split.labels).float().mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="+", metavar="dataset=NAME", help="and its options, as for wgangp-train")
    parser.add_argument("--out", type=Path, help="default: classifier_NAME.pt")
    parser.add_argument("--blocks", type=int, default=1, help="6 * blocks + 2 layers")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()

    started = time.perf_counter()
    torch.manual_seed(0)
    set_precision("tf32")
    keep_freed_memory()
    try:
        device = choose_device(options.device)
        name, dataset = load(options.overrides, device)
    except Exception as error:
        parser.exit(1, one_line(error) + "\n")
    split, test = parts(dataset)
    out = options.out or Path(f"classifier_{name}.pt")
    if not out.parent.is_dir():
        parser.exit(1, f"--out {out}: there is no folder {out.parent}; make it first\n")
    if out.is_dir() or not os.access(out if out.exists() else out.parent, os.W_OK):
        parser.exit(1, f"--out {out} cannot be written: give the name of a file in a folder of yours\n")
    if len(split.labels) < BATCH or options.epochs < 1 or options.blocks < 1:
        parser.exit(
            1,
            f"a classifier needs {BATCH} images or more to train on, here {len(split.labels)}, --epochs and "
            "--blocks of at least 1\n",
        )
    network = ResNet(math.prod(dataset.shape[:-2]), dataset.num_classes, options.blocks).to(device)
    train(network, split, options.epochs, flip=dataset.flip)
    score = accuracy(network, test)
    state = {key: value.cpu() for key, value in network.state_dict().items()}
    content = {"state_dict": state, "dataset": name, "accuracy": score, "classes": dataset.num_classes}
    torch.save(content | {"class_names": list(dataset.class_names)}, out)
    print(f"{score:.2%} of {len(test.labels):,} test images, {time.perf_counter() - started:.0f} s: {out}")


if __name__ == "__main__":
    main()
