"""Hydra's composition of conf/, beside a job or a sweep that Hydra runs already."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import hydra
from hydra.core.global_hydra import GlobalHydra

from wgangp.app.paths import CONF, VERSION_BASE

ALONE = threading.Lock()  # Hydra's state is one for all threads


@contextmanager
def composing() -> Iterator[None]:
    """Lets `hydra.compose` read conf/. The Hydra of a running job, or of the caller, is there again afterwards."""
    with ALONE:
        running, GlobalHydra.instance().hydra = GlobalHydra.instance().hydra, None
        try:
            with hydra.initialize_config_dir(str(CONF), version_base=VERSION_BASE):
                yield
        finally:
            GlobalHydra.instance().hydra = running
