"""Reads torch's files as data alone. Refuses a file whose tensors need more memory than it has bytes."""

import io
import zipfile
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

MOST_NODES = 10**6  # containers and values of a file: a list that holds itself twice, 50 times over, has 2^50


def load_bounded(content: bytes) -> Any:
    """Returns what a file of `torch.save` holds, on the CPU.

    Raises ValueError if the archive expands to more bytes than the file has, as torch itself never writes, or its
    tensors need more, as expanded views do; and what `torch.load` raises for other files.
    """
    file = io.BytesIO(content)
    zipped = content.startswith(b"PK") or zipfile.is_zipfile(file)  # else a file of torch before 1.6: others' weights
    if zipped and sum(member.file_size for member in zipfile.ZipFile(file).infolist()) > len(content):
        raise ValueError("it expands to more bytes than the file has")
    file.seek(0)  # is_zipfile reads the end
    loaded = torch.load(file, map_location="cpu", weights_only=True)
    if sum(tensor.nbytes for tensor in tensors_of(loaded)) > len(content):
        raise ValueError("its tensors need more memory than the file has bytes")
    return loaded


def tensors_of(root: Any) -> Iterator[Tensor]:
    """Yields the tensors in nested containers, tied ones once. Raises ValueError if nodes are more than MOST_NODES."""
    left, seen, met = [root], 0, set[Any]()
    while left:
        node, seen = left.pop(), seen + 1
        if seen + len(left) > MOST_NODES:
            raise ValueError(f"it holds more than {MOST_NODES:,} values")
        if isinstance(node, Tensor):
            if (memory := (node.data_ptr(), node.shape, node.stride())) not in met:
                met.add(memory)
                yield node
        elif isinstance(node, dict | list | tuple):
            left.extend(node.values() if isinstance(node, dict) else node)
