"""Gymnasium's Pendulum-v1 in formulas, and an expert for it in closed form. Shapes: n pendulums."""

import numpy as np

MAX_TORQUE, MAX_SPEED, DT = 2.0, 8.0, 0.05
SWING, ANGLE, SPEED = 10.0, 10.0, 3.0  # torque per energy, angle, angular speed
NEAR = 0.5  # radians from upright, where the expert balances


def expert(observations: np.ndarray) -> np.ndarray:
    """Torques (n, 1) for observations (n, 3): cos and sin of the angle from upright, and the angular speed.

    Near the top it balances by the angle and its speed. Elsewhere it gives or takes energy (Astrom and Furuta 2000)
    until the pendulum has as much as at rest at the top: the torque u changes theta'^2 / 6 + 5 cos theta by u theta'.
    """
    cos, sin, speed = observations.T
    angle = np.arctan2(sin, cos)
    missing = 5 - (speed**2 / 6 + 5 * cos)
    swing = SWING * missing * np.where(speed < 0, -1, 1)
    torque = np.where(np.abs(angle) < NEAR, -ANGLE * angle - SPEED * speed, swing)
    return np.clip(torque, -MAX_TORQUE, MAX_TORQUE)[:, None]


def step(angle: np.ndarray, speed: np.ndarray, torque: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The next angles and speeds, and the rewards, (n,) each, of torques (n,)."""
    wrapped = (angle + np.pi) % (2 * np.pi) - np.pi
    reward = -(wrapped**2 + 0.1 * speed**2 + 0.001 * torque**2)
    speed = np.clip(speed + (15 * np.sin(angle) + 3 * torque) * DT, -MAX_SPEED, MAX_SPEED)
    return angle + speed * DT, speed, reward
