"""Slices of a loss, and the call that finds the spectrum of a loss in other people's loops."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from spectral import studies
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


def parameters(key):
    return {"a": jax.random.normal(key, (2, 2)), "b": jnp.arange(3.0)}


@pytest.mark.usefixtures("float64")
def test_slices_of_a_quadratic(getkey):
    params, first, second = (parameters(getkey()) for _ in range(3))
    matrix = symmetric(7)
    x, y = np.linspace(-1, 2, 5), jnp.linspace(0, 1, 3)
    flat = lambda p: np.concatenate([p["a"].ravel(), p["b"]])
    points = np.array([[flat(params) + s * flat(first) + t * flat(second) for t in y] for s in x])
    expected = np.einsum("xyi,ij,xyj->xy", points, matrix, points) / 2
    loss = Partial(quadratic, jnp.asarray(matrix))
    plane = loss_landscape(loss, params, [first, second], x, y, batch_size=4)
    np.testing.assert_allclose(plane, expected, rtol=1e-12)
    line = loss_landscape(loss, params, [first], x)
    np.testing.assert_allclose(line, expected[:, 0], rtol=1e-12)


@pytest.mark.usefixtures("float64")
def test_the_second_difference_along_an_eigenvector_is_its_eigenvalue(getkey):
    params, matrix = parameters(getkey()), symmetric(7)
    loss = Partial(quadratic, jnp.asarray(matrix))
    values, vectors = np.linalg.eigh(np.asarray(Hessian(loss, params).dense()))
    top = {"a": jnp.asarray(vectors[:4, -1]).reshape(2, 2), "b": jnp.asarray(vectors[4:, -1])}
    left, middle, right = loss_landscape(loss, params, [top], jnp.array([-1.0, 0.0, 1.0]))
    np.testing.assert_allclose(left - 2 * middle + right, values[-1], rtol=1e-9)


def forward(model, inputs):
    return jax.vmap(model)(inputs)


@pytest.mark.usefixtures("float64")
def test_the_landscape_of_a_network_in_chunks_of_data(getkey):
    # Activation functions inside the network, and a direction that is a network.
    model = eqx.nn.MLP(3, 2, 4, 1, activation=jnp.tanh, key=getkey())
    inputs, targets = jax.random.normal(getkey(), (5, 3)), jnp.zeros((5, 2))
    risk = Risk(forward, SquaredError(), inputs, targets, batch_size=2)
    direction = filter_normalised_direction(model, key=getkey())
    line = loss_landscape(risk, model, [direction], jnp.array([0.0, 0.5]))
    moved = eqx.apply_updates(model, jax.tree.map(lambda d: d / 2, direction))
    expected = [jnp.mean(jnp.sum(forward(m, inputs) ** 2, axis=1) / 2) for m in (model, moved)]
    np.testing.assert_allclose(line, expected, rtol=1e-12)
    towards_zero = loss_landscape(risk, model, [model], jnp.array([-1.0]))
    np.testing.assert_allclose(towards_zero, 0, atol=1e-12)


class Counting(eqx.Module):
    """A loss that says how often it is traced."""

    traces: list = eqx.field(static=True)

    def __call__(self, params, *batch):
        self.traces.append(1)
        return jnp.sum(params["b"] ** 2) * sum((jnp.sum(x) for x in jax.tree.leaves(batch)), 1.0)


def test_new_parameters_compile_nothing(getkey):
    loss = Counting([])
    params = parameters(getkey())
    for _ in range(3):
        params = jax.tree.map(lambda x: x + 1, params)
        loss_landscape(loss, params, [parameters(getkey())], jnp.arange(3.0) + params["b"])
    assert len(loss.traces) <= 2  # `lax.map` traces its function twice at most


def test_directions_have_the_norms_of_the_filters(getkey):
    params = {
        "matrix": jnp.array([[3.0, 4.0], [0.0, 0.0], [1.0, 0.0]]),
        "filters": jax.random.normal(getkey(), (4, 3, 2, 2)),
        "bias": jnp.ones(3),
        "scale": jnp.array(2.0),
        "twin": jnp.array([[3.0, 4.0], [0.0, 0.0], [1.0, 0.0]]),
    }
    direction = filter_normalised_direction(params, key=getkey())
    for name, axes in (("matrix", 1), ("filters", (1, 2, 3))):
        norms = [jnp.sqrt(jnp.sum(d[name] ** 2, axis=axes)) for d in (direction, params)]
        np.testing.assert_allclose(*norms, rtol=1e-6)
    assert (direction["bias"] == 0).all()
    assert direction["scale"] == 0
    assert not np.allclose(direction["matrix"], direction["twin"])
    by_column = filter_normalised_direction(params, key=getkey(), output_axis=-1)
    np.testing.assert_allclose(
        jnp.linalg.norm(by_column["matrix"], axis=0), [10**0.5, 4.0], rtol=1e-6
    )


def test_directions_leave_the_biases_of_convolutions_alone(getkey):
    """Some have the shape of weights: that of a convolution in one dimension is `[channels, 1]`."""
    for layer in (eqx.nn.Conv1d, eqx.nn.ConvTranspose2d):
        model = [layer(2, 3, 2, key=getkey()), eqx.nn.Linear(1, 3, key=getkey())]
        direction = filter_normalised_direction(eqx.filter(model, eqx.is_array), key=getkey())
        assert (direction[0].bias == 0).all()
        assert (direction[0].weight != 0).all()
        np.testing.assert_allclose(jnp.abs(direction[1].weight), jnp.abs(model[1].weight), 1e-6)
        assert (direction[1].bias == 0).all()


def test_directions_are_gaussian(getkey):
    params = {"w": jnp.ones((20_000, 5))}
    direction = filter_normalised_direction(params, key=getkey())["w"]
    # Uniform on the sphere of radius sqrt(5): entries of mean 0, variance 1, kurtosis 15/7.
    np.testing.assert_allclose(np.mean(direction, axis=0), 0, atol=0.03)
    np.testing.assert_allclose(np.cov(direction.T), np.eye(5), atol=0.03)
    np.testing.assert_allclose(np.mean(direction**4), 15 / 7, rtol=0.03)


def test_landscapes_that_are_refused(getkey):
    params = parameters(getkey())
    x = jnp.arange(3.0)
    loss = lambda p: jnp.sum(p["a"] ** 2)
    with pytest.raises(ValueError, match="There are 1 `directions` and 2 arrays of `coordinates`"):
        loss_landscape(loss, params, [params], x, x)
    with pytest.raises(ValueError, match="There are 0 `directions`"):
        loss_landscape(loss, params, [])
    with pytest.raises(ValueError, match=r"`directions\[1\]` has the structure"):
        loss_landscape(loss, params, [params, {"a": params["a"]}], x, x)
    with pytest.raises(ValueError, match=r"`directions\[0\]` has the structure"):
        loss_landscape(loss, params, [params | {"a": jnp.ones((2, 3))}], x)
    for bad in (jnp.ones((2, 2)), jnp.ones(()), jnp.ones(0)):
        with pytest.raises(ValueError, match=r"`coordinates\[1\]` has the shape .*one axis"):
            loss_landscape(loss, params, [params, params], x, bad)
    with pytest.raises(ValueError, match="`params` has an array of int32"):
        loss_landscape(loss, {"a": jnp.arange(3)}, [params], x)
    with pytest.raises(ValueError, match="`batch_size` is 0"):
        loss_landscape(loss, params, [params], x, batch_size=0)
    with pytest.raises(ValueError, match="`loss` returned an array of float32"):
        loss_landscape(lambda p: p["a"], params, [params], x)


def test_the_figure_of_landscapes(tmp_path):
    x, y = np.linspace(-1, 1, 4), jnp.linspace(-2, 2, 5)
    bowl = np.asarray(x)[:, None] ** 2 + np.asarray(y)[None] ** 2
    broken = np.where(bowl > 3, np.nan, bowl)
    planes = {"bowl": jnp.asarray(bowl), "broken": broken}
    files = studies.draw_landscapes(planes, x, y, tmp_path / "new" / "plane", ceiling=4.0)
    assert [f.name for f in files] == ["plane.png", "plane.pdf"]
    assert all(f.stat().st_size > 1000 for f in files)
    with pytest.raises(ValueError, match="`landscapes` is empty"):
        studies.draw_landscapes({}, x, y, tmp_path / "plane")
    with pytest.raises(ValueError, match=r"'turned' has the shape \(5, 4\) and 20 finite losses"):
        studies.draw_landscapes({"turned": bowl.T}, x, y, tmp_path / "plane")
    with pytest.raises(ValueError, match=r"'lost' has the shape \(4, 5\) and 0 finite losses"):
        studies.draw_landscapes({"lost": np.full((4, 5), np.nan)}, x, y, tmp_path / "plane")


def mean_loss(params, batch):
    x, y = batch
    return jnp.mean(jnp.sum((jnp.tanh(x @ params["w"]) - y) ** 2, axis=1))


@pytest.mark.usefixtures("float64")
def test_the_spectrum_of_a_loss_is_that_of_its_hessian(getkey):
    params = {"w": jax.random.normal(getkey(), (3, 2))}
    batch = jax.random.normal(getkey(), (5, 3)), np.random.default_rng(0).normal(size=(5, 2))
    spectrum = spectrum_of(mean_loss, params, batch, estimator=Dense(), key=getkey())
    hessian = jax.hessian(lambda w: mean_loss({"w": w.reshape(3, 2)}, batch))(params["w"].ravel())
    np.testing.assert_allclose(spectrum.quadrature()[0][0], np.linalg.eigvalsh(hessian), rtol=1e-9)
    key = getkey()
    by_default = spectrum_of(mean_loss, params, batch, key=key)
    expected = Lanczos()(Hessian(Partial(_with_batch, batch), params), key=key)
    np.testing.assert_allclose(by_default.quadrature()[0], expected.nodes, rtol=1e-9)


def _with_batch(batch, params):
    return mean_loss(params, batch)


def test_the_spectrum_of_a_whole_network(getkey):
    def network_loss(model, batch):
        return jnp.mean(jax.vmap(model)(batch["x"]) ** 2)

    model = eqx.nn.MLP(3, 2, 4, 1, activation=jnp.tanh, key=getkey())
    batch = {"x": jnp.ones((2, 3))}
    assert (
        spectrum_of(network_loss, model, batch, estimator=Lanczos(order=5), key=getkey()).dim == 26
    )


def test_a_training_loop_compiles_once(getkey):
    loss = Counting([])
    counts = []
    for step in range(3):
        batch = {"x": np.full((4, 2), step), "rate": 0.1 * step}
        spectrum_of(
            loss,
            parameters(getkey()),
            batch,
            estimator=Lanczos(order=3, num_vectors=1),
            key=getkey(),
        )
        counts.append(len(loss.traces))
    assert counts[0] == counts[-1] > 0


def test_losses_and_batches_that_are_refused(getkey):
    params, key = {"w": jnp.ones((3, 2))}, getkey()
    batch = jnp.ones((5, 3)), jnp.zeros((5, 2))
    with pytest.raises(ValueError, match=r"`batch` has an array of shape \(0, 3\) at \[0\]"):
        spectrum_of(mean_loss, params, (jnp.ones((0, 3)), jnp.zeros((0, 2))), key=key)
    with pytest.raises(ValueError, match="`params` has an array of int32"):
        spectrum_of(mean_loss, {"w": jnp.ones((3, 2), int)}, batch, key=key)
    with pytest.raises(ValueError, match=r"`loss` returned an array of float32 \(5, 2\)"):
        spectrum_of(lambda p, b: b[0] @ p["w"] - b[1], params, batch, key=key)
    spectrum = lambda p: spectrum_of(
        mean_loss, p, batch, estimator=Lanczos(order=2, num_vectors=1), key=key
    )
    with pytest.raises(ValueError, match="Hessian of `loss` is not finite .* the loss is nan"):
        spectrum({"w": jnp.full((3, 2), jnp.nan)})
    # Nothing can be raised inside a compiled program.
    assert np.isnan(eqx.filter_jit(spectrum)({"w": jnp.full((3, 2), jnp.nan)}).range()).all()
