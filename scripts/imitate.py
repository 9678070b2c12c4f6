"""Adversarial imitation on Pendulum-v1: a policy learns from four episodes of an expert, without the task's reward.

    pip install -e '.[rl]'
    python scripts/imitate.py [LOSS/PENALTY | cloning ...] [--set KEY=VALUE ...] [--seeds 0 1 2 3 4]

LOSS is of conf/loss: wasserstein, where the policy's reward is the critic's score, or standard, which is GAIL's (Ho and
Ermon 2016). PENALTY is any of conf/penalty. The policy is PPO; `cloning` regresses the expert's actions instead. Each
run is judged by the true return of 20 new episodes, the same for all, without exploration noise. Prints a table in
Markdown, and draws the returns of the training episodes.
"""

import argparse
from collections import deque
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from discriminator import Discriminator
from omegaconf import DictConfig
from pendulum import expert
from seed_scores import SeedScores, table
from torch import Tensor, nn

from wgangp import style
from wgangp.app.compose import load_config
from wgangp.app.errors import one_line
from wgangp.machine.seeds import seed_step

try:
    import gymnasium
    from stable_baselines3 import PPO
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.vec_env import VecEnvWrapper, VecNormalize
except ImportError as error:
    raise SystemExit(f"{error}: pip install -e '.[rl]'") from error

TASK, EPISODE = "Pendulum-v1", 200
DEMONSTRATIONS, JUDGED = 4, 20  # episodes: of the expert, and to judge a policy by
SETTING = [  # of the critic
    *("critic=mlp", "critic.width=64", "critic.depth=2", "batch_size=256"),
    *("optimizer@critic_optimizer=adam", "critic_optimizer.lr=3e-4", "critic_optimizer.betas=[0.5,0.9]"),
]
# Of the penalties. The mean of wgan_gp over seeds 110 to 115 was -452 with 10, -168 with 1, and -147 with 0.1.
WEIGHTS = {"wgan_gp": 0.1, "wgan_lp": 0.1}
UPDATES, REPLAYED = 80, 10  # of the critic after each rollout of the policy, on the pairs of so many rollouts
CLONING_UPDATES = 3000
ENVIRONMENTS, ROLLOUT = 8, 256  # steps of each environment
POLICY = {
    "gamma": 0.98,
    "batch_size": 64,
    "use_sde": True,
    "sde_sample_freq": 4,
    "device": "cpu",
    "stats_window_size": 16,
}
LR = 5e-4  # of the policy; it falls to 0 over the second half
SHOWN = ["wasserstein/wgan_gp", "wasserstein/wgan_lp", "wasserstein/r1", "wasserstein/none"]
SHOWN += ["standard/wgan_gp", "standard/r1", "standard/none", "cloning"]

Policy = Callable[[np.ndarray], np.ndarray]  # observations (n, 3) to actions (n, 1)
Curve = list[tuple[int, float]]  # steps in the environments, and the mean return of the last 16 training episodes


class Rewarded(VecEnvWrapper):
    """Replaces the task's reward by the discriminator's, and keeps the pairs of a rollout."""

    def __init__(self, environments, discriminator: Discriminator) -> None:
        super().__init__(environments)
        self.discriminator, self.pairs = discriminator, []

    def reset(self) -> np.ndarray:
        self.observations = self.venv.reset()
        return self.observations

    def step_async(self, actions: np.ndarray) -> None:
        self.pairs.append(pairs_of(self.observations, actions))
        self.venv.step_async(actions)

    def step_wait(self):
        self.observations, _, done, infos = self.venv.step_wait()
        return self.observations, self.discriminator.reward(self.pairs[-1]).numpy(), done, infos


class LearnAfterRollout(BaseCallback):
    """Trains the discriminator after each rollout, and keeps the training episodes' true returns.

    It sees the last rollouts, as DAC's replay buffer: of the last one alone it forgets what the policy did before, and
    the policy goes back to it.
    """

    def __init__(self, environments: Rewarded, discriminator: Discriminator) -> None:
        super().__init__()
        self.environments, self.discriminator = environments, discriminator
        self.curve: Curve = []
        self.rollouts: deque[Tensor] = deque(maxlen=REPLAYED)

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        self.rollouts.append(torch.cat(self.environments.pairs))
        self.discriminator.learn(torch.cat(list(self.rollouts)), UPDATES)
        self.environments.pairs.clear()
        returns = [episode["r"] for episode in self.model.ep_info_buffer]
        self.curve.append((self.num_timesteps, float(np.mean(returns))))


def pairs_of(observations: np.ndarray, actions: np.ndarray) -> Tensor:
    return torch.as_tensor(np.concatenate([observations, actions], axis=1), dtype=torch.float32)  # (n, 4)


def play(policy: Policy, episodes: int, seed: int) -> tuple[Tensor, float]:
    """The pairs of whole episodes (episodes * EPISODE, 4), and their mean return."""
    environments = gymnasium.make_vec(TASK, num_envs=episodes)
    observations, _ = environments.reset(seed=seed)
    pairs, total = [], 0.0
    for _ in range(EPISODE):
        actions = policy(observations)
        pairs.append(pairs_of(observations, actions))
        observations, rewards, *_ = environments.step(actions)
        total += rewards.mean()
    return torch.cat(pairs), float(total)


def imitate(cfg: DictConfig, demonstrations: Tensor, seed: int, steps: int) -> tuple[Policy, Curve]:
    """The policy, and the returns of its training episodes after each rollout."""
    seed_step(seed, 0, "discriminator")
    discriminator = Discriminator(cfg, demonstrations)
    rewarded = Rewarded(make_vec_env(TASK, ENVIRONMENTS), discriminator)
    environments = VecNormalize(rewarded, norm_obs=False, gamma=POLICY["gamma"])
    ppo = PPO(
        "MlpPolicy", environments, lambda remaining: LR * min(1, 2 * remaining), n_steps=ROLLOUT, seed=seed, **POLICY
    )
    callback = LearnAfterRollout(rewarded, discriminator)
    ppo.learn(steps, callback)
    return lambda observations: ppo.predict(observations, deterministic=True)[0], callback.curve


def clone(demonstrations: Tensor, seed: int) -> Policy:
    """Behavioural cloning: least squares on the expert's actions, by a network of PPO's size."""
    seed_step(seed, 0, "cloning")
    network = nn.Sequential(nn.Linear(3, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(CLONING_UPDATES):
        pairs = demonstrations[torch.randint(len(demonstrations), (256,))]
        loss = (network(pairs[:, :3]) - pairs[:, 3:]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return lambda observations: network(torch.as_tensor(observations)).detach().clamp(-2, 2).numpy()


def plot(rows: list[dict[str, str]], out: Path) -> None:
    """The median of the seeds' training returns against the steps, and the range of the seeds."""
    with style.apply():
        figure = style.figure(8, 4.5)
        axes = figure.add_subplot(xlabel="steps in the environment", ylabel="return of training episodes")
        for name in dict.fromkeys(row["name"] for row in rows):
            steps = sorted({int(row["step"]) for row in rows if row["name"] == name})
            returns = np.array(
                [[float(r["return"]) for r in rows if r["name"] == name and int(r["step"]) == step] for step in steps]
            )
            axes.plot(steps, np.median(returns, axis=1), label=name)
            axes.fill_between(steps, returns.min(axis=1), returns.max(axis=1), alpha=0.12)
        axes.legend(loc="lower right")
        figure.savefig(out)


def run(method: str, overrides: list[str], seed: int, steps: int) -> tuple[float, Curve]:
    """The return of new episodes, and that of the training episodes; LOSS/PENALTY with `overrides`, or cloning."""
    demonstrations, _ = play(expert, DEMONSTRATIONS, seed=1000 + seed)
    if method == "cloning":
        return play(clone(demonstrations, seed), JUDGED, seed=0)[1], []
    loss, _, penalty = method.partition("/")
    weight = [f"penalty.weight={WEIGHTS[penalty]}"] if penalty in WEIGHTS else []
    cfg = load_config(*SETTING, f"loss={loss}", f"penalty={penalty}", *weight, *overrides)
    policy, curve = imitate(cfg, demonstrations, seed, steps)
    return play(policy, JUDGED, seed=0)[1], curve


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="*", default=SHOWN, metavar="LOSS/PENALTY | cloning")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="for the critic of all methods")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--steps", type=int, default=100_000, help="in the environments")
    parser.add_argument("--out", type=Path, default=Path("imitation.csv"), help="each seed's return")
    options = parser.parse_args()
    curves_file = options.out.with_stem(options.out.stem + "_curves")
    try:
        scores, curves = SeedScores(options.out, ["return"]), SeedScores(curves_file, ["step", "return"])
        for seed in options.seeds:
            for method in (method for method in options.methods if not scores.has(method, seed)):
                value, curve = run(method, options.set, seed, options.steps)
                for step, training in curve:
                    curves.add(method, seed, step, training)
                scores.add(method, seed, value)
    except Exception as error:
        parser.exit(1, one_line(error) + "\n")
    print(table(scores.rows, ["return"]))
    print(f"\nThe expert's return is {play(expert, JUDGED, seed=0)[1]:.0f}, on the same episodes.")
    plot(curves.rows, options.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
