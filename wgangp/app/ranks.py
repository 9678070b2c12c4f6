"""The processes that torchrun starts, for every command."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

OF_TORCHRUN = ("RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def world_size() -> int:
    """Returns the number of processes; 1 without torchrun. Ends the program if torchrun did not set it."""
    given = os.environ.get("WORLD_SIZE", "").strip() or "1"
    complete = given == "1" or all(name in os.environ for name in OF_TORCHRUN)
    if not (given.isdecimal() and int(given) >= 1 and complete):
        sys.exit(f"WORLD_SIZE={given}: unset this environment variable, or start by torchrun, which sets more")
    return int(given)


@contextmanager
def joined() -> Iterator[None]:
    """Joins the other processes meanwhile, if there are any. Only the main rank logs more than errors."""
    if world_size() == 1:
        yield
        return
    from wgangp.machine import distributed  # torch takes seconds to import

    distributed.join()
    if not distributed.is_main():
        logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
        distributed.leave()
