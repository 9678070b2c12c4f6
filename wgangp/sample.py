"""wgangp-sample run=DIR: pictures, files and films of a trained generator's samples."""

import logging

from omegaconf import DictConfig

from wgangp.app.command_line import command

log = logging.getLogger(__name__)


def main() -> None:
    command(sample, "sample")


def sample(cfg: DictConfig) -> None:
    """Writes a grid, single files, an array, a table, rows of interpolations or a film, and logs where."""
    from wgangp.app.sample_draws import in_steps  # torch takes seconds to import
    from wgangp.app.sample_files import write_samples
    from wgangp.machine.device import choose_device
    from wgangp.run import Run

    run = Run(str(cfg.run), allow=cfg.allow)
    # The steps of a row are too much alike for a batch: its statistics would be far from those of the training.
    batchnorm = "standing" if cfg.batchnorm == "batch" and in_steps(cfg) else cfg.batchnorm
    device, (step, generator) = choose_device(cfg.device), run.load(cfg.ema, batchnorm)
    log.info("%s", write_samples(cfg, run.path, step, generator.to(device)))


if __name__ == "__main__":
    main()
