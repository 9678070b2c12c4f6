"""CUDA graphs: all kernels of a step are launched at once."""

import gc
import logging
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.torch_version import TorchVersion

log = logging.getLogger(__name__)

WARM_UP = 2  # calls that choose kernels and create optimizer states, before a capture
Batches = list[tuple[Tensor, ...]]


NO_CODE = (lambda: None).__code__  # of a method that is not written in Python
MODULE = vars(nn.Module()).keys() - {"training"}  # what torch keeps in each module
OF_TORCH = {"training", "p", "momentum"}  # of its layers, what changes if anything does


class Constants:
    """What a graph keeps of its capture, from the attributes of objects.

    They are plain values, such as a float weight of a penalty, and the tensors that are read there, each of which may
    have new content, but not be another tensor; both also in lists and dictionaries. Optimizers have them in their
    groups of weights. An object's `counters` are the names of those that change between steps, and that no step reads.
    """

    def __init__(self, objects: Sequence[object]) -> None:
        self.values = [
            (f"{type(object).__name__}.{name}", attributes, name, copied(value))
            for object in objects
            for attributes in attributes_of(object)
            for name, value in attributes.items()
            if is_read(object, name) and is_kept(value)
        ]

    def changed(self) -> str:
        """Returns what to do about the first one that is another now, such as MeanNorm.weight; "" if none is."""
        for label, attributes, name, value in self.values:
            if not are_same(attributes.get(name), value):
                other = f"name it in the class's counters = ({name!r},) if no step reads it"
                if isinstance(value, Tensor):
                    return f"{label} is another tensor from step to step: write into it, as by copy_(), or {other}"
                return f"{label} changes from step to step: keep it in a tensor on the device, or {other}"
        return ""

    def on_host(self, device: torch.device) -> str:
        """Returns what to do about a number in a tensor that is not on the device; "" if there is none."""
        for label, _, _, value in self.values:
            if isinstance(value, Tensor) and value.ndim == 0 and value.device.type != device.type:
                return f"{label} is a number on the {value.device.type}: register it as a buffer"
        return ""

    def restore(self) -> None:
        for _, attributes, name, value in self.values:
            attributes[name] = copied(value)


def attributes_of(object: object) -> list[dict[str, Any]]:
    """Returns the dictionaries of an object's attributes: of an optimizer its groups, of a module also its buffers."""
    if isinstance(object, torch.optim.Optimizer):
        return object.param_groups
    own = getattr(object, "__dict__", {})
    return [own, own.get("_buffers", {})] if isinstance(object, nn.Module) else [own]


def is_read(object: Any, name: str) -> bool:
    """Whether a step may read the attribute of this name. Of a dataset it is what the code of `make` names."""
    if isinstance(object, torch.optim.Optimizer):
        return name not in ("params", "initial_lr")  # from which the tensor of the rate is filled
    if isinstance(object, nn.Module):
        known = OF_TORCH | vars(object).get("_buffers", {}).keys()
        if name in MODULE or (type(object).__module__.startswith("torch.") and name not in known):
            return False
    if hasattr(object, "fetch") and name not in getattr(object.make, "__code__", NO_CODE).co_names:  # a dataset
        return False
    return name not in getattr(object, "counters", ())


def is_kept(value: object) -> bool:
    """Whether it is a plain value or a tensor, or has them; not what a forward pass has left, with its graph."""
    if isinstance(value, list | tuple):
        return all(map(is_kept, value))
    if isinstance(value, dict):
        return all(map(is_kept, value.values()))
    if isinstance(value, Tensor):
        return value.grad_fn is None
    return value is None or isinstance(value, bool | int | float | str | np.generic)


def copied(value: Any) -> Any:
    """Returns the value; lists and dictionaries as copies, of the same tensors."""
    if isinstance(value, dict):
        return {key: copied(part) for key, part in value.items()}
    return [*map(copied, value)] if isinstance(value, list) else value


def are_same(now: Any, before: Any) -> bool:
    if isinstance(before, Tensor):
        return now is before
    if isinstance(before, list | tuple):
        return isinstance(now, list | tuple) and len(now) == len(before) and all(map(are_same, now, before))
    if isinstance(before, dict):
        return (
            isinstance(now, dict) and now.keys() == before.keys() and all(are_same(now[k], before[k]) for k in before)
        )
    return bool(now is before or now == before)  # a NaN is itself


@dataclass
class Captured:
    graph: torch.cuda.CUDAGraph
    inputs: Batches  # what it reads
    result: Any
    gradients: list[Tensor | None]
    addresses: list[int]
    constants: "Constants"


class Replayed:
    """function(flags, batches), replayed as a CUDA graph: one graph for each value of the flags.

    The first calls run the function itself. Later ones copy the batches to where the graph reads them, and replay it.
    The next call overwrites the result, and the gradients of `parameters`. All graphs share a stream and a memory pool.
    `live()` returns the tensors that the function changes: the networks and the optimizers' states. `objects` are those
    whose attributes it reads: if one becomes another, there are no graphs from then on. Random numbers equal the
    function's, since a replay reads the seed and the position of torch's generator.
    """

    def __init__(
        self,
        function: Callable[[tuple[bool, ...], Batches], Any],
        parameters: Sequence[nn.Parameter],
        live: Callable[[], list[Tensor]],
        objects: Sequence[object],
    ) -> None:
        self.function, self.parameters, self.live, self.objects = function, parameters, live, objects
        self.stream, self.possible = torch.cuda.Stream(), True
        self.forget()

    def forget(self) -> None:
        """Drops all graphs, as is needed after optimizer states were replaced."""
        self.pool = torch.cuda.graph_pool_handle()
        self.calls, self.graphs = Counter[tuple[bool, ...]](), dict[tuple[bool, ...], Captured]()
        self.last: Captured | None = None  # whose gradients the parameters have

    def __call__(self, flags: tuple[bool, ...], batches: Batches) -> Any:
        with torch.cuda.device(self.stream.device):
            return self._call(flags, batches)

    def _call(self, flags: tuple[bool, ...], batches: Batches) -> Any:
        self.calls[flags] += 1
        captured = self.graphs.get(flags)
        if captured is not None and (advice := captured.constants.changed()):
            captured = None
            self._give_up(advice)
        if captured is None and self.possible and self.calls[flags] > WARM_UP:
            captured = self._capture(flags, batches)
        if captured is None:
            self.last = None
            return self._launch(flags, batches)
        copy_batches(captured.inputs, batches)
        captured.graph.replay()
        if captured is not self.last:
            for p, gradient in zip(self.parameters, captured.gradients, strict=True):
                p.grad = gradient
            self.last = captured
        return captured.result

    def check(self) -> None:
        """Raises RuntimeError if a graph reads other memory than that of the networks and optimizers of today."""
        now = self._addresses()
        if any(captured.addresses != now for captured in self.graphs.values()):
            raise RuntimeError(
                "a weight or an optimizer's state has moved in memory since its CUDA graph was captured, so the graph "
                "trains nothing: keep them in place, or set cuda_graphs=false"
            )

    def _addresses(self) -> list[int]:
        return [t.data_ptr() for t in self.live()]

    def _launch(self, flags: tuple[bool, ...], batches: Batches) -> Any:
        """Runs the function on the stream of the captures, so that they can reuse its memory."""
        if not self.possible:
            return self.function(flags, batches)
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            result = self.function(flags, batches)
        torch.cuda.current_stream().wait_stream(self.stream)
        return result

    def _capture(self, flags: tuple[bool, ...], batches: Batches) -> Captured | None:
        """Returns the graph; None if this function cannot be captured, so that its kernels are launched."""
        constants = Constants(self.objects)
        copies = [tuple(t.clone() for t in batch) for batch in batches]
        graph, position = torch.cuda.CUDAGraph(), torch.cuda.get_rng_state()
        reason = ""
        try:
            # The outer `with` leaves the side stream if the capture fails, which torch.cuda.graph does not.
            with torch.cuda.stream(torch.cuda.current_stream()), warnings.catch_warnings():
                warnings.filterwarnings("error", message="The CUDA Graph is empty")
                options: dict[str, Any] = {"stream": self.stream, "capture_error_mode": "thread_local"}
                with torch.cuda.graph(graph, pool=self.pool, **options):
                    result = self.function(flags, copies)
        except UserWarning as error:
            raise RuntimeError("a CUDA graph without kernels: is the device the current one?") from error
        except RuntimeError as error:
            reason = f"{error} ".splitlines()[0].strip() or type(error).__name__
        if reason and torch.__version__ < TorchVersion("2.13"):  # its random numbers would stay those of the capture
            raise RuntimeError(f"{reason}: this step cannot be a CUDA graph; set cuda_graphs=false, or use torch 2.13")
        torch.cuda.set_rng_state(position)
        if advice := constants.changed() or constants.on_host(self.stream.device):
            reason = reason or advice
            constants.restore()  # a tensor of the capture has no content
        if reason:  # after the handler, whose traceback holds the memory of the capture
            self._give_up(reason)
            return None
        gradients = [p.grad for p in self.parameters]
        self.graphs[flags] = Captured(graph, copies, result, gradients, self._addresses(), constants)
        return self.graphs[flags]

    def _give_up(self, reason: str) -> None:
        log.warning("no CUDA graph, so kernels are launched one by one (%s)", reason)
        self.possible = False
        self.forget()
        for p in self.parameters:
            p.grad = None
        gc.collect()
        torch.cuda.empty_cache()


def copy_batches(inputs: Batches, batches: Batches) -> None:
    """Copies fetched batches to where a graph reads them. Raises ValueError if one has another shape than before."""
    to, new = ([t for batch in them for t in batch] for them in (inputs, batches))
    for a, b in zip(to, new, strict=True):
        if a.shape != b.shape:
            raise ValueError(
                f"the dataset's fetch returns {tuple(b.shape)} after {tuple(a.shape)}: make all batches of one shape, "
                "or set cuda_graphs=false"
            )
    if to:
        torch._foreach_copy_(to, new)


def make_capturable(optimizers: Sequence[torch.optim.Optimizer], device: torch.device) -> bool:
    """Keeps step counts and learning rates on the device, where a graph reads them.

    Returns False if an optimizer cannot.
    """
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    others = [type(optimizer).__name__ for optimizer in optimizers if "capturable" not in optimizer.defaults]
    if others:
        log.warning(
            "no CUDA graph, so kernels are launched one by one (%s has no option capturable: take Adam or RMSprop)",
            others[0],
        )
        return False
    for group in groups:
        group["capturable"] = True
        group.setdefault("initial_lr", group["lr"])
        group["lr"] = torch.as_tensor(group["lr"], dtype=torch.float32, device=device)
    warnings.filterwarnings("ignore", message="This instance was constructed with capturable=True")  # the warm-up's
    return True
