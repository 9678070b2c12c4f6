"""CUDA graphs: all kernels of an update are launched at once."""

import logging
import math
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

log = logging.getLogger(__name__)


@dataclass
class Captured:
    graph: torch.cuda.CUDAGraph
    buffers: list[Tensor]  # what it reads
    result: Any
    gradients: list[Tensor | None]


class Replayed:
    """A function of tensors and flags that is replayed as a CUDA graph, one graph for each combination of flags.

    The first calls run the function itself, which chooses kernels and creates optimizer states. Later calls copy their
    tensors into the buffers that the graph reads, and replay it. The next call overwrites the result, and the gradients
    of `parameters`. Random numbers equal the function's: a replay reads the seed and the position of torch's generator.
    """

    def __init__(self, function: Callable[..., Any], parameters: list[nn.Parameter], warmup: float = 3) -> None:
        self.function, self.parameters, self.stream = function, parameters, torch.cuda.Stream()
        self.warmup, self.calls = warmup, Counter[tuple[Any, ...]]()
        self.graphs: dict[tuple[Any, ...], Captured] = {}

    def __call__(self, *arguments: Any) -> Any:
        flags = tuple(a for a in arguments if not isinstance(a, Tensor))
        self.calls[flags] += 1
        if self.calls[flags] <= self.warmup:
            return self._on_side_stream(arguments)
        if flags not in self.graphs:
            try:
                self.graphs[flags] = self._capture(arguments)
            except RuntimeError as error:  # what cannot be captured can be launched
                log.warning("no CUDA graph, so kernels are launched one by one (%s)", str(error).splitlines()[0])
                self.warmup = math.inf
                return self.function(*arguments)
        captured = self.graphs[flags]
        for buffer, new in zip(captured.buffers, (a for a in arguments if isinstance(a, Tensor)), strict=True):
            buffer.copy_(new)
        captured.graph.replay()
        for p, gradient in zip(self.parameters, captured.gradients, strict=True):
            p.grad = gradient
        return captured.result

    def _on_side_stream(self, arguments: tuple[Any, ...]) -> Any:
        """Runs on the stream of the captures, so that they can reuse its memory."""
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            result = self.function(*arguments)
        torch.cuda.current_stream().wait_stream(self.stream)
        return result

    def _capture(self, arguments: tuple[Any, ...]) -> Captured:
        copies = [a.clone() if isinstance(a, Tensor) else a for a in arguments]
        graph, position = torch.cuda.CUDAGraph(), torch.cuda.get_rng_state()
        with torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"):
            result = self.function(*copies)
        torch.cuda.set_rng_state(position)
        buffers = [a for a in copies if isinstance(a, Tensor)]
        return Captured(graph, buffers, result, [p.grad for p in self.parameters])


def make_capturable(optimizers: Sequence[torch.optim.Optimizer], device: torch.device) -> bool:
    """Keeps step counts and learning rates on the device, where a graph reads them.

    Returns False if an optimizer cannot.
    """
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    if not all("capturable" in group for group in groups):
        log.warning("no CUDA graph, so kernels are launched one by one (the optimizer keeps its state on the host)")
        return False
    for group in groups:
        group["capturable"] = True
        group["lr"] = torch.as_tensor(group["lr"], dtype=torch.float32, device=device)
    warnings.filterwarnings("ignore", message="This instance was constructed with capturable=True")  # the warm-up's
    return True
