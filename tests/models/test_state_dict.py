"""Weights under the names of PyTorch, against the same networks in NumPy."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import convnet, mlp, resnet
from numpy_layers import convolve, max_pool

from spectral.models import apply_network, from_state_dict, PELU, Point, to_state_dict


KEY = jax.random.key(2)


def drawn_arrays(network: Any, state: Any = None) -> dict[str, np.ndarray]:
    """Random arrays of the shapes of a network. All running variances are positive."""
    rng = np.random.default_rng(0)
    found = to_state_dict(network, model_state=state)
    draw = lambda a: rng.uniform(0.5, 1.5, a.shape) * rng.choice([-1, 1], a.shape)
    return {
        name: a if a.dtype == np.int64 else np.abs(draw(a)) if "var" in name else draw(a)
        for name, a in found.items()
    }


def linear(arrays: dict[str, np.ndarray], name: str, x: np.ndarray) -> np.ndarray:
    return x @ arrays[f"{name}.weight"].T + arrays[f"{name}.bias"]


def batch_norm(arrays: dict[str, np.ndarray], name: str, x: np.ndarray) -> np.ndarray:
    mean, var, scale, shift = (
        arrays[f"{name}.{kind}"][None, :, None, None]
        for kind in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / np.sqrt(var + 1e-5) * scale + shift


def layer_norm(arrays: dict[str, np.ndarray], name: str, x: np.ndarray) -> np.ndarray:
    x = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
    return x * arrays[f"{name}.weight"] + arrays[f"{name}.bias"]


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def assert_equal(network: Any, state: Any, arrays: Any, expected: Any, x: np.ndarray) -> None:
    """The loaded network computes `expected`, and gives back the arrays."""
    loaded, kept = from_state_dict(network, arrays, model_state=state)
    apply = eqx.filter_jit(lambda m, s, x: apply_network(m, s, x, inference=True)[0])
    outputs = apply(loaded, kept, jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(outputs, expected, rtol=2e-4, atol=1e-3)
    again = to_state_dict(loaded, model_state=kept)
    for name, array in arrays.items():
        np.testing.assert_allclose(again[name], array, rtol=1e-6)


def test_an_mlp():
    network, _, shape = mlp(KEY, layer_norm=True)
    arrays = drawn_arrays(network)
    assert sorted(arrays) == sorted(f"{n}.{k}" for n in (0, 1, 3, 4, 6) for k in ("bias", "weight"))
    x = np.random.default_rng(1).normal(size=(3, *shape))
    h = relu(layer_norm(arrays, "1", linear(arrays, "0", x)))
    h = relu(layer_norm(arrays, "4", linear(arrays, "3", h)))
    assert_equal(network, None, arrays, linear(arrays, "6", h), x)


def test_a_convnet():
    """Convolutions 0 and 3, flattening 6, dense layers 7 and 9; channels before positions."""
    network, _, shape = convnet(KEY, padding="valid", channels=(3, 2))
    arrays = drawn_arrays(network)
    assert sorted(arrays) == sorted(f"{n}.{k}" for n in (0, 3, 7, 9) for k in ("bias", "weight"))
    x = np.random.default_rng(1).normal(size=(3, *shape))
    h = x
    for name in ("0", "3"):
        h = max_pool(relu(convolve(h, arrays[f"{name}.weight"], arrays[f"{name}.bias"])))
    assert h[0, 0].size > 1  # otherwise the order of channels and positions would not matter
    h = relu(linear(arrays, "7", h.reshape(len(h), -1)))
    assert_equal(network, None, arrays, linear(arrays, "9", h), x)


def test_a_norm_has_a_number_of_its_own():
    network, _, _ = convnet(KEY, padding="valid", layer_norm=True, dense_sizes=(4,))
    shapes = {name: a.shape for name, a in to_state_dict(network).items()}
    numbers = {int(name.split(".")[0]) for name in shapes}
    assert numbers == {0, 1, 4, 5, 9, 10, 12}
    norms = [shapes[f"{n}.weight"] for n in (1, 5, 10)]
    assert norms == [(3,), (2,), (4,)]


def residual(arrays: dict[str, np.ndarray], x: np.ndarray, *, dense: list[str]) -> np.ndarray:
    """The residual network of two stages of one block in inference mode."""

    def convolved(name: str, x: np.ndarray, stride: int = 1) -> np.ndarray:
        weight = arrays[f"{name}.weight"]
        bias = arrays.get(f"{name}.bias", np.zeros(len(weight)))
        margin = weight.shape[-1] // 2
        return convolve(x, weight, bias, stride=stride, margins=(margin, margin))

    x = relu(batch_norm(arrays, "bn1", convolved("conv1", x)))
    for name, stride in (("layer1.0", 1), ("layer2.0", 2)):
        y = relu(batch_norm(arrays, f"{name}.bn1", convolved(f"{name}.conv1", x, stride)))
        y = batch_norm(arrays, f"{name}.bn2", convolved(f"{name}.conv2", y))
        if stride == 2:
            x = convolved(f"{name}.downsample.0", x, stride)
            x = batch_norm(arrays, f"{name}.downsample.1", x)
        x = relu(x + y)
    x = x.mean((2, 3))
    for name in dense[:-1]:
        x = relu(linear(arrays, name, x))
    return linear(arrays, dense[-1], x)


def test_a_resnet_with_biases_and_dense_layers():
    network, state, shape = resnet(KEY)
    before = [np.asarray(leaf) for leaf in jax.tree.leaves(state)]
    arrays = drawn_arrays(network, state)
    x = np.random.default_rng(1).normal(size=(2, *shape))
    expected = residual(arrays, x, dense=["fc.0", "fc.2"])
    assert_equal(network, state, arrays, expected, x)
    for old, leaf in zip(before, jax.tree.leaves(state), strict=True):
        np.testing.assert_array_equal(old, leaf)


def test_a_resnet_with_the_names_of_torchvision():
    """Its convolutions have no biases, and it counts batches."""
    network, state, shape = resnet(KEY, dense_sizes=())
    drawn = drawn_arrays(network, state)
    is_bias = lambda name: name.endswith(("conv1.bias", "conv2.bias", "downsample.0.bias"))
    arrays = {name: a for name, a in drawn.items() if not is_bias(name)}
    blocks = [f"layer{n}.0.{part}" for n in (1, 2) for part in ("conv1", "bn1", "conv2", "bn2")]
    blocks += ["conv1", "bn1", "layer2.0.downsample.0", "layer2.0.downsample.1", "fc"]
    assert {name.rpartition(".")[0] for name in arrays} == set(blocks)
    assert len(drawn) - len(arrays) == 6
    x = np.random.default_rng(1).normal(size=(2, *shape))
    assert_equal(network, state, arrays, residual(arrays, x, dense=["fc"]), x)


def test_all_that_does_not_fit_is_named_at_once():
    network, state, _ = resnet(KEY)
    arrays = drawn_arrays(network, state)
    del arrays["conv1.bias"], arrays["bn1.running_var"]
    arrays |= {"fc.0.weight": np.ones((4, 4)), "extra": np.ones(2)}
    with pytest.raises(ValueError, match="`arrays` does not fit this ResNet18: ") as error:
        from_state_dict(network, arrays, model_state=state)
    for part in (
        "conv1.bias is missing",
        "bn1.running_var is missing",
        "extra is unknown",
        "fc.0.weight has the shape (4, 4) instead of (3, 4)",
    ):
        assert part in str(error.value)


def test_networks_without_names_are_rejected():
    with pytest.raises(TypeError, match="`network` is a Point, but the names of PyTorch"):
        to_state_dict(Point(jnp.zeros(2)))
    for options in ({"density": 0.5}, {"activation": PELU()}):
        with pytest.raises(ValueError, match="sparse layers or with parameters in its activations"):
            to_state_dict(mlp(KEY, **options).model)
    network, state, _ = resnet(KEY)
    with pytest.raises(ValueError, match="`model_state` is None, but this ResNet18"):
        from_state_dict(network, to_state_dict(network, model_state=state))
