"""Layers that are seen through, and those that cannot be."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from layered_networks import case, CASES, Chain, drawn, forward, wrapped

from spectral.curvature import closed_risk, Risk, SquaredError
from spectral.curvature.kronecker.capture._capture import capture
from spectral.curvature.kronecker.capture._find import find_layers
from spectral.models import Convolution, Sparse


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", CASES)
def test_records_multiply_to_the_gradient_of_each_example(name, getkey):
    risk, params = CASES[name]()
    layers = find_layers(risk, params)
    dynamic, constants = eqx.partition(params, eqx.is_inexact_array)
    leaves = jax.tree.leaves(dynamic)
    # Every parameter belongs to one layer.
    assert sorted(n for layer in layers for n in layer.leaves) == list(range(len(leaves)))
    size = jax.eval_shape(lambda: risk.forward(params, risk.inputs)).shape[1]
    columns = jax.random.normal(getkey(), (2, risk.num_examples, size))

    @jax.jit
    def both(dynamic, columns):
        outputs, pull = capture(risk, eqx.combine(dynamic, constants), layers, risk.whole())

        def jacobian(row):
            one = lambda d: risk.forward(eqx.combine(d, constants), row[None])[0]
            return jax.jacrev(one)(dynamic)

        return outputs, pull(columns), jax.lax.map(jacobian, risk.inputs)

    outputs, seen, jacobian = both(dynamic, columns)
    expected = risk.forward(params, risk.inputs)
    np.testing.assert_allclose(outputs, expected, rtol=1e-12)
    assert np.linalg.norm(expected) > 0.1
    jacobian = jax.tree.leaves(jacobian)
    for layer, (rows,) in zip(layers, seen, strict=True):
        found = np.einsum("cnpo,npi->cnoi", rows.gradients, rows.inputs)
        for n in layer.leaves:
            exact = np.einsum("cnz,nz...->cn...", columns, jacobian[n])
            count = exact[0, 0].size if not layer.calls else exact[0, 0].size // found.shape[2]
            axis = 3 if layer.calls else 2
            part, found = np.split(found, [count], axis=axis)
            assert np.linalg.norm(exact) > 1e-3
            np.testing.assert_allclose(part.reshape(exact.shape), exact, rtol=1e-9, atol=1e-12)
        assert found.size == 0


def make_network(make):
    return drawn(make, np.random.default_rng(0))


def linear(key):
    return eqx.nn.Linear(3, 3, key=key)


LINEAR = make_network(linear)
ONES = Risk(forward, SquaredError(), np.ones((2, 3), np.float32), np.ones((2, 3), np.float32))


def risk_of(model):
    return case(model, (3,), rng=np.random.default_rng(0)).risk


def test_layers_inside_other_transformations():
    risk, model = wrapped()
    layers = find_layers(risk, model)
    assert [layer.name for layer in layers] == ["first", "second", "third"]
    assert [len(layer.calls) for layer in layers] == [1, 1, 1]


class Applied(eqx.Module):
    """Something with weights, and how it is called."""

    layer: eqx.Module
    how: Callable = eqx.field(static=True)

    def __call__(self, x):
        return self.how(self.layer, x)


def in_vmap(layer, x):
    return jax.vmap(layer)(jnp.stack([x, x]))[0]


def in_scan(layer, x):
    return jax.lax.map(lambda y: layer(y), jnp.stack([x, x]))[0]


def in_while(layer, x):
    go = lambda carry: (carry[0] + 1, layer(carry[1]))
    return jax.lax.while_loop(lambda carry: carry[0] < 1, go, (0, x))[1]


def compiled_once(layer, x):
    call = eqx.filter_jit(lambda layer, x: layer(x))
    return call(layer, call(layer, x))


@pytest.mark.parametrize("how", [in_scan, in_while, compiled_once])
def test_calls_in_loops_and_branches(how):
    model = Chain((LINEAR, Applied(LINEAR, how), LINEAR))
    with pytest.raises(
        ValueError, match=r"`params` has the layer steps\.1\.layer, which is called"
    ):
        find_layers(risk_of(model), model)


def test_vmaps_in_the_network_are_positions():
    model = Chain((LINEAR, Applied(LINEAR, in_vmap), LINEAR))
    sizes = [layer.calls[0].sizes for layer in find_layers(risk_of(model), model)]
    assert sizes == [(1,), (1, 2), (1,)]
    # All examples at once are the positions of a single one.
    x = jnp.asarray(np.ones((5, 3)))
    risk = closed_risk(lambda model: jax.vmap(model)(x), jnp.sum)
    assert find_layers(risk, LINEAR)[0].calls[0].sizes == (5,)


def stack(key):
    return eqx.filter_vmap(linear)(jax.random.split(key, 2))


def in_depth(layers, x):
    arrays, static = eqx.partition(layers, eqx.is_array)
    step = lambda y, a: (eqx.combine(a, static)(y), None)
    return jax.lax.scan(step, x, arrays)[0]


@pytest.mark.parametrize(
    ("make", "how", "names"),
    [
        (linear, lambda layer, x: layer.weight.T @ layer(x), r"layer\.weight\."),
        (linear, lambda layer, x: layer.weight @ x + layer.bias, r"layer\.weight, .*layer\.bias\."),
        (stack, in_depth, r"layer\.weight, .*layer\.bias\."),
    ],
    ids=["tied", "uncalled", "stacked"],
)
def test_weights_that_act_without_a_call(make, how, names):
    model = Chain((LINEAR, Applied(make_network(make), how), LINEAR))
    with pytest.raises(ValueError, match=r"`Convolution` layers: steps\.1\." + names):
        find_layers(risk_of(model), model)


@pytest.mark.parametrize(
    ("make", "drop", "message"),
    [
        (linear, lambda m: m.bias, "itself without its bias"),
        (linear, lambda m: m.weight, "itself without its weight"),
        (lambda k: Convolution(3, 2, 1, key=k), lambda m: m.bias, "itself without its bias"),
        (lambda k: eqx.nn.Conv2d(2, 2, 1, groups=2, key=k), None, "itself with 2 groups"),
        (
            lambda k: eqx.nn.Conv2d(2, 2, 1, padding_mode="CIRCULAR", key=k),
            None,
            "'CIRCULAR'.*eqx.partition",
        ),
    ],
)
def test_layers_without_kronecker_factors(make, drop, message):
    params = make_network(make)
    if drop is not None:
        params = eqx.tree_at(drop, params, None)
    with pytest.raises(ValueError, match=message):
        find_layers(ONES, params)


@pytest.mark.parametrize(
    ("make", "how", "names"),
    [
        (
            lambda k: eqx.nn.GRUCell(3, 3, key=k),
            lambda c, x: c(x, x),
            ["weight_ih", "weight_hh", "bias", "bias_n"],
        ),
        (lambda k: jnp.ones((2, 3)), lambda w, x: w[0] * x + jax.lax.stop_gradient(w[1]), [""]),
        (lambda k: jnp.ones(3), lambda w, x: x, None),
    ],
    ids=["unknown", "bare", "unused"],
)
def test_arrays_without_a_layer(make, how, names):
    model = Chain((LINEAR, Applied(make_network(make), how), LINEAR))
    found = [layer for layer in find_layers(risk_of(model), model) if not layer.calls]
    own = [] if names is None else [f"steps.1.layer.{n}".rstrip(".") for n in names]
    assert [layer.name for layer in found] == own
    # They are exceptions of a network that has layers.
    bare = Chain((Applied(make_network(make), how),))
    if names is not None:
        with pytest.raises(ValueError, match=r"act other than .* layers: steps\.0\.layer"):
            find_layers(risk_of(bare), bare)


def test_constant_layers_and_unused_ones_have_no_block():
    model = Chain((LINEAR, Applied(LINEAR, lambda layer, x: x), LINEAR))
    risk = risk_of(model)
    assert [layer.name for layer in find_layers(risk, model)] == ["steps.0", "steps.2"]
    kept = eqx.tree_at(lambda m: m.steps[0], model, None)
    rest = eqx.tree_at(lambda m: m.steps[1:], model, (None, None))
    combined = Risk(Combined(rest), risk.loss, risk.inputs, risk.targets)
    assert [layer.name for layer in find_layers(combined, kept)] == ["steps.2"]


def test_masked_layers_have_no_kronecker_factors():
    masked = make_network(lambda key: Sparse(linear(key), 0.5, key=key))
    model, static = eqx.partition(Chain((LINEAR, masked)), eqx.is_inexact_array)
    risk = eqx.tree_at(lambda r: r.forward, ONES, Recombined(static))
    with pytest.raises(ValueError, match=r"layers: steps\.1\.layer\.weight, steps\.1\.layer\.bias"):
        find_layers(risk, model)


class Recombined(eqx.Module):
    static: Chain

    def __call__(self, params, inputs):
        return jax.vmap(eqx.combine(params, self.static))(inputs)


class Combined(eqx.Module):
    rest: Chain

    def __call__(self, params, inputs):
        model = eqx.tree_at(lambda m: m.steps[0], params, self.rest.steps[0], is_leaf=_is_none)
        return jax.vmap(model)(inputs)


def _is_none(x):
    return x is None


def test_a_network_is_traced_and_not_run():
    # An earlier trace of a compiled function is not used either.
    model = LINEAR
    calls = 0

    @eqx.filter_jit
    def compiled(model, inputs):
        nonlocal calls
        calls += 1
        return jax.vmap(model)(inputs)

    risk = Risk(compiled, ONES.loss, ONES.inputs, ONES.targets)
    risk.forward(model, risk.inputs)
    for _ in range(2):
        assert len(find_layers(risk, model)) == 1
    assert calls == 3
