"""A pass of the compiler for convolutions on CUDA: weight gradients as such, and no copies between layouts.

The penalty's second derivatives hold gradients of a convolution's weight. Autograd writes them as convolutions of
activations (c, n, h, w) with kernels (o, n, h', w'), as large as the feature maps. cuDNN is known to be slow at these
(pytorch issues 22577, 54840); aten's convolution_backward computes the same with its ordinary kernels.

The compiler gives convolution_backward its inputs in the layout that eager gradients have there. Some of these are
contiguous, where cuDNN wants channels last and copies them: an eighth of the time of a step of cifar10 in bfloat16.
"""

import operator

import torch
from torch import fx
from torch._inductor.custom_graph_pass import CustomGraphPass, get_hash_for_files

aten = torch.ops.aten
LARGEST = 7  # of the kernels that networks have


class Convolutions(CustomGraphPass):
    def __call__(self, graph: fx.Graph) -> None:
        for node in graph.find_nodes(op="call_function", target=aten.convolution.default):
            if is_giant(node):
                replace(graph, node)
        if any(is_channels_last(weight) for weight in graph.find_nodes(op="placeholder")):
            for node in graph.find_nodes(op="call_function", target=aten.convolution_backward.default):
                for tensor in node.args[:2]:
                    ask_for_channels_last(tensor)

    def uuid(self) -> bytes:
        """Returns the key of this pass in the compiler's cache."""
        return get_hash_for_files((__file__,))


def is_giant(node: fx.Node) -> bool:
    _, kernel, bias, *_, transposed, _, groups = node.args
    assert isinstance(kernel, fx.Node)
    size: int = max(kernel.meta["val"].shape[2:])
    return bool(size > LARGEST and bias is None and not transposed and groups == 1)


def replace(graph: fx.Graph, node: fx.Node) -> None:
    """conv(a, b) = grad_w <b', conv(a', w)>, where ' swaps the first two axes; stride and dilation change places."""
    x, kernel, _, stride, padding, dilation, _, zeros, groups = node.args
    value, axes = node.meta["val"], [1, 0, *range(2, node.meta["val"].ndim)]
    with graph.inserting_before(node):

        def call(target: object, *args: object, **kwargs: object) -> fx.Node:
            return graph.call_function(target, args, kwargs)  # type: ignore[arg-type]

        swapped = [before_swap(tensor) or call(aten.permute.default, tensor, axes) for tensor in (kernel, x)]
        shape = [value.shape[1], value.shape[0], *value.shape[2:]]
        weight = call(aten.empty.memory_format, shape, dtype=value.dtype, device=value.device)  # for its shape
        options = (None, dilation, padding, stride, False, zeros, groups, [False, True, False])
        gradients = call(aten.convolution_backward.default, *swapped, weight, *options)
        found = call(aten.permute.default, call(operator.getitem, gradients, 1), axes)
    node.replace_all_uses_with(found)
    graph.erase_node(node)


def before_swap(node: object) -> fx.Node | None:
    """Returns the tensor that `node` is, or is a copy of, with its first two axes swapped; None if it is not such."""
    assert isinstance(node, fx.Node)
    if node.target is aten.clone.default:  # autograd copies the gradients that it swaps
        return before_swap(node.args[0])
    if node.target is aten.permute.default and node.args[1][:2] == [1, 0]:  # type: ignore[index]
        return node.args[0]  # type: ignore[return-value]
    return None


def is_channels_last(node: fx.Node) -> bool:
    example = node.meta["val"]
    four = isinstance(example, torch.Tensor) and example.ndim == 4
    return four and example.is_contiguous(memory_format=torch.channels_last) and not example.is_contiguous()


def ask_for_channels_last(node: object) -> None:
    """The compiler lays a tensor out by the strides of its example; it has no such layout but for 4 axes."""
    assert isinstance(node, fx.Node)
    if (example := node.meta["val"]).ndim == 4:
        node.meta["val"] = example.to(memory_format=torch.channels_last)
