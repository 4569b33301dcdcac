"""Slices of a loss, and the spectrum of a loss in any training loop."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from curvature_cases import normal
from jax.tree_util import Partial
from layered_networks import drawn

from spectral.curvature import (
    Dense,
    filter_normalised_direction,
    Hessian,
    Lanczos,
    loss_landscape,
    Risk,
    spectrum_of,
    SquaredError,
)


def quadratic(matrix, params):
    x = jnp.concatenate([params["a"].ravel(), params["b"]])
    return x @ matrix @ x / 2


def symmetric(dim):
    root = np.random.default_rng(0).normal(size=(dim, dim))
    return root + root.T


def parameters(seed=0):
    rng = np.random.default_rng(seed)
    return {"a": normal(rng, 2, 2), "b": normal(rng, 3)}


@pytest.mark.usefixtures("float64")
def test_slices_of_a_quadratic():
    params, first, second = (parameters(seed) for seed in range(3))
    matrix = symmetric(7)
    x, y = np.linspace(-1, 2, 5), jnp.asarray(np.linspace(0, 1, 3))
    flat = lambda p: np.concatenate([np.ravel(p["a"]), p["b"]])
    points = np.array([[flat(params) + s * flat(first) + t * flat(second) for t in y] for s in x])
    expected = np.einsum("xyi,ij,xyj->xy", points, matrix, points) / 2
    loss = Partial(quadratic, jnp.asarray(matrix))
    plane = loss_landscape(loss, params, [first, second], x, y, batch_size=4)
    np.testing.assert_allclose(plane, expected, rtol=1e-12)
    line = loss_landscape(loss, params, [first], x)
    np.testing.assert_allclose(line, expected[:, 0], rtol=1e-12)
    # The second difference along an eigenvector is its eigenvalue.
    values, vectors = np.linalg.eigh(matrix)
    top = {"a": jnp.asarray(vectors[:4, -1]).reshape(2, 2), "b": jnp.asarray(vectors[4:, -1])}
    left, middle, right, *_ = loss_landscape(loss, params, [top], np.array([-1.0, 0, 1, 2, 3]))
    np.testing.assert_allclose(left - 2 * middle + right, values[-1], rtol=1e-9)


def forward(model, inputs):
    return jax.vmap(model)(inputs)


@pytest.mark.usefixtures("float64")
def test_the_landscape_of_a_network_in_batches_of_data():
    # The network contains activation functions, and the direction is a network.
    rng = np.random.default_rng(0)
    make = lambda key: eqx.nn.MLP(3, 2, 4, 1, activation=jnp.tanh, key=key)
    model, direction = drawn(make, rng), drawn(make, rng)
    inputs = rng.normal(size=(5, 3))
    risk = Risk(forward, SquaredError(), inputs, jnp.asarray(np.zeros((5, 2))), batch_size=2)
    line = loss_landscape(risk, model, [direction], np.array([0.0, 0.5]))
    arrays = lambda m: [[np.asarray(layer.weight), np.asarray(layer.bias)] for layer in m.layers]
    for loss, size in zip(line, (0.0, 0.5), strict=True):
        (w, b), (v, c) = (
            [p + size * d for p, d in zip(*pair, strict=True)]
            for pair in zip(arrays(model), arrays(direction), strict=True)
        )
        outputs = np.tanh(inputs @ w.T + b) @ v.T + c
        np.testing.assert_allclose(loss, np.mean(np.sum(outputs**2, axis=1) / 2), rtol=1e-12)


class Counting(eqx.Module):
    """A loss that records how often it is traced."""

    traces: list = eqx.field(static=True)

    def __call__(self, params, *batch):
        self.traces.append(1)
        return jnp.sum(params["b"] ** 2) * sum((jnp.sum(x) for x in jax.tree.leaves(batch)), 1.0)


def test_new_parameters_compile_nothing():
    loss = Counting([])
    for seed in range(3):
        params = parameters(seed)
        loss_landscape(loss, params, [parameters(seed + 1)], np.arange(3.0) + seed)
    assert len(loss.traces) <= 2  # `lax.map` traces its function twice at most


def direction_of(params, *, key, output_axis=0):
    """In one program, which also shows that it may be compiled."""
    run = lambda params, key: filter_normalised_direction(params, key=key, output_axis=output_axis)
    return jax.tree.map(np.asarray, eqx.filter_jit(run)(params, key))


def test_directions_have_the_norms_of_the_filters(getkey):
    rng, matrix = np.random.default_rng(0), jnp.asarray([[3.0, 4.0], [0.0, 0.0], [1.0, 0.0]])
    params = {
        "matrix": matrix,
        "filters": normal(rng, 4, 3, 2, 2),
        "bias": normal(rng, 3),
        "scale": normal(rng),
        "twin": matrix,
    }
    direction = direction_of(params, key=getkey())
    for name, axes in (("matrix", 1), ("filters", (1, 2, 3))):
        norms = [np.sqrt(np.sum(np.square(d[name]), axis=axes)) for d in (direction, params)]
        np.testing.assert_allclose(*norms, rtol=1e-6)
    assert (direction["bias"] == 0).all()
    assert direction["scale"] == 0
    assert not np.allclose(direction["matrix"], direction["twin"])
    by_column = direction_of({"matrix": matrix}, key=getkey(), output_axis=-1)
    tiny = direction_of({"matrix": 1e-25 * matrix}, key=getkey(), output_axis=-1)
    norms = np.linalg.norm(1e25 * tiny["matrix"], axis=0)
    np.testing.assert_allclose(norms, [10**0.5, 4.0], rtol=1e-5)
    norms = np.linalg.norm(by_column["matrix"], axis=0)
    np.testing.assert_allclose(norms, [10**0.5, 4.0], rtol=1e-6)


def test_directions_leave_the_biases_of_convolutions_alone(getkey):
    """Some have the shape of weights: that of a convolution in one dimension is `[channels, 1]`."""
    makes = [
        lambda key: eqx.nn.Conv1d(2, 3, 2, key=key),
        lambda key: eqx.nn.ConvTranspose2d(2, 3, 2, key=key),
        lambda key: eqx.nn.Linear(1, 3, key=key),
    ]
    model = drawn(lambda key: [make(key) for make in makes], np.random.default_rng(0))
    direction = direction_of(eqx.filter(model, eqx.is_array), key=getkey())
    for layer in direction:
        assert (layer.bias == 0).all()
        assert (layer.weight != 0).all()
    np.testing.assert_allclose(np.abs(direction[2].weight), np.abs(model[2].weight), 1e-6)


def test_directions_are_gaussian(getkey):
    params = {"w": jnp.asarray(np.ones((20_000, 5), np.float32))}
    direction = direction_of(params, key=getkey())["w"]
    # Uniform on the sphere of radius sqrt(5): entries of mean 0, variance 1, kurtosis 15/7.
    np.testing.assert_allclose(np.mean(direction, axis=0), 0, atol=0.03)
    np.testing.assert_allclose(np.cov(direction.T), np.eye(5), atol=0.03)
    np.testing.assert_allclose(np.mean(direction**4), 15 / 7, rtol=0.03)


def test_bad_arguments_of_landscapes():
    params = parameters()
    x = np.arange(3.0)
    loss = lambda p: jnp.sum(p["a"] ** 2)
    with pytest.raises(ValueError, match="There are 1 `directions` and 2 arrays of `coordinates`"):
        loss_landscape(loss, params, [params], x, x)
    with pytest.raises(ValueError, match="There are 0 `directions`"):
        loss_landscape(loss, params, [])
    with pytest.raises(ValueError, match=r"`directions\[1\]` has the structure"):
        loss_landscape(loss, params, [params, {"a": params["a"]}], x, x)
    with pytest.raises(ValueError, match=r"`directions\[0\]` has the structure"):
        loss_landscape(loss, params, [params | {"a": np.ones((2, 3), np.float32)}], x)
    for bad in (np.ones((2, 2)), np.ones(()), np.ones(0)):
        with pytest.raises(ValueError, match=r"`coordinates\[1\]` has the shape .*one axis"):
            loss_landscape(loss, params, [params, params], x, bad)
    with pytest.raises(ValueError, match="`params` has an array of int32"):
        loss_landscape(loss, {"a": np.arange(3, dtype=np.int32)}, [params], x)
    with pytest.raises(ValueError, match="`batch_size` is 0"):
        loss_landscape(loss, params, [params], x, batch_size=0)
    with pytest.raises(ValueError, match="`loss` returned an array of float32"):
        loss_landscape(lambda p: p["a"], params, [params], x)


def mean_loss(params, batch):
    x, y = batch
    return jnp.mean(jnp.sum((jnp.tanh(x @ params["w"]) - y) ** 2, axis=1))


@pytest.mark.usefixtures("float64")
def test_the_spectrum_of_a_loss(getkey):
    rng = np.random.default_rng(0)
    params = {"w": normal(rng, 3, 2)}
    batch = normal(rng, 5, 3), rng.normal(size=(5, 2))
    spectrum = spectrum_of(mean_loss, params, batch, estimator=Dense(), key=getkey())
    hessian = jax.jit(jax.hessian(lambda w: mean_loss({"w": w.reshape(3, 2)}, batch)))
    expected = np.linalg.eigvalsh(hessian(params["w"].ravel()))
    np.testing.assert_allclose(spectrum.quadrature()[0][0], expected, rtol=1e-9)


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_the_default_estimator_is_lanczos(getkey):
    rng, key = np.random.default_rng(0), getkey()
    params, batch = {"w": normal(rng, 3, 2)}, (normal(rng, 5, 3), normal(rng, 5, 2))
    by_default = spectrum_of(mean_loss, params, batch, key=key)
    expected = Lanczos()(Hessian(Partial(_with_batch, batch), params), key=key)
    np.testing.assert_allclose(by_default.quadrature()[0], expected.nodes, rtol=1e-9)


def _with_batch(batch, params):
    return mean_loss(params, batch)


@pytest.mark.slow
def test_the_spectrum_of_a_whole_network(getkey):
    def network_loss(model, batch):
        return jnp.mean(jax.vmap(model)(batch["x"]) ** 2)

    model = eqx.nn.MLP(3, 2, 4, 1, activation=jnp.tanh, key=getkey())
    batch, estimator = {"x": jnp.ones((2, 3))}, Lanczos(order=5)
    assert spectrum_of(network_loss, model, batch, estimator=estimator, key=getkey()).dim == 26


def test_a_training_loop_compiles_once(getkey):
    loss = Counting([])
    counts = []
    for step in range(3):
        batch = {"x": np.full((4, 2), step), "rate": 0.1 * step}
        spectrum_of(loss, parameters(step), batch, estimator=Dense(), key=getkey())
        counts.append(len(loss.traces))
    assert counts[0] == counts[-1] > 0


def test_bad_losses_and_batches(getkey):
    params, key = {"w": jnp.asarray(np.ones((3, 2), np.float32))}, getkey()
    batch = np.ones((5, 3), np.float32), np.zeros((5, 2), np.float32)
    empty = np.ones((0, 3)), np.zeros((0, 2))
    with pytest.raises(ValueError, match=r"`batch` has an array of shape \(0, 3\) at \[0\]"):
        spectrum_of(mean_loss, params, empty, key=key)
    with pytest.raises(ValueError, match="`params` has an array of int32"):
        spectrum_of(mean_loss, {"w": np.ones((3, 2), np.int32)}, batch, key=key)
    with pytest.raises(ValueError, match=r"`loss` returned an array of float32 \(5, 2\)"):
        spectrum_of(lambda p, b: b[0] @ p["w"] - b[1], params, batch, key=key)
    spectrum = lambda p: spectrum_of(mean_loss, p, batch, estimator=Dense(), key=key)
    nan = {"w": jnp.asarray(np.full((3, 2), np.nan, np.float32))}
    with pytest.raises(ValueError, match="Hessian of `loss` is not finite .* the loss is nan"):
        spectrum(nan)
    # Nothing can be raised inside a compiled program.
    ends = eqx.filter_jit(lambda p: spectrum(p).range())(nan)
    assert np.isnan(ends).all()
