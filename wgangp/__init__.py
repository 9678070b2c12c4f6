"""Wasserstein GANs with gradient penalty (Gulrajani et al. 2017): train, resume, sample, evaluate."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wgangp.sample import load_generator

__all__ = ["load_generator"]


def __getattr__(name: str) -> Any:
    """`wgangp.load_generator` on first use: the commands must answer `--help` without importing torch."""
    if name == "load_generator":
        from wgangp.sample import load_generator

        return load_generator
    raise AttributeError(f"module 'wgangp' has no attribute {name!r}")
