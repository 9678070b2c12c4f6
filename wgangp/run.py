"""A run directory as an object, and the generator in it."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from numbers import Integral
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor

from wgangp.app.build import build, with_output
from wgangp.app.checks import BATCHNORM
from wgangp.app.defaults import part_with_defaults
from wgangp.app.trust import no_larger_than
from wgangp.machine.paths import local_path
from wgangp.machine.seeds import seed_step
from wgangp.machine.settings import kept_random_state, plain_torch
from wgangp.models import Generator
from wgangp.models.layers import use_batch_statistics
from wgangp.run_dir.checkpoint import State, load_newest, run_of
from wgangp.run_dir.claim import no_checkpoint
from wgangp.run_dir.header import Header, header_of
from wgangp.run_dir.record import Record, read_record
from wgangp.run_dir.rows import read_rows
from wgangp.run_dir.status import Status, read_status
from wgangp.sampling import generate, latents, to_data, use_standing_statistics
from wgangp.units import are_clips


class Run:
    """A run directory, or one checkpoint of it: `Run("outputs/mnist/2026-01-31_12-00-00")`.

    `allow` names packages beside wgangp whose networks you trust. Raises FileNotFoundError if there is no such
    directory or file, and ValueError if it is a file that is no .pt.
    """

    def __init__(self, path: str | Path, objective: float | None = None, allow: Sequence[str] = ()) -> None:
        self.path, self.objective, self.allow = local_path(path), objective, tuple(allow)
        if not self.path.exists():
            raise no_checkpoint(self.path)
        if self.path.is_file() and self.path.suffix != ".pt":
            raise ValueError(f"run={path} is a file: give the run's directory, or a checkpoint in it")

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @property
    def directory(self) -> Path:
        """The run directory, also if this is a checkpoint in it. Raises ValueError if it lies in none."""
        return run_of(self.path)

    @property
    def status(self) -> Status | None:
        """How the run stands: running, done, pruned, stopped or failed; None for runs of older versions."""
        return read_status(self.directory)

    @property
    def record(self) -> Record:
        """The configuration, the overrides and the chosen options that the run was started with."""
        return read_record(self.directory)

    def metrics(self) -> Any:
        """Returns the lines of metrics.jsonl: a pandas DataFrame if pandas is installed, else a list of dicts."""
        rows = read_rows(self.directory / "metrics.jsonl")
        try:
            import pandas
        except ModuleNotFoundError:
            return rows
        return pandas.DataFrame(rows)

    def generator(self, ema: bool = True, batchnorm: str = "standing") -> Generator:
        """As `load_generator`."""
        return load_generator(self.path, ema, batchnorm, self.allow)

    def load(self, ema: bool, batchnorm: str) -> tuple[int, Generator]:
        """Returns the step of the newest checkpoint, or of the one that this is, and its generator."""
        _, state = load_newest(self.path)
        return state["step"], generator_of(state, ema, batchnorm, self.allow)

    def samples(self, n: int, seed: int = 0) -> Tensor:
        """Returns n samples (n, *) of the averaged generator, on the CPU; labels, if there are any, are drawn too.

        Arrays that are no pictures are in the data's own units.
        """
        if isinstance(n, bool) or not isinstance(n, Integral) or n < 1:
            raise ValueError(f"n={n}: give a whole number of at least 1")
        generator = self.generator(batchnorm="batch")
        with kept_random_state(), plain_torch():
            seed_step(seed, 0, "sample")
            z, y = latents(generator, n)
            return torch.cat(generate(generator, z, y, to_data(generator)))[:n]


def load_generator(
    run: str | Path, ema: bool = True, batchnorm: str = "standing", allow: Sequence[str] = ()
) -> Generator:
    """Returns the generator of a run directory's newest checkpoint, or of a checkpoint file, on the CPU in eval mode.

    Called as generator(z, y=None) with z of (n, generator.nz) and y of (n,), or conditions as the networks see them,
    which generator.data_conditions.units.apply makes of the data's; returns (n, *shape): images in [-1, 1], or arrays
    as the networks see them, which generator.data_units.invert takes to the data's units, or for text the characters'
    probabilities (n, v, t), which wgangp.data.text.decode reads with generator.vocabulary.
    BatchNorm uses statistics of many samples ("standing"), so that a sample depends on its own latent alone; or those
    of the batch that it is given ("batch"), as the paper does; or the averages over training ("running").
    `allow` names packages beside wgangp whose networks you trust. Raises FileNotFoundError or ValueError if there is no
    sound checkpoint, or it is one of other networks.
    """
    with kept_random_state(), plain_torch():
        return Run(run, allow=allow).load(ema, batchnorm)[1]


def generator_of(state: State, ema: bool, batchnorm: str, allow: Sequence[str]) -> Generator:
    """Returns the generator of a loaded checkpoint. Raises ValueError if it is another network than it describes."""
    if batchnorm not in BATCHNORM:
        raise ValueError(f"batchnorm={batchnorm}: choose {', '.join(BATCHNORM)}")
    header, weights = header_of(state), state["ema" if ema else "generator"]
    generator = build_generator(header, weights, allow)
    try:
        generator.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError("the checkpoint's weights are not those of the generator that it describes") from error
    generator.vocabulary, generator.class_names = header.vocabulary, header.class_names
    generator.class_counts = header.class_counts
    generator.data_units, generator.data_conditions = header.units, header.conditions
    generator.is_video = are_clips(header.shape, bool(header.bounded), header.units)
    if batchnorm == "batch":
        use_batch_statistics(generator)
    elif batchnorm == "standing":
        use_standing_statistics(generator)
    return generator.requires_grad_(False).eval()


def build_generator(header: Header, weights: Mapping[str, Tensor], allow: Sequence[str]) -> Generator:
    """Returns the network that a header describes, before its weights are loaded; one larger than these is refused."""
    node = OmegaConf.create(part_with_defaults("generator", header.config["generator"]))
    if header.bounded is not None:
        node = with_output(node, header.bounded)
    make = partial(build, node, part="generator", allow=allow, **header.network_arguments)
    with no_larger_than(weights):
        with torch.device("meta"), suppress(RuntimeError):
            make()  # without memory: a stranger's configuration may be of any width
        seed = header.config.get("seed")
        torch.manual_seed(seed if type(seed) is int else 0)  # as in training: a network may draw what it does not save
        generator: Generator = make()  # networks of one's own may compute while they are built, which "meta" cannot
    return generator
