"""Units of arrays, conditions and pixels: how the data's numbers and those of the networks map to one another."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

SCALINGS = ("minmax", "standard", "log", "none")
SPATIAL = ("d", "t", "hw", "dhw", "thw")  # the axes of vectors, signals, fields, volumes and clips, beside n and c
EXACT = (torch.float16, torch.bfloat16, torch.float32, torch.uint8, torch.int8, torch.int16, torch.bool)  # in float32
MOST_CHANNELS = MOST_CLASSES = 2**16
LARGEST_SAMPLE = 2**24  # numbers in one: a volume of 256x256x256


@dataclass(frozen=True, eq=False)
class Units:
    """y = (g(x) - centre) / width by channel, or by column of vectors; g is the identity, or log(x + shift).

    x (n, k, *) are the data's numbers, and y what the networks see. A channel of width 0 is constant: its y is 0, and
    its x is the centre. `axes` are those of the data's file, such as nhwc, and `names` are those of columns.
    """

    scaling: str  # of SCALINGS
    table: Tensor  # (3, k) float64: centre, width, shift
    axes: str
    names: tuple[str, ...] = ()
    dtype: str = "float32"  # of the data's file: float64 if float32 would lose digits

    @property
    def bounded(self) -> bool:
        """Whether y lies in [-1, 1]."""
        return self.scaling == "minmax"

    def to(self, device: torch.device) -> "Units":
        """Returns the same with its table on the device, in float32 where that has no float64."""
        return replace(self, table=self.table.to(device, torch.float32 if device.type == "mps" else torch.float64))

    def apply(self, x: Tensor) -> Tensor:
        """Returns data x (n, k, *) as the networks see them, float32, on the device of the table."""
        dtype = torch.float32 if x.dtype in EXACT else self.table.dtype
        centre, width, shift = self._columns(x.ndim, self.table.dtype)
        x, near = x.to(dtype), centre.to(dtype)
        x = (x + shift.to(dtype)).log() if self.scaling == "log" else x
        x = (x - near) - (centre - near).to(dtype)  # numbers far from 0 are not rounded
        return torch.where(width == 0, 0, x / width.to(dtype)).float()

    def invert(self, y: Tensor) -> Tensor:
        """Returns samples y (n, k, *) of the networks in the data's units, on the CPU in `dtype`."""
        centre, width, shift = self.to(torch.device("cpu"))._columns(y.ndim, torch.float64)
        x = y.detach().cpu().double() * width + centre
        x = (x.exp() - shift).clamp(min=0) if self.scaling == "log" else x
        return x.float() if self.dtype == "float32" else x

    def _columns(self, ndim: int, dtype: torch.dtype) -> tuple[Tensor, ...]:
        return self.table.to(dtype).view(3, -1, *[1] * (ndim - 2)).unbind()

    def state(self) -> dict[str, Any]:
        """Returns plain containers, for the header of a checkpoint."""
        content = {"scaling": self.scaling, "table": self.table.tolist(), "axes": self.axes}
        return content | {"names": list(self.names), "dtype": self.dtype}


def units_of(state: object) -> Units:
    """Returns the units of `Units.state()`. Raises ValueError if the state is invalid: a file may be forged."""
    match state:
        case {"scaling": str(scaling), "table": [*table], "axes": str(axes), "names": [*names], "dtype": str(dtype)}:
            rows = [row if isinstance(row, list) else [] for row in table]
            k = len(rows[0]) if rows else 0
            numbers = all(isinstance(x, float) and math.isfinite(x) for row in rows for x in row)
            sizes = len(rows) == 3 and all(len(row) == k for row in rows) and 1 <= k <= MOST_CHANNELS
            named = all(isinstance(name, str) for name in names) and len(names) in (0, k)
            known = scaling in SCALINGS and is_axes(axes) and dtype in ("float32", "float64")
            if numbers and sizes and named and known:
                return Units(scaling, torch.tensor(rows, dtype=torch.float64), axes, tuple(names), dtype)
    raise ValueError("its header has units that no dataset has")


@dataclass(frozen=True, eq=False)
class Conditions:
    """What a conditional generator is given: numbers (n, k) or pictures (n, c, *size), in `units`.

    `low` and `high` (k,) are the least and the greatest number of each column or channel in the training part, in the
    data's units. `examples` (m, *shape) are some of its conditions as the networks see them, float32.
    """

    units: Units
    low: Tensor
    high: Tensor
    examples: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one condition."""
        return tuple(self.examples.shape[1:])

    def of(self, numbers: Tensor) -> Tensor:
        """Returns the conditions (n, *shape) of the samples of these numbers (n,): the examples in turn."""
        return self.examples[numbers % len(self.examples)]

    def __str__(self) -> str:
        names = f" ({', '.join(self.units.names)})" if self.units.names else ""
        if len(self.shape) == 1:
            return f"{self.shape[0]} number{'s' * (self.shape[0] > 1)}{names}"
        return f"pictures of {'x'.join(map(str, self.shape))}"

    def state(self) -> dict[str, Any]:
        """Returns plain containers and a tensor, for the header of a checkpoint."""
        limits = {"low": self.low.tolist(), "high": self.high.tolist()}
        return {"units": self.units.state(), "examples": self.examples} | limits


def conditions_of(state: object) -> Conditions:
    """Returns the conditions of `Conditions.state()`. Raises ValueError if it is invalid: a file may be forged."""
    match state:
        case {"units": given, "low": [*low], "high": [*high], "examples": Tensor() as examples}:
            units = units_of(given)
            k = units.table.shape[1]
            numbers = all(isinstance(x, float) and math.isfinite(x) for x in [*low, *high])
            plain = examples.dtype == torch.float32 and examples.layout == torch.strided and 2 <= examples.ndim <= 5
            sizes = plain and len(low) == len(high) == k == examples.shape[1] and examples.numel() > 0
            if numbers and sizes and bool(examples.isfinite().all()):
                low, high = torch.tensor([low, high], dtype=torch.float64)
                return Conditions(units, low, high, examples)
    raise ValueError("its header has conditions that no dataset has")


def quantised(x: Tensor) -> Tensor:
    """Returns pixels in [-1, 1], of any shape, as uint8, as the official code: int((x + 1) * 255.99 / 2)."""
    return ((x.float() + 1) * (255.99 / 2)).clamp(0, 255).to(torch.uint8)


def are_clips(shape: Sequence[int], bounded: bool, units: Units | None) -> bool:
    """Returns whether samples are clips (c, t, h, w) of pixels, in [-1, 1]. Volumes have as many axes, and units."""
    return len(shape) == 4 and bounded and units is None


def is_axes(axes: str) -> bool:
    """Returns whether axes such as nd, nt, nct, nhwc or ncdhw name each axis of an array once."""
    return len(set(axes)) == len(axes) and "n" in axes and (axes == "n" or _spatial(axes) is not None)


def _spatial(axes: str) -> str | None:
    """Returns the axes beside n and c, in the order of networks; None if no data have these."""
    beside = set(axes) - {"n", "c"}
    found = next((spatial for spatial in SPATIAL if set(spatial) == beside), None)
    return None if found == "d" and "c" in axes else found


def channels_first(x: Tensor, axes: str) -> Tensor:
    """Returns x with these axes as (n, k) of numbers or vectors, and as (n, c, *spatial) of all else: a view."""
    spatial = _spatial(axes) or ""
    wanted = "n" + ("c" if "c" in axes else "") + spatial
    x = x.permute([axes.index(a) for a in wanted])
    return x if "c" in axes or spatial == "d" else x.unsqueeze(1)


def axes_of_file(x: Tensor, axes: str) -> Tensor:
    """Returns x of `channels_first` with the axes that it had: a view."""
    spatial = _spatial(axes) or ""
    x = x if "c" in axes or spatial == "d" else x.squeeze(1)
    kept = "n" + ("c" if "c" in axes else "") + spatial
    return x.permute([kept.index(a) for a in axes])
