import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from jax.tree_util import Partial
from programs import equations

from spectral.curvature import Hessian, Lanczos


def dict_loss(x, y, params):
    hidden = jnp.tanh(x @ params["in"]["w"] + params["in"]["b"][None])
    return jnp.mean((hidden @ params["out"] - y) ** 2)


def dict_case(key):
    keys = jax.random.split(key, 5)
    params = {
        "in": {"w": jax.random.normal(keys[0], (2, 3)), "b": jax.random.normal(keys[1], (3,))},
        "out": jax.random.normal(keys[2], (3, 2)),
    }
    x, y = jax.random.normal(keys[3], (7, 2)), jax.random.normal(keys[4], (7, 2))
    return Partial(dict_loss, x, y), params


def module_loss(static, x, params):
    outputs = jax.vmap(eqx.combine(params, static))(x)
    return jnp.mean(jax.nn.logsumexp(outputs, axis=1) - outputs[:, 0])


def module_case(key):
    model = eqx.nn.MLP(2, 3, 4, 2, activation=jnp.tanh, key=key)
    params, static = eqx.partition(model, eqx.is_inexact_array)
    return Partial(module_loss, static, jax.random.normal(key, (6, 2))), params


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("case", [dict_case, module_case])
def test_hessian_is_that_of_jax(case, getkey):
    loss, params = case(getkey())
    flat, unravel = ravel_pytree(params)
    expected = jax.jit(jax.hessian(lambda p: loss(unravel(p))))(flat)
    operator = Hessian(loss, params)
    assert operator.dim == flat.size
    assert np.linalg.norm(expected) > 0.1
    np.testing.assert_allclose(operator.dense(), expected, rtol=1e-9, atol=1e-12)

    vector = jax.tree.map(lambda p: jax.random.normal(getkey(), p.shape, p.dtype), params)
    result = operator.mv(vector)
    assert jax.tree.structure(result) == jax.tree.structure(params)
    expected = expected @ ravel_pytree(vector)[0]
    np.testing.assert_allclose(ravel_pytree(result)[0], expected, rtol=1e-9, atol=1e-12)
    spectrum = Lanczos(order=flat.size, num_vectors=1)(operator, key=getkey())
    np.testing.assert_allclose(
        spectrum.nodes[0], np.linalg.eigvalsh(operator.dense()), rtol=1e-8, atol=1e-11
    )


def test_the_loss_is_called_once_per_product_and_traced_once_per_shape(getkey):
    calls = 0

    def loss(x, y, params):
        nonlocal calls
        calls += 1
        return dict_loss(x, y, params)

    def operator():
        partial, params = dict_case(getkey())
        return Hessian(Partial(loss, *partial.args), params)

    hessian = operator()
    product = hessian.product()
    assert calls == 1
    for _ in range(3):
        product(hessian.params)
    assert calls == 1
    estimator = Lanczos(order=4, num_vectors=2)
    first = estimator(hessian, key=getkey())
    second = estimator(operator(), key=getkey())  # other data of the same shapes
    assert calls == 2
    assert not np.allclose(first.nodes, second.nodes)


@pytest.mark.parametrize("run", ["mv", "dense", "lanczos"])
def test_products_are_linear_in_the_loop_and_in_full_precision(run, getkey):
    operator = Hessian(*dict_case(getkey()))
    programs = {
        "mv": lambda o: o.mv(o.params),
        "dense": lambda o: o.dense(),
        "lanczos": lambda o: Lanczos(order=4, num_vectors=2)(o, key=jax.random.key(0)),
    }
    jaxpr = eqx.filter_make_jaxpr(programs[run])(operator)[0]
    found = list(equations(jaxpr.jaxpr))
    assert "tanh" in {eqn.primitive.name for eqn in found}
    # Evaluated in the loop, the network would cost a forward pass per product.
    loops = [eqn.params["jaxpr"].jaxpr for eqn in found if eqn.primitive.name == "scan"]
    assert bool(loops) == (run != "mv")
    assert "tanh" not in {eqn.primitive.name for loop in loops for eqn in equations(loop)}
    dots = [eqn for eqn in found if eqn.primitive.name == "dot_general"]
    assert dots
    for eqn in dots:
        assert eqn.params["precision"] == (jax.lax.Precision.HIGHEST,) * 2


def test_half_precision_parameters_are_iterated_in_single(getkey):
    params = {"a": jnp.ones(3, jnp.bfloat16), "b": jnp.full(2, 2.0)}
    operator = Hessian(lambda p: jnp.sum(p["a"] ** 2) / 2 + jnp.sum(p["b"] ** 2), params)
    assert operator.dtype == jnp.float32
    assert operator.mv(params)["a"].dtype == jnp.bfloat16
    nodes = Lanczos(order=5, num_vectors=1)(operator, key=getkey()).nodes
    np.testing.assert_allclose(np.sort(nodes[0]), [1, 1, 1, 2, 2], rtol=1e-2)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"w": jnp.ones(2), "n": jnp.arange(3)}, r"an array of int32 at \['n'\]"),
        ({"w": (jnp.ones(2), True)}, r"a bool at \['w'\]\[1\].*eqx.partition"),
        ({"w": jnp.ones(2, jnp.complex64)}, "complex64"),
        (1.0, "a float at itself"),
        ({}, "holds no numbers"),
        ({"w": jnp.ones((0, 3))}, "holds no numbers"),
    ],
)
def test_parameters_that_are_refused(params, message):
    with pytest.raises(ValueError, match=message):
        Hessian(lambda p: jnp.zeros(()), params)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda p: p**2, r"float32 \(2,\).*take the mean"),
        (lambda p: (jnp.sum(p), p), "a tuple.*auxiliary"),
        (lambda p: jnp.sum(p > 0), "int32"),
    ],
)
def test_losses_that_are_refused(loss, message):
    operator = Hessian(loss, jnp.ones(2))
    with pytest.raises(ValueError, match=message):
        operator.mv(jnp.ones(2))
    with pytest.raises(ValueError, match=message):
        Lanczos()(operator, key=jax.random.key(0))
