"""Losses of critic and generator, from the critic's scores f(x) of shape (n,)."""

from torch import Tensor
from torch.nn import functional as F


class Loss:
    """A pair of losses."""

    def critic(self, real: Tensor, fake: Tensor) -> Tensor:
        """Returns the critic's loss, a scalar, from its scores of reals and fakes (n,)."""
        raise NotImplementedError

    def generator(self, fake: Tensor) -> Tensor:
        """Returns the generator's loss, a scalar, from the critic's scores of fakes (n,)."""
        raise NotImplementedError


class Wasserstein(Loss):
    """The dual form of the Wasserstein-1 distance (Arjovsky et al. 2017, equation 2)."""

    def critic(self, real: Tensor, fake: Tensor) -> Tensor:
        return -(real.mean() - fake.mean())  # not fake - real: Triton 3.6 fails at both differences, and one is logged

    def generator(self, fake: Tensor) -> Tensor:
        return -fake.mean()


class Standard(Loss):
    """The non-saturating GAN (Goodfellow et al. 2014, section 3): f is the logit of being real."""

    def critic(self, real: Tensor, fake: Tensor) -> Tensor:
        return F.softplus(-real).mean() + F.softplus(fake).mean()  # -log sigmoid(f), -log(1 - sigmoid(f))

    def generator(self, fake: Tensor) -> Tensor:
        return F.softplus(-fake).mean()


class LeastSquares(Loss):
    """LSGAN (Mao et al. 2017): targets 1 for reals, 0 for fakes, 1 for the generator.

    The generator's loss has no factor of 1/2, as in gan_64x64.py.
    """

    def critic(self, real: Tensor, fake: Tensor) -> Tensor:
        return ((real - 1).square().mean() + fake.square().mean()) / 2

    def generator(self, fake: Tensor) -> Tensor:
        return (fake - 1).square().mean()


CONTENT = {"l1": F.l1_loss, "l2": F.mse_loss}


def content_loss(content: str, fake: Tensor, real: Tensor) -> Tensor:
    """Returns the mean absolute (l1) or squared (l2) difference of G(z, y) (n, *) and the x of y (n, *), a scalar.

    As Isola et al. 2017 do (l1). Raises KeyError for other names.
    """
    return CONTENT[content](fake.float(), real)


def class_loss(logits: Tensor, y: Tensor) -> Tensor:
    """Returns AC-GAN's cross-entropy of logits (n, num_classes) and labels y (n,); 0 if there are no logits."""
    return F.cross_entropy(logits, y) if logits.shape[1] else logits.new_zeros(())
