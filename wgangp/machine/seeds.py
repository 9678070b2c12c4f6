"""The random numbers of each step."""

import hashlib

import numpy as np
import torch


def seed_step(seed: int, step: int, purpose: str = "train") -> None:
    """Seeds all random numbers that follow by (seed, step, purpose), so that resuming needs no generator states.

    On the CPU the hash fills all 624 words of the Mersenne Twister. Its own seeding keeps 32 bits, so that some of
    100,000 steps would have the same numbers. Only generators in use are seeded: torch.manual_seed takes longer.
    """
    hashed = hashlib.shake_256(f"{seed}/{step}/{purpose}".encode()).digest(8 + 4 * 624)
    number, words = int.from_bytes(hashed[:8]), np.frombuffer(hashed, "<u4", offset=8)
    cpu = torch.default_generator
    cpu.manual_seed(number)
    state = cpu.get_state()  # bytes: seed, counters, then the words in 64 bits each
    state[24 : 24 + 8 * 624].view(torch.int64).copy_(torch.from_numpy(words.astype(np.int64)))
    cpu.set_state(state)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(number)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(number)
