"""A pass of the compiler: convolutions with giant kernels become the weight gradients that they are.

The penalty's second derivatives hold gradients of a convolution's weight. Autograd writes them as convolutions of
activations (c, n, h, w) with kernels (o, n, h', w'), as large as the feature maps. cuDNN is known to be slow at these
(pytorch issues 22577, 54840); aten's convolution_backward computes the same with its ordinary kernels.
"""

import operator

import torch
from torch import fx
from torch._inductor.custom_graph_pass import CustomGraphPass, get_hash_for_files

aten = torch.ops.aten
LARGEST = 7  # of the kernels that networks have


class GiantKernels(CustomGraphPass):
    """conv(a, b) = grad_w <b', conv(a', w)>, where ' swaps the first two axes; stride and dilation change places."""

    def __call__(self, graph: fx.Graph) -> None:
        for node in graph.find_nodes(op="call_function", target=aten.convolution.default):
            if is_giant(node):
                replace(graph, node)

    def uuid(self) -> bytes:
        """Returns what the compiler's cache tells this pass by."""
        return get_hash_for_files((__file__,))


def is_giant(node: fx.Node) -> bool:
    _, kernel, bias, *_, transposed, _, groups = node.args
    assert isinstance(kernel, fx.Node)
    size: int = max(kernel.meta["val"].shape[2:])
    return bool(size > LARGEST and bias is None and not transposed and groups == 1)


def replace(graph: fx.Graph, node: fx.Node) -> None:
    x, kernel, _, stride, padding, dilation, _, zeros, groups = node.args
    value, axes = node.meta["val"], [1, 0, *range(2, node.meta["val"].ndim)]
    with graph.inserting_before(node):

        def call(target: object, *args: object, **kwargs: object) -> fx.Node:
            return graph.call_function(target, args, kwargs)  # type: ignore[arg-type]

        swapped = [call(aten.permute.default, tensor, axes) for tensor in (kernel, x)]
        shape = [value.shape[1], value.shape[0], *value.shape[2:]]
        weight = call(aten.empty.memory_format, shape, dtype=value.dtype, device=value.device)  # for its shape
        options = (None, dilation, padding, stride, False, zeros, groups, [False, True, False])
        gradients = call(aten.convolution_backward.default, *swapped, weight, *options)
        found = call(aten.permute.default, call(operator.getitem, gradients, 1), axes)
    node.replace_all_uses_with(found)
    graph.erase_node(node)
