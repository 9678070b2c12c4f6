"""A discriminator of (state, action) pairs for imitation learning, with any loss and penalty of conf/.

It needs no reinforcement learning package. docs/how-to/imitation.md shows it in a training loop of one's own.
"""

import torch
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.nn import functional as F

from wgangp.app.build import build
from wgangp.losses import Loss, Standard, Wasserstein
from wgangp.optimizers import gradients_of, update
from wgangp.penalties import Penalty
from wgangp.penalties.gradients import scores


def critic_update(
    critic: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss: Loss,
    penalty: Penalty,
    expert: Tensor,
    policy: Tensor,
    index: int = 0,
) -> None:
    """One update of the critic on as many pairs (n, d) of the expert and of the policy; `index` counts the updates.

    The expert's pairs are the reals of loss and penalty: penalty=wgan_gp is the penalty of DAC (Kostrikov et al. 2019),
    on lines between both; penalty=r1 lies where AMP's does (Peng et al. 2021), at the expert's pairs alone.
    """
    total, norm = loss.critic(scores(critic, expert), scores(critic, policy)), None
    if penalty.due(index):
        added, norm = penalty.terms(critic, expert, policy)
        total = total + penalty.interval * added
    params = list(critic.parameters())
    update(params, optimizer, gradients_of(total, params))
    penalty.project(critic)
    if norm is not None:
        penalty.observe(norm.detach())  # an adaptive weight, or a multiplier


def reward_of(loss: Loss, f: Tensor, expert: Tensor) -> Tensor:
    """The policy's reward (n,) for the critic's scores f (n,), or GAIL's -log(1 - D) with D = sigmoid(f).

    The level of a Wasserstein critic has no meaning and drifts, so its mean over the `expert`'s scores is taken off.
    Raises ValueError if the loss has no such reward.
    """
    if isinstance(loss, Wasserstein):
        return f - expert.mean()
    if isinstance(loss, Standard):
        return F.softplus(f)
    raise ValueError(f"the loss {type(loss).__name__} has no reward here: use loss=wasserstein or loss=standard")


class Discriminator:
    """A critic of pairs (n, d), which it standardises by the expert's mean and standard deviation.

    cfg: of load_config; its critic, penalty, loss, critic_optimizer and batch_size are used. expert: (N, d).
    penalty/schedule=linear stays at its first weight, since this does not know the end of the training.
    Raises ValueError for a loss without a reward, and for a penalty that does not suit the critic.
    """

    SMALLEST_STD = 0.1  # the expert may hardly ever change one of its inputs

    def __init__(self, cfg: DictConfig, expert: Tensor) -> None:
        self.mean, self.std = expert.mean(0), expert.std(0).clamp(min=self.SMALLEST_STD)
        self.expert, self.n, self.updates = self.standardised(expert), cfg.batch_size, 0
        self.loss: Loss = build(cfg.loss)
        self.penalty: Penalty = build(cfg.penalty)
        self.critic = self.penalty.wrap(build(cfg.critic, shape=[expert.shape[1]], num_classes=0))
        self.penalty.check(self.critic)
        self.optimizer = build(cfg.critic_optimizer, list(self.critic.parameters()))
        self.expert_scores = self.scores(self.expert)
        reward_of(self.loss, self.expert_scores, self.expert_scores)  # raises ValueError

    def standardised(self, pairs: Tensor) -> Tensor:
        return (pairs - self.mean) / self.std

    def learn(self, policy: Tensor, updates: int) -> None:
        """`updates` updates on random pairs of the expert and of the policy, which are (N, d)."""
        policy = self.standardised(policy)
        for _ in range(updates):
            batch = [pairs[torch.randint(len(pairs), (self.n,))] for pairs in (self.expert, policy)]
            critic_update(self.critic, self.optimizer, self.loss, self.penalty, *batch, index=self.updates)
            self.updates += 1
        self.expert_scores = self.scores(self.expert)

    @torch.no_grad()
    def scores(self, standardised: Tensor) -> Tensor:
        return scores(self.critic, standardised)

    def reward(self, pairs: Tensor) -> Tensor:
        """The reward (n,) of pairs (n, d)."""
        return reward_of(self.loss, self.scores(self.standardised(pairs)), self.expert_scores)
