"""Gradient penalties and other Lipschitz constraints of the critic. Shapes: n batch, * one sample's."""

from wgangp.penalties.base import IntervalPenalty, NoPenalty, Penalty
from wgangp.penalties.constraints import GradientNormalisation, SpectralNorm, WeightClipping
from wgangp.penalties.finite_difference import FiniteDifference
from wgangp.penalties.gradient_penalty import Consistency, GradientPenalty, gradient_penalty
from wgangp.penalties.gradients import gradient_norm, jacobian_norm
from wgangp.penalties.points import interpolates, perturbed
from wgangp.penalties.sobolev import Sobolev

__all__ = [
    "Consistency",
    "FiniteDifference",
    "GradientNormalisation",
    "GradientPenalty",
    "IntervalPenalty",
    "NoPenalty",
    "Penalty",
    "Sobolev",
    "SpectralNorm",
    "WeightClipping",
    "gradient_norm",
    "gradient_penalty",
    "interpolates",
    "jacobian_norm",
    "perturbed",
]
