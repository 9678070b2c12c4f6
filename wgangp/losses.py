"""What critic and generator minimise, given the critic's scores f(x) of shape (n,)."""

from torch import Tensor
from torch.nn import functional as F


class Wasserstein:
    """The Wasserstein-1 dual (Arjovsky et al. 2017, equation 2): the critic's loss estimates minus the distance."""

    def critic(self, real: Tensor, fake: Tensor) -> Tensor:
        return fake.mean() - real.mean()

    def generator(self, fake: Tensor) -> Tensor:
        return -fake.mean()


class Standard:
    """The non-saturating GAN (Goodfellow et al. 2014, section 3): f is the logit of being real."""

    def critic(self, real: Tensor, fake: Tensor) -> Tensor:
        return F.softplus(-real).mean() + F.softplus(fake).mean()  # -log sigmoid(f), -log(1 - sigmoid(f))

    def generator(self, fake: Tensor) -> Tensor:
        return F.softplus(-fake).mean()


class LeastSquares:
    """LSGAN (Mao et al. 2017, equation 9): reals are to score 1, fakes 0; the generator wants 1. As gan_64x64.py."""

    def critic(self, real: Tensor, fake: Tensor) -> Tensor:
        return ((real - 1).square().mean() + fake.square().mean()) / 2

    def generator(self, fake: Tensor) -> Tensor:
        return (fake - 1).square().mean()


def class_loss(logits: Tensor, y: Tensor) -> Tensor:
    """AC-GAN's cross-entropy of logits (n, num_classes), a mean over the known labels (an unknown one is -1).

    Zero where none is known, and where the critic has no class head.
    """
    if not logits.shape[1]:
        return logits.new_zeros(())
    return F.cross_entropy(logits, y, ignore_index=-1, reduction="sum") / (y >= 0).sum().clamp(min=1)
