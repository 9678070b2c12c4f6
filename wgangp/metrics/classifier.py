"""A small classifier, by whose labels and features generated images are scored.

The network is the CIFAR ResNet of He et al. 2016, section 4.2: three stages of 16, 32 and 64 channels, shortcuts
without weights (option A), 64 features. Its parameter names are those of the public checkpoints of this network.
"""

import functools
import hashlib
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wgangp.machine.bounded import load_bounded

HOW_TO_TRAIN = "python -m wgangp.train_classifier dataset=... writes one"
PER_BLOCK = 30  # tensors of a block in each of three stages: two convolutions, and four of each of their norms
IMAGENET = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])  # mean and std of red, green and blue


class Block(nn.Module):
    """A residual block of two 3x3 convolutions; with more channels, its stride is 2 and zeros fill the new ones."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.stride, self.new = (1, 0) if c_in == c_out else (2, c_out - c_in)
        self.conv1 = nn.Conv2d(c_in, c_out, 3, self.stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        h = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        shortcut = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.new // 2, self.new // 2))
        return F.relu(shortcut + h)


class ResNet(nn.Module):
    """Classifies images (n, c, h, w) uint8 by 6 * blocks + 2 layers. The frames of clips are channels."""

    mean: Tensor
    std: Tensor
    class_names: tuple[str, ...] = ()  # as its file has them; older ones and others' have none

    def __init__(self, channels: int, num_classes: int, blocks: int) -> None:
        super().__init__()
        self.channels, self.num_classes = channels, num_classes
        self.conv1 = nn.Conv2d(channels, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(*[Block(16, 16) for _ in range(blocks)])
        self.layer2 = nn.Sequential(Block(16, 32), *[Block(32, 32) for _ in range(blocks - 1)])
        self.layer3 = nn.Sequential(Block(32, 64), *[Block(64, 64) for _ in range(blocks - 1)])
        self.linear = nn.Linear(64, num_classes)
        mean, std = IMAGENET if channels == 3 else IMAGENET.mean(1, keepdim=True)
        self.register_buffer("mean", mean.view(-1, 1, 1), persistent=False)
        self.register_buffer("std", std.view(-1, 1, 1), persistent=False)

    def features(self, x: Tensor) -> Tensor:
        """Returns the last stage's means over space (n, 64)."""
        x = x.flatten(1, -3)  # clips (n, c, t, h, w), too
        x = (x.float() / 255 - self.mean) / self.std
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return x.mean(dim=(2, 3))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns features (n, 64) and logits (n, num_classes)."""
        features = self.features(x)
        return features, self.linear(features)


def sha256(path: Path) -> str:
    """Returns the hash of a file, which is read again only if it has changed."""
    status = path.stat()
    return _sha256(path, status.st_mtime_ns, status.st_size)


@functools.cache
def _sha256(path: Path, changed: int, size: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_classifier(path: Path) -> ResNet:
    """Loads the network from a file of wgangp.train_classifier, or another one with a `state_dict` of it.

    Raises FileNotFoundError or ValueError, naming the file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"classifier={path}: there is no such file; {HOW_TO_TRAIN}")
    try:
        content = load_bounded(path.read_bytes())
        state, class_names = content["state_dict"], content.get("class_names", [])
        state = {name.removeprefix("module."): value for name, value in state.items()}
        blocks = len({name.split(".")[1] for name in state if name.startswith("layer1.")})
        if len(state) < blocks * PER_BLOCK:
            raise ValueError("it has names of blocks without their weights")
        network = ResNet(state["conv1.weight"].shape[1], len(state["linear.bias"]), blocks)
        network.load_state_dict(state)
        network.class_names = tuple(map(str, class_names))
    except Exception as error:  # the unpickler raises anything for other files, as does a dict of another network
        raise ValueError(f"classifier={path} is not a file of wgangp.train_classifier, or is damaged") from error
    return network.requires_grad_(False).eval()


def read(network: ResNet, images: Tensor, chunk: int = 500) -> tuple[Tensor, Tensor]:
    """Returns features (n, 64) and logits (n, num_classes) of images or clips uint8, on the network's device."""
    parts = [network(part.to(network.mean.device)) for part in torch.split(images, chunk)]
    features, logits = zip(*parts, strict=True)
    return torch.cat(features), torch.cat(logits)


def class_balance(labels: Tensor, reference: Tensor) -> float:
    """Returns KL(p || q) in nats of the classes' shares p among labels (n,) and q, proportional to reference (k,).

    It is 0 if the shares agree, and log(1 / q_i) if all labels are i.
    """
    p = torch.bincount(labels, minlength=len(reference)).double() / len(labels)
    q = (reference / reference.sum()).double().to(p.device)
    return (torch.xlogy(p, p) - torch.xlogy(p, q)).sum().item()


def nearest(x: Tensor, y: Tensor, chunk: int = 1000) -> Tensor:
    """Returns the Euclidean distance (n,) from each of x (n, d) to the nearest of y (m, d)."""
    return torch.cat([torch.cdist(part, y).amin(dim=1) for part in torch.split(x, chunk)])
