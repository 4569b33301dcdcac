import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from curvature_cases import normal
from jax.flatten_util import ravel_pytree
from jax.tree_util import Partial
from layered_networks import drawn
from programs import equations

from spectral.curvature import Dense, Hessian, Lanczos


def dict_loss(x, y, params):
    hidden = jnp.tanh(x @ params["in"]["w"] + params["in"]["b"][None])
    return jnp.mean((hidden @ params["out"] - y) ** 2)


def dict_case(seed=0):
    rng = np.random.default_rng(seed)
    params = {"in": {"w": normal(rng, 2, 3), "b": normal(rng, 3)}, "out": normal(rng, 3, 2)}
    return Partial(dict_loss, normal(rng, 7, 2), normal(rng, 7, 2)), params


def module_loss(static, x, params):
    outputs = jax.vmap(eqx.combine(params, static))(x)
    return jnp.mean(jax.nn.logsumexp(outputs, axis=1) - outputs[:, 0])


def module_case():
    rng = np.random.default_rng(0)
    model = drawn(lambda k: eqx.nn.MLP(2, 3, 4, 2, activation=jnp.tanh, key=k), rng)
    params, static = eqx.partition(model, eqx.is_inexact_array)
    return Partial(module_loss, static, normal(rng, 6, 2)), params


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("case", [dict_case, pytest.param(module_case, marks=pytest.mark.slow)])
def test_hessian_agrees_with_jax(case):
    loss, params = case()
    flat, unravel = ravel_pytree(params)
    rng = np.random.default_rng(1)
    vector = jax.tree.map(lambda p: normal(rng, *p.shape), params)

    @eqx.filter_jit
    def program(operator, flat, vector):
        expected = jax.hessian(lambda p: loss(unravel(p)))(flat)
        return operator.dense(), operator.mv(vector), expected

    operator = Hessian(loss, params)
    assert operator.dim == flat.size
    dense, product, expected = program(operator, flat, vector)
    assert np.linalg.norm(expected) > 0.1
    np.testing.assert_allclose(dense, expected, rtol=1e-9, atol=1e-12)
    assert jax.tree.structure(product) == jax.tree.structure(params)
    expected = np.asarray(expected) @ ravel_pytree(vector)[0]
    np.testing.assert_allclose(ravel_pytree(product)[0], expected, rtol=1e-9, atol=1e-12)


def test_the_loss_is_called_once_per_product_and_traced_once_per_shape(getkey):
    calls = 0

    def loss(x, y, params):
        nonlocal calls
        calls += 1
        return dict_loss(x, y, params)

    def operator(seed):
        partial, params = dict_case(seed)
        return Hessian(Partial(loss, *partial.args), params)

    def several(hessian):
        product = hessian.product()
        assert calls == 1
        return [product(hessian.params) for _ in range(3)]

    eqx.filter_eval_shape(several, operator(0))
    assert calls == 1
    first = Dense()(operator(0), key=getkey())
    second = Dense()(operator(1), key=getkey())  # other data of the same shapes
    assert calls == 2
    assert not np.allclose(first.nodes, second.nodes)


@pytest.mark.parametrize("run", ["mv", "dense", "lanczos"])
def test_products_are_linear_in_the_loop_and_in_full_precision(run):
    operator = Hessian(*dict_case())
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
    params = {"a": jnp.asarray(np.ones(3), jnp.bfloat16), "b": jnp.asarray(np.full(2, 2.0), float)}
    operator = Hessian(lambda p: jnp.sum(p["a"] ** 2) / 2 + jnp.sum(p["b"] ** 2), params)
    assert operator.dtype == jnp.float32
    assert operator.structure["a"].dtype == jnp.float32
    nodes = Dense()(operator, key=getkey()).nodes
    assert nodes.dtype == jnp.float32
    np.testing.assert_allclose(nodes[0], [1, 1, 1, 2, 2], rtol=1e-6)


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
def test_bad_parameters(params, message):
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
def test_bad_losses(loss, message):
    vector = jnp.asarray(np.ones(2))
    operator = Hessian(loss, vector)
    with pytest.raises(ValueError, match=message):
        operator.mv(vector)
    with pytest.raises(ValueError, match=message):
        Lanczos()(operator, key=jax.random.key(0))
