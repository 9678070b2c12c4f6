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

ROUNDS, IMAGES = 25, 60
CLONE_NEWUSER, CLONE_NEWPID = 0x10000000, 0x20000000
PROCESSES = multiprocessing.get_context("fork")  # which need not import torch again


def isolate():
    """Makes the next process that is forked the first one of its own process numbers. Raises OSError if it may not."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWUSER | CLONE_NEWPID):
        raise OSError(ctypes.get_errno(), "unshare")


def decoder(photos):
    """Exits with 3 if it sees wrong images."""
    try:
        os._exit(0 if is_right(load(photos, verify=True), IMAGES) else 3)
    finally:
        os._exit(4)


def container(photos, seed):
    """Starts decoders one after the other, and kills most of them."""
    isolate()
    if first := os.fork():
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(first, 0)[1]))
    rng, codes = random.Random(seed), set()
    for _ in range(ROUNDS):
        if not (child := os.fork()):
            decoder(photos)
        time.sleep(rng.random() * 0.15)
        if rng.random() < 0.8:
            os.kill(child, signal.SIGKILL)
        codes.add(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        if rng.random() < 0.3:
            for cache in photos.glob(".*.cache"):
                cache.unlink(missing_ok=True)
    os._exit(0 if codes <= {0, -signal.SIGKILL} else 5)


def may_isolate():
    process = PROCESSES.Process(target=isolate)
    process.start(), process.join()
    return process.exitcode == 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="process numbers of their own are Linux's")
def test_decoders_killed_in_two_containers_leave_no_black_images(tmp_path):
    """Both containers count their processes from 1, so equal numbers are at work on one folder."""
    if not may_isolate():
        pytest.skip("this system gives no process numbers of their own to users")
    photos = write_photos(tmp_path / "photos", IMAGES)
    containers = [PROCESSES.Process(target=container, args=(photos, seed)) for seed in range(2)]
    for process in containers:
        process.start()
    for process in containers:
        process.join()
    assert [process.exitcode for process in containers] == [0, 0]
    for cache in photos.glob(".*.cache"):  # as the killed ones left it, and decoded again
        assert is_right(load(photos), IMAGES)
        cache.unlink()
    assert is_right(load(photos), IMAGES) and not list(photos.glob(".*.partial"))
