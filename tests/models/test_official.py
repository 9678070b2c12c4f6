"""Our networks in float64 against the official ones, written out in numpy from the formulas (TensorFlow 1, NCHW).

Weights have torch's axes: convolutions (out, in, k, k), transposed ones (in, out, k, k), linear layers (out, in).
"""

import numpy as np
import pytest
import torch

from wgangp.models import char, dcgan, mlp, resnet, resnet101
from wgangp.models.dcgan import rotate_weights


def pad_before(size, kernel, stride):
    """TensorFlow's SAME: the zeros before; what is left of an odd number goes to the end."""
    return max((-(-size // stride) - 1) * stride + kernel - size, 0) // 2


def conv(x, w, b=0, stride=1):
    n, _, size, _ = x.shape
    k, before, out = w.shape[-1], pad_before(size, w.shape[-1], stride), -(-size // stride)
    x = np.pad(x, ((0, 0), (0, 0), (before, k), (before, k)))
    y = np.zeros((n, w.shape[0], out, out))
    for i in range(k):
        for j in range(k):
            part = x[:, :, i : i + out * stride : stride, j : j + out * stride : stride][:, :, :out, :out]
            y += np.einsum("nchw,oc->nohw", part, w[:, :, i, j])
    return y + np.reshape(b, (1, -1, 1, 1))


def deconv(x, w, b):
    """The transpose of a convolution of stride 2 from twice the size."""
    n, _, size, _ = x.shape
    k, before = w.shape[-1], pad_before(2 * size, w.shape[-1], 2)
    y = np.zeros((n, w.shape[1], 2 * size + 2 * k, 2 * size + 2 * k))
    for i in range(k):
        for j in range(k):
            y[:, :, i : i + 2 * size : 2, j : j + 2 * size : 2] += np.einsum("nchw,co->nohw", x, w[:, :, i, j])
    return y[:, :, before : before + 2 * size, before : before + 2 * size] + b.reshape(1, -1, 1, 1)


def normalise(x, axes, scale, offset):
    x = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-5)
    shape = (1, -1) + (1,) * (x.ndim - 2) if np.ndim(scale) == 1 else (*scale.shape, 1, 1)
    return x * scale.reshape(shape) + offset.reshape(shape)


def relu(x):
    return np.maximum(x, 0)


def leaky_relu(x):
    return np.maximum(0.2 * x, x)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gate(x):
    return sigmoid(x[:, ::2]) * np.tanh(x[:, 1::2])


def mean_pool(x):
    return (x[:, :, ::2, ::2] + x[:, :, 1::2, ::2] + x[:, :, ::2, 1::2] + x[:, :, 1::2, 1::2]) / 4


def upsample(x):
    return x.repeat(2, axis=2).repeat(2, axis=3)


def weights(network):
    """Random weights for a network: their numpy copies, as (weight, bias) of layers by name."""
    with torch.no_grad():
        for p in network.double().parameters():
            p.copy_(torch.randn_like(p) / max(1, p[0].numel()) ** 0.5)
    values = {name: p.detach().numpy().copy() for name, p in network.named_parameters()}
    layers = dict.fromkeys(name.rpartition(".")[0] for name in values)
    return {layer: [values[f"{layer}.{k}"] for k in ("weight", "bias") if f"{layer}.{k}" in values] for layer in layers}


def linear(x, w, b):
    return x @ w.T + b


def random(*shape):
    return torch.tensor(np.random.default_rng(0).normal(size=shape))


def check(ours, official):
    np.testing.assert_allclose(ours.detach().numpy(), official, rtol=1e-10, atol=1e-11)


DATA = {"num_classes": 0}
G_DCGAN = {"nz": 6, "width": 4, "max_width": 1024, "std": None, "crop": "end", "unit_range": False}
G_DCGAN |= {"output": "auto", "condition": "norm"}
D_DCGAN = {
    "width": 4,
    "max_width": None,
    "norm": "none",
    "activation": "leaky_relu",
    "std": None,
    "unit_range": False,
    "spectral": False,
    "condition": "auto",
}


def test_mnist_generator():
    options = G_DCGAN | {"norm": "none", "first_norm": "units", "activation": "relu"}
    ours = dcgan.Generator(shape=(1, 28, 28), **DATA, **(options | {"crop": "start", "unit_range": True}))
    w, z = weights(ours), random(3, 6)
    x = relu(linear(z.numpy(), *w["input"])).reshape(3, -1, 4, 4)
    x = relu(deconv(x, *w["deconvs.0"]))[:, :, :7, :7]
    x = sigmoid(deconv(relu(deconv(x, *w["deconvs.1"])), *w["deconvs.2"]))  # in [0, 1]
    rotate_weights(ours)
    check((ours(z).flip(2, 3) + 1) / 2, x)


@pytest.mark.parametrize("activation", ["relu", "gated"])
@pytest.mark.parametrize("first_norm", ["units", "channels"])
def test_dcgan_generators(first_norm, activation):
    """gan_cifar.py normalises the first layer by units, gan_64x64.py by channels."""
    options = G_DCGAN | {"norm": "batch", "first_norm": first_norm, "activation": activation}
    ours = dcgan.Generator(shape=(3, 16, 16), **DATA, **options)
    w, z, act = weights(ours), random(5, 6), relu if activation == "relu" else gate
    x = linear(z.numpy(), *w["input"])
    x = x if first_norm == "units" else x.reshape(5, -1, 4, 4)
    x = normalise(x, 0 if x.ndim == 2 else (0, 2, 3), *w["norms.0.norm"]).reshape(5, -1, 4, 4)
    x = normalise(deconv(act(x), *w["deconvs.0"]), (0, 2, 3), *w["norms.1.norm"])
    x = np.tanh(deconv(act(x), *w["deconvs.1"]))
    rotate_weights(ours)
    check(ours(z).flip(2, 3), x)


@pytest.mark.parametrize("norm", ["none", "layer"])
@pytest.mark.parametrize("size", [28, 32])
def test_dcgan_critics(size, norm):
    ours = dcgan.Critic(shape=(3, size, size), num_classes=2, **(D_DCGAN | {"norm": norm}))
    w, x = weights(ours), random(2, 3, size, size)
    h = leaky_relu(conv(x.numpy(), *w["convs.0"], stride=2))
    for i in (1, 2):
        h = conv(h, *w[f"convs.{i}"], stride=2)
        h = leaky_relu(h if norm == "none" else normalise(h, (1, 2, 3), *w[f"norms.{i}.norm"]))
    rotate_weights(ours)
    check(ours(x.flip(2, 3)), linear(h.reshape(2, -1), *w["output"]))


def test_mnist_critic_takes_pixels_from_0_to_1_and_has_their_gradient():
    data, options = {"shape": (1, 8, 8)} | DATA, D_DCGAN
    ours, plain = dcgan.Critic(**data, **(options | {"unit_range": True})), dcgan.Critic(**data, **options)
    weights(ours)
    plain.double().load_state_dict(ours.state_dict())
    pixels = random(3, 1, 8, 8).sigmoid().requires_grad_()
    x = (2 * pixels.detach() - 1).requires_grad_()
    check(ours(x), 2 * plain(pixels).detach().numpy())
    (gradient,), (official,) = (torch.autograd.grad(f(v).sum(), v) for f, v in ((ours, x), (plain, pixels)))
    check(gradient, official.numpy())


@pytest.mark.parametrize("groups", [1, 2])
def test_cifar_resnet_generator(groups):
    """Conditional; with groups, each half of the batch has its own statistics, as on the code's two devices."""
    options = {
        "nz": 6,
        "width": 4,
        "max_width": 4,
        "norm": "batch",
        "bias": True,
        "he_output": False,
        "output": "auto",
        "condition": "norm",
    }
    ours = resnet.Generator(shape=(3, 16, 16), num_classes=3, batchnorm_groups=groups, **options)
    w, z, y = weights(ours), random(6, 6), torch.arange(6) % 3

    def official(z, y):
        def norm(x, name):
            return normalise(x, (0, 2, 3), w[f"{name}.scale"][0][y], w[f"{name}.offset"][0][y])

        x = linear(z, *w["input"]).reshape(len(z), -1, 4, 4)
        for i in (0, 1):
            h = conv(upsample(relu(norm(x, f"blocks.{i}.norm1"))), *w[f"blocks.{i}.conv1"])
            h = conv(relu(norm(h, f"blocks.{i}.norm2")), *w[f"blocks.{i}.conv2"])
            x = conv(upsample(x), *w[f"blocks.{i}.shortcut"]) + h
        return np.tanh(conv(relu(normalise(x, (0, 2, 3), *w["norm.norm"])), *w["output"]))

    parts = zip(np.split(z.numpy(), groups), np.split(y.numpy(), groups), strict=True)
    check(ours(z, y), np.concatenate([official(*part) for part in parts]))
    for module in ours.modules():  # and samples: statistics of the whole batch
        module.running_mean = module.running_var = None
    check(ours.eval()(z, y), official(z.numpy(), y.numpy()))


def test_cifar_resnet_critic():
    ours = resnet.Critic(shape=(3, 32, 32), num_classes=2, width=4, norm="none", spectral=False, condition="auto")
    w, x = weights(ours), random(2, 3, 32, 32)

    def layer(x, block, name):
        return conv(x, *w[f"blocks.{block}.{name}"])

    h = layer(mean_pool(x.numpy()), 0, "shortcut") + mean_pool(layer(relu(layer(x.numpy(), 0, "conv1")), 0, "conv2"))
    for i in (1, 2, 3):
        residual = layer(relu(layer(relu(h), i, "conv1")), i, "conv2")
        h = mean_pool(layer(h, i, "shortcut")) + mean_pool(residual) if i == 1 else h + residual
    check(ours(x), linear(relu(h).mean((2, 3)), *w["output"]))


def test_the_good_networks_of_64x64():
    options = {
        "nz": 6,
        "width": 4,
        "max_width": 8,
        "norm": "batch",
        "bias": False,
        "he_output": True,
        "output": "auto",
        "condition": "norm",
    }
    ours = resnet.Generator(shape=(3, 16, 16), **DATA, batchnorm_groups=1, **options)
    w, z, axes = weights(ours), random(4, 6), (0, 2, 3)
    x = linear(z.numpy(), *w["input"]).reshape(4, -1, 4, 4)
    for i in (0, 1):
        h = conv(upsample(relu(normalise(x, axes, *w[f"blocks.{i}.norm1.norm"]))), *w[f"blocks.{i}.conv1"])
        h = conv(relu(normalise(h, axes, *w[f"blocks.{i}.norm2.norm"])), *w[f"blocks.{i}.conv2"])
        x = conv(upsample(x), *w[f"blocks.{i}.shortcut"]) + h
    check(ours(z), np.tanh(conv(relu(normalise(x, axes, *w["norm.norm"])), *w["output"])))

    critic = resnet.PyramidCritic(
        shape=(3, 16, 16), **DATA, width=4, max_width=8, norm="layer", spectral=False, condition="auto"
    )
    w, x, axes = weights(critic), random(2, 3, 16, 16), (1, 2, 3)
    h = conv(x.numpy(), *w["blocks.0"])
    for i in (1, 2):
        r = conv(relu(normalise(h, axes, *w[f"blocks.{i}.norm1.norm"])), *w[f"blocks.{i}.conv1"])
        r = conv(relu(normalise(r, axes, *w[f"blocks.{i}.norm2.norm"])), *w[f"blocks.{i}.conv2"])
        h = conv(mean_pool(h), *w[f"blocks.{i}.shortcut"]) + mean_pool(r)
    check(critic(x), linear(h.reshape(2, -1), *w["output"]))


def turned(w):
    """Kernels turned by 180 degrees: the official networks see turned images."""
    return {name: [v[..., ::-1, ::-1] if v.ndim == 4 else v for v in layer] for name, layer in w.items()}


def bottleneck(x, w, axes, resample=None):
    h = conv(relu(x), *w["conv1"])
    h = deconv(relu(h), *w["conv2"]) if resample == "up" else conv(relu(h), *w["conv2"], 2 if resample else 1)
    h = normalise(conv(relu(h), *w["conv3"]), axes, *w["norm.norm"])
    if resample == "up":  # four values of each pixel become 2x2 pixels; turned, the last comes first
        n, _, size, _ = x.shape
        four = conv(x, *w["shortcut.0"]).reshape(n, -1, 2, 2, size, size)[:, :, ::-1, ::-1]
        x = four.transpose(0, 1, 4, 2, 5, 3).reshape(n, -1, 2 * size, 2 * size)
    elif resample == "down":
        x = conv(x, *w["shortcut"], 2)
    return x + 0.3 * h


def block(w, number):
    prefix = f"blocks.{number}."
    return {name.removeprefix(prefix): layer for name, layer in w.items() if name.startswith(prefix)}


def test_resnet101():
    options = {"shape": (3, 8, 8), "width": 8, "blocks": [1, 1]} | DATA
    ours = resnet101.Generator(nz=6, norm="batch", **options)
    w, z = turned(weights(ours)), random(4, 6)
    x = linear(z.numpy(), *w["input"]).reshape(4, -1, 4, 4)[:, :, ::-1, ::-1]
    for i, resample in enumerate((None, "up", None)):
        x = bottleneck(x, block(w, i), (0, 2, 3), resample)
    check(ours(z).flip(2, 3), np.tanh(conv(x, *w["output"]) / 5))

    critic = resnet101.Critic(norm="layer", shortcut_pixel="last", spectral=False, **options)
    w, x = turned(weights(critic)), random(2, 3, 8, 8)
    h = conv(x.numpy(), *w["input"])
    for i, resample in enumerate((None, "down", None)):
        h = bottleneck(h, block(w, i), (1, 2, 3), resample)
    check(critic(x.flip(2, 3)), linear(h[:, :, ::-1, ::-1].reshape(2, -1), *w["output"]) / 5)


def conv1d(x, w, b):
    t, k = x.shape[2], w.shape[2]
    x = np.pad(x, ((0, 0), (0, 0), (k // 2, k // 2)))
    return sum(np.einsum("nct,oc->not", x[:, :, i : i + t], w[:, :, i]) for i in range(k)) + b[:, None]


def test_networks_of_gan_language():
    ours = char.Generator(shape=(7, 12), **DATA, nz=6, width=8, blocks=2)
    critic = char.Critic(shape=(7, 12), **DATA, width=8, blocks=2, spectral=False)
    w, v, z = weights(ours), weights(critic), random(3, 6)

    def blocks(x, w):
        for i in (0, 1):
            x = x + 0.3 * conv1d(relu(conv1d(relu(x), *w[f"blocks.{i}.conv1"])), *w[f"blocks.{i}.conv2"])
        return x

    x = conv1d(blocks(linear(z.numpy(), *w["input"]).reshape(3, 8, 12), w), *w["output"])
    x = np.exp(x) / np.exp(x).sum(1, keepdims=True)
    check(ours(z), x)
    h = blocks(conv1d(x, *v["input"]), v)
    check(critic(torch.tensor(x)), linear(h.reshape(3, -1), *v["output"]))


def test_networks_of_gan_toy():
    for network in (
        mlp.Generator(shape=(2,), **DATA, nz=2, width=8, depth=3, output="auto"),
        mlp.Critic(shape=(2,), **DATA, width=8, depth=3, spectral=False, condition="auto"),
    ):
        w, x = weights(network), random(5, 2)
        h = x.numpy()
        for i in range(3):
            h = relu(linear(h, *w[f"hidden.layers.{i}"]))
        check(network(x), linear(h, *w["output"]))
