"""The names of the arrays of a network in PyTorch, and where they are here."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax

from ..layers._batch_norm import BatchNorm
from ..layers._sparse import Sparse
from ._convnet import ConvNet
from ._mlp import MLP
from ._resnet import ResNet18


class Place(NamedTuple):
    """A parameter: its name in PyTorch, and where it is, as in `eqx.tree_at`."""

    name: str
    where: Callable[[Any], Any]
    optional: bool = False  # PyTorch may leave it out, which means zeros


class Places(NamedTuple):
    """All parameters of a network, and its BatchNorms by the prefix of their names."""

    parameters: list[Place]
    norms: list[tuple[str, Callable[[Any], BatchNorm]]]


def torch_places(network: Any) -> Places:
    """The names of the arrays of an `MLP`, `ConvNet` or `ResNet18`.

    **Raises:** `TypeError` for another network, `ValueError` if it has sparse layers, or parameters
    that PyTorch's network of the same shape does not have.
    """
    if isinstance(network, MLP):
        found = Places([*_dense(network, "layers", network.norms, "", 0)], [])
    elif isinstance(network, ConvNet):
        found = Places([*_convnet(network)], [])
    elif isinstance(network, ResNet18):
        found = _resnet(network)
    else:
        raise TypeError(
            f"`network` is a {type(network).__name__}, but the names of PyTorch are known for an "
            "`MLP`, `ConvNet` or `ResNet18`: copy the arrays of other networks with `eqx.tree_at`."
        )
    is_sparse = lambda node: isinstance(node, Sparse)
    sparse = any(map(is_sparse, jax.tree.leaves(network, is_leaf=is_sparse)))
    if sparse or len(jax.tree.leaves(eqx.filter(network, eqx.is_inexact_array))) != len(
        found.parameters
    ):
        raise ValueError(
            f"`network` is a {type(network).__name__} with sparse layers or with parameters in its "
            "activations, which PyTorch's network of the same shape does not have: make it with "
            '`density=1` and an activation without parameters, such as `activation="relu"`.'
        )
    return found


def _pair(name: str, where: Callable[[Any], Any], *, optional_bias: bool = False) -> list[Place]:
    """The weight and the bias of a layer or norm."""
    bias = Place(f"{name}.bias", lambda m: where(m).bias, optional_bias)
    return [Place(f"{name}.weight", lambda m: where(m).weight), bias]


def _dense(
    network: Any, field: str, norms: Sequence[Any], prefix: str, start: int, first_norm: int = 0
) -> Iterator[Place]:
    """Layers of an `nn.Sequential`, in which norms and activations have numbers of their own."""
    layers, n = len(getattr(network, field)), start
    for i in range(layers):
        yield from _pair(f"{prefix}{n}", lambda m, i=i: getattr(m, field)[i])
        if i < layers - 1 and norms[i] is not None:
            n += 1
            yield from _pair(f"{prefix}{n}", lambda m, i=i: m.norms[first_norm + i])
        n += 2  # the activation, and the next layer


def _convnet(network: ConvNet) -> Iterator[Place]:
    n, count = 0, len(network.convolutions)
    for i in range(count):
        yield from _pair(f"{n}", lambda m, i=i: m.convolutions[i])
        if network.norms[i] is not None:
            n += 1
            yield from _pair(f"{n}", lambda m, i=i: m.norms[i])
        n += 3 if network.pooling else 2  # the activation, the pooling, and the next layer
    # One number for flattening.
    yield from _dense(network, "dense", network.norms[count:], "", n + 1, first_norm=count)


def _resnet(network: ResNet18) -> Places:
    """The names of torchvision's `resnet18`."""
    parameters, norms = [], []

    def add(layer: tuple[str, Callable], norm: tuple[str, Callable]) -> None:
        parameters.extend(_pair(*layer, optional_bias=True))
        parameters.extend(_pair(*norm))
        norms.append(norm)

    add(("conv1", lambda m: m.stem), ("bn1", lambda m: m.stem_norm))
    for s, stage in enumerate(network.stages):
        for b, block in enumerate(stage):
            name, of = f"layer{s + 1}.{b}", lambda m, s=s, b=b: m.stages[s][b]
            add(
                (f"{name}.conv1", lambda m, of=of: of(m).first),
                (f"{name}.bn1", lambda m, of=of: of(m).first_norm),
            )
            add(
                (f"{name}.conv2", lambda m, of=of: of(m).second),
                (f"{name}.bn2", lambda m, of=of: of(m).second_norm),
            )
            if block.skip is not None:
                add(
                    (f"{name}.downsample.0", lambda m, of=of: of(m).skip),
                    (f"{name}.downsample.1", lambda m, of=of: of(m).skip_norm),
                )
    if len(network.dense) == 1:
        parameters.extend(_pair("fc", lambda m: m.dense[0]))
    else:
        parameters.extend(_dense(network, "dense", network.norms, "fc.", 0))
    return Places(parameters, norms)
