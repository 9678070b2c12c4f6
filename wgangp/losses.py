"""What critic and generator minimise, given the critic's scores f(x) of shape (n,)."""

from torch import Tensor
from torch.nn import functional as F


class Wasserstein:
    """The Wasserstein-1 dual (Arjovsky et al. 2017, equation 2): the critic's loss estimates minus the distance."""

    def critic(self, real: Tensor, fake: Tensor) -> Tensor:
        return fake.mean() - real.mean()

    def generator(self, fake: Tensor) -> Tensor:
        return -fake.mean()


def class_loss(logits: Tensor, y: Tensor) -> Tensor:
    """AC-GAN's cross-entropy of logits (n, num_classes); zero where the critic has no class head."""
    return F.cross_entropy(logits, y) if logits.shape[1] else logits.new_zeros(())
