"""Decoders that are killed at random moments, in containers that share a folder: no start ever sees a black image."""

import ctypes
import multiprocessing
import os
import random
import signal
import sys
import time

import pytest
from test_cache import is_right, load, write_photos

from wgangp.data.files import decoding
from wgangp.data.files.pixels import decode_file

ROUNDS, AT_ONCE, IMAGES = 12, 3, 60
CLONE_NEWUSER, CLONE_NEWPID = 0x10000000, 0x20000000
PROCESSES = multiprocessing.get_context("fork")  # which need not import torch again


def isolate():
    """Makes the next process that is forked the first one of its own process numbers. Raises OSError if it may not."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWUSER | CLONE_NEWPID):
        raise OSError(ctypes.get_errno(), "unshare")


def decoder(photos):
    """Takes a tenth of a second at least. Exits with 3 if it sees wrong images."""
    try:
        decoding.decode_file = lambda *arguments: time.sleep(0.002) or decode_file(*arguments)
        os._exit(0 if is_right(load(photos, verify=True), IMAGES) else 3)
    finally:
        os._exit(4)


def container(photos, seed):
    """A decoder, the first process of its container, which is killed after a random time, unless it ends before."""
    isolate()
    if not (child := os.fork()):
        decoder(photos)
    time.sleep(random.Random(seed).random() * 0.3)
    os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    sys.exit(0 if code in (0, -signal.SIGKILL) else code)


def may_isolate():
    process = PROCESSES.Process(target=isolate)
    process.start(), process.join()
    return process.exitcode == 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="process numbers of their own are Linux's")
def test_decoders_killed_in_containers_leave_no_black_images(tmp_path):
    """Each decoder has process number 1, and all of them work on one folder."""
    if not may_isolate():
        pytest.skip("this system gives no process numbers of their own to users")
    photos = write_photos(tmp_path / "photos", IMAGES)
    for i in range(ROUNDS):
        containers = [PROCESSES.Process(target=container, args=(photos, AT_ONCE * i + j)) for j in range(AT_ONCE)]
        for process in containers:
            process.start()
        for process in containers:
            process.join()
        assert [process.exitcode for process in containers] == [0] * AT_ONCE
        assert is_right(load(photos), IMAGES) and not list(photos.glob(".*.partial"))
        for cache in photos.glob(".*.cache"):  # they are to decode again
            cache.unlink()
