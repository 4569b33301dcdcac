"""The networks of `networks.py` defined independently in PyTorch, with equal weights."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import numpy as np
import torch  # pyright: ignore[reportMissingImports]  (an extra)

from spectral import models, tasks


class TorchConvNet(torch.nn.Module):
    def __init__(self, model: models.ConvNet):
        super().__init__()
        convolutions = []
        for layer in model.convolutions:
            out, into, side, _ = layer.weight.shape
            conv = torch.nn.Conv2d(into, out, side, padding=side // 2)
            convolutions += [take(conv, layer), torch.nn.ReLU(), torch.nn.MaxPool2d(2)]
        self.body = torch.nn.Sequential(*convolutions, torch.nn.Flatten(), *dense(model.dense))

    def forward(self, x: Any) -> Any:
        return self.body(x)


class TorchBlock(torch.nn.Module):
    def __init__(self, block: Any):
        super().__init__()
        self.first, self.first_norm = convolution(block.first), norm(block.first_norm)
        self.second, self.second_norm = convolution(block.second), norm(block.second_norm)
        self.skip = torch.nn.Identity()
        if block.skip is not None:
            self.skip = torch.nn.Sequential(convolution(block.skip), norm(block.skip_norm))

    def forward(self, x: Any) -> Any:
        y = torch.relu(self.first_norm(self.first(x)))
        return torch.relu(self.skip(x) + self.second_norm(self.second(y)))


class TorchResNet18(torch.nn.Module):
    def __init__(self, model: models.ResNet18):
        super().__init__()
        blocks = [TorchBlock(block) for stage in model.stages for block in stage]
        stem = [convolution(model.stem), norm(model.stem_norm), torch.nn.ReLU()]
        self.body = torch.nn.Sequential(*stem, *blocks)
        self.head = torch.nn.Sequential(*dense(model.dense))

    def forward(self, x: Any) -> Any:
        return self.head(self.body(x).mean((2, 3)))


def take(theirs: Any, ours: Any) -> Any:
    """Copies the weights of a layer of this library to a layer of PyTorch."""
    with torch.no_grad():
        theirs.weight.copy_(torch.tensor(np.asarray(ours.weight)))
        theirs.bias.copy_(torch.tensor(np.asarray(ours.bias)))
    return theirs


def convolution(layer: Any) -> Any:
    out, into, side, _ = layer.weight.shape
    conv = torch.nn.Conv2d(into, out, side, stride=layer.stride, padding=side // 2)
    return take(conv, layer)


def norm(layer: Any) -> Any:
    made = take(torch.nn.BatchNorm2d(layer.weight.shape[0], momentum=0.1), layer)

    def note(module: Any, inputs: Any, outputs: Any) -> None:
        module.seen = inputs[0].numel() // inputs[0].shape[1]

    made.register_forward_hook(note)
    return made


def dense(layers: Any) -> list[Any]:
    made = []
    for layer in layers:
        out, into = layer.weight.shape
        made += [take(torch.nn.Linear(into, out), layer), torch.nn.ReLU()]
    return made[:-1]


def in_torch(model: Any) -> Any:
    """The PyTorch network with the weights of a network of this library."""
    return TorchConvNet(model) if isinstance(model, models.ConvNet) else TorchResNet18(model)


def runner(model: Any, images: tasks.ImageSet, batch: int, steps: int) -> Callable[[], None]:
    """A function that trains for `steps` steps."""
    net = in_torch(model)
    pixels = torch.tensor(np.asarray(images.train_images)).permute(0, 3, 1, 2).contiguous()
    labels = torch.tensor(np.asarray(images.train_labels)).long()
    optimiser = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9)

    def train() -> None:
        order = torch.randperm(len(labels))
        for i in range(steps):
            rows = order[i * batch : (i + 1) * batch]
            optimiser.zero_grad()
            logits = net(pixels[rows].float() / 255)
            torch.nn.functional.cross_entropy(logits, labels[rows]).backward()
            optimiser.step()

    return train


def differences(
    model: Any, state: Any, logits: Any, grads: Any, inferred: Any, x: np.ndarray, y: np.ndarray
) -> dict[str, float]:
    """Largest differences between the two networks, relative to the largest entry of the array or
    layer."""
    torch.set_default_dtype(torch.float64 if jax.config.read("jax_enable_x64") else torch.float32)
    net = in_torch(model)
    outputs = net(torch.tensor(x))
    torch.nn.functional.cross_entropy(outputs, torch.tensor(y)).backward()
    own = jax.tree.leaves(eqx.filter(grads, eqx.is_inexact_array))
    theirs = [p.grad.numpy() for p in net.parameters()]  # in the same order
    # A bias before a norm has a gradient of rounding errors only, so weight and bias of a layer are
    # compared with the largest gradient of its weight.
    layers = zip(own[::2], own[1::2], theirs[::2], theirs[1::2], strict=True)
    worst = max(
        max(np.abs(w - v).max(), np.abs(b - c).max()) / np.abs(v).max() for w, b, v, c in layers
    )
    found = {"outputs": off(logits, outputs.detach()), "gradients": float(worst)}
    if state is not None:
        found |= statistics(model, state, net)
    net.eval()
    return found | {"inference": off(inferred, net(torch.tensor(x)).detach())}


def off(a: Any, b: Any) -> float:
    a, b = np.asarray(a), np.asarray(b)
    return float(np.abs(a - b).max() / np.abs(b).max())


def statistics(model: Any, state: Any, net: Any) -> dict[str, float]:
    """Largest differences in the running statistics after one batch. The statistics are then copied
    to PyTorch for the comparison in inference, because PyTorch stores the unbiased variance."""
    is_norm = lambda n: isinstance(n, models.BatchNorm)
    ours = [n for n in jax.tree.leaves(model, is_leaf=is_norm) if is_norm(n)]
    theirs = [m for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    worst = {"mean": 0.0, "variance": 0.0}
    for own, other in zip(ours, theirs, strict=True):
        mean, variance = (np.asarray(a) for a in state.get(own.statistics))
        worst["mean"] = max(worst["mean"], off(mean, other.running_mean))
        unbiased = 0.9 + (variance - 0.9) * other.seen / (other.seen - 1)
        worst["variance"] = max(worst["variance"], off(unbiased, other.running_var))
        with torch.no_grad():
            other.running_mean.copy_(torch.tensor(mean))
            other.running_var.copy_(torch.tensor(variance))
    return worst
