"""How each penalty moves the Dirac-GAN of Mescheder et al. 2018: the smallest GAN there is.

    python scripts/dirac_gan.py [PENALTY ...] [--steps 600] [--out dirac_gan.png]

The data are the point 0, the generator the point theta, the critic f(x) = psi x; both follow their gradients in turn.
The only equilibrium is theta = psi = 0. A penalty is one of conf/penalty.
"""

import argparse

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from wgangp.app.build import build
from wgangp.app.compose import load_config
from wgangp.losses import Wasserstein
from wgangp.optimizers import gradients_of, update
from wgangp.penalties import Penalty

SHOWN = ["none", "weight_clipping", "wgan_gp", "wgan_lp", "r1", "finite_difference"]


def trajectory(penalty: Penalty, steps: int, lr: float = 0.05, n: int = 8) -> Tensor:
    """(steps + 1, 2), theta and psi, by gradient descent from (1, 1)."""
    torch.manual_seed(0)
    theta, critic = nn.Parameter(torch.ones(1)), nn.Linear(1, 1, bias=False)
    nn.init.ones_(critic.weight)
    weights: list[list[nn.Parameter]] = [[theta], list(critic.parameters())]
    descend = [torch.optim.SGD(p, lr) for p in weights]
    loss, real = Wasserstein(), torch.zeros(n, 1)
    path = [(1.0, 1.0)]
    for step in range(steps):
        fake = theta.detach().expand(n, 1)
        added = penalty(critic, real, fake) if penalty.due(step) else 0
        critic_loss = loss.critic(critic(real), critic(fake)) + added
        update(weights[1], descend[1], gradients_of(critic_loss, weights[1]))
        penalty.project(critic)
        generator_loss = loss.generator(critic(theta.expand(n, 1)))
        update(weights[0], descend[0], gradients_of(generator_loss, weights[0]))
        path.append((theta.item(), critic.weight.item()))
    return torch.tensor(path)


def load(name: str) -> Penalty:
    """A penalty of conf/penalty, as heavy and as wide as this small problem needs to show its motion."""
    suited = {"none": [], "weight_clipping": ["penalty.clip=1"], "finite_difference": ["penalty.weight=1000"]}
    overrides = [f"penalty={name}", *suited.get(name, ["penalty.weight=0.5"])]
    penalty: Penalty = build(load_config(*overrides).penalty)
    return penalty


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("penalties", nargs="*", default=SHOWN)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--out", default="dirac_gan.png")
    options = parser.parse_args()
    figure = Figure((3 * len(options.penalties), 3.2), layout="constrained")
    for axis, name in zip(figure.subplots(1, len(options.penalties), squeeze=False)[0], options.penalties, strict=True):
        theta, psi = trajectory(load(name), options.steps).T
        axis.plot(theta, psi, linewidth=0.7)
        axis.plot(theta[-1], psi[-1], "o", markersize=4)
        axis.plot(0, 0, "k+")
        axis.set(title=name, xlabel="theta", ylabel="psi", xlim=(-2.2, 2.2), ylim=(-2.2, 2.2), aspect="equal")
    figure.savefig(options.out, dpi=100)
    print(options.out)


if __name__ == "__main__":
    main()
