"""Where samples of a run go: under names that say what is in them."""

import hashlib
from pathlib import Path

from omegaconf import DictConfig

from wgangp.run_dir.files import refuse_links

PLAIN = {ord("["): None, ord("]"): None, ord(","): None, ord(" "): "_"}  # of a list in a name
LONGEST_NAME = 200  # bytes; file systems take 255, with the ending


def place(run: Path, name: str) -> Path:
    """Returns where samples of this name go. Raises ValueError if a link there leads out of the run."""
    refuse_links(run, Path("samples", name))
    return run / "samples" / name


def name_of(cfg: DictConfig, step: int) -> str:
    """Returns a name that says what is in the file, so that samples do not overwrite one another.

    Long lists of seeds, and names of classes that no file can have, are replaced by their hash.
    """
    parts = [f"seed_{cfg.seed}", f"step_{step:08d}", f"n_{cfg.n}"]
    parts += [f"label_{cfg.label}"] if cfg.label is not None else []
    parts += [] if cfg.proportions == "equal" else ["in_proportion"]
    parts += [f"condition_{cfg.condition}".translate(PLAIN)] if cfg.condition is not None else []
    parts += [f"sweep_{cfg.sweep_condition}"] if cfg.sweep_condition is not None else []
    parts += [f"truncation_{cfg.truncation}"] if cfg.truncation is not None else []
    parts += ["seeds_" + "_".join(map(str, cfg.seeds))] if cfg.seeds else []
    parts += [] if cfg.batchnorm == "batch" else [cfg.batchnorm]
    parts += [] if cfg.ema else ["last_weights"]
    parts += ["numbers"] if cfg.numbers else []
    parts += ["interpolation"] if cfg.interpolate else []
    parts += [f"frames_{cfg.frames}"] if cfg.interpolate and cfg.format != "grid" else []
    name = "_".join(parts)
    if len(name.encode()) <= LONGEST_NAME and "/" not in name:
        return name
    return f"{parts[0]}_{parts[1]}_{hashlib.sha256(name.encode()).hexdigest()[:16]}"
