"""Layers that are seen through, and those that cannot be."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from layered_networks import case, CASES, Chain, forward

from spectral.curvature import closed_risk, KFAC, Risk, SquaredError
from spectral.curvature.kronecker._capture import capture, find_layers
from spectral.models import Convolution, Sparse


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", CASES)
def test_what_is_seen_multiplies_to_the_gradient_of_each_example(name, getkey):
    risk, params = CASES[name](getkey())
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
    for layer, rows in zip(layers, seen, strict=True):
        found = np.einsum("cnpo,npi->cnoi", rows.gradients, rows.inputs)
        for n in layer.leaves:
            exact = np.einsum("cnz,nz...->cn...", columns, jacobian[n])
            count = exact[0, 0].size if not layer.calls else exact[0, 0].size // found.shape[2]
            axis = 3 if layer.calls else 2
            part, found = np.split(found, [count], axis=axis)
            assert np.linalg.norm(exact) > 1e-3
            np.testing.assert_allclose(part.reshape(exact.shape), exact, rtol=1e-9, atol=1e-12)
        assert found.size == 0


def linear(getkey, inputs=3, outputs=3):
    return eqx.nn.Linear(inputs, outputs, key=getkey())


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


@pytest.mark.parametrize("how", [in_vmap, in_scan, in_while, compiled_once])
def test_calls_that_cannot_be_told_apart_are_refused_by_the_name_of_the_layer(how, getkey):
    model = Chain((linear(getkey), Applied(linear(getkey), how), linear(getkey)))
    risk, _ = case(model, (3,), key=getkey())
    with pytest.raises(
        ValueError, match=r"`params` has the layer steps\.1\.layer, which is called"
    ):
        KFAC(risk, model)


def test_all_examples_at_once_are_an_inner_vmap(getkey):
    x = jnp.ones((5, 3))
    risk = closed_risk(lambda model: jax.vmap(model)(x), jnp.sum)
    with pytest.raises(ValueError, match="the layer itself, which is called .* inner `vmap`"):
        KFAC(risk, linear(getkey))


def stack(getkey):
    keys = jax.random.split(getkey(), 2)
    return eqx.filter_vmap(lambda key: eqx.nn.Linear(3, 3, key=key))(keys)


def in_depth(layers, x):
    arrays, static = eqx.partition(layers, eqx.is_array)
    step = lambda y, a: (eqx.combine(a, static)(y), None)
    return jax.lax.scan(step, x, arrays)[0]


@pytest.mark.parametrize(
    ("make", "how", "names"),
    [
        (
            lambda k: eqx.nn.GRUCell(3, 3, key=k()),
            lambda c, x: c(x, x),
            r"layer\.weight_ih, .*bias",
        ),
        (lambda k: jnp.ones(3), lambda w, x: w * x, r"layer\."),
        (linear, lambda layer, x: layer.weight.T @ layer(x), r"layer\.weight\."),
        (linear, lambda layer, x: layer.weight @ x + layer.bias, r"layer\.weight, .*layer\.bias\."),
        (stack, in_depth, r"layer\.weight, .*layer\.bias\."),
    ],
    ids=["unknown", "bare", "tied", "uncalled", "stacked"],
)
def test_other_weights_are_refused_by_their_names(make, how, names, getkey):
    model = Chain((linear(getkey), Applied(make(getkey), how), linear(getkey)))
    risk, _ = case(model, (3,), key=getkey())
    with pytest.raises(ValueError, match=r"`Convolution` layers: steps\.1\." + names):
        KFAC(risk, model)


@pytest.mark.parametrize(
    ("make", "drop", "message"),
    [
        (linear, lambda m: m.bias, "itself without its bias"),
        (linear, lambda m: m.weight, "itself without its weight"),
        (lambda k: Convolution(3, 2, 1, key=k()), lambda m: m.bias, "itself without its bias"),
        (lambda k: eqx.nn.Conv2d(2, 2, 1, groups=2, key=k()), None, "itself with 2 groups"),
        (
            lambda k: eqx.nn.Conv2d(2, 2, 1, padding_mode="CIRCULAR", key=k()),
            None,
            "'CIRCULAR'.*eqx.partition",
        ),
    ],
)
def test_layers_that_are_refused_by_name(make, drop, message, getkey):
    params = make(getkey)
    if drop is not None:
        params = eqx.tree_at(drop, params, None)
    risk = Risk(forward, SquaredError(), jnp.ones((2, 3)), jnp.ones((2, 3)))
    with pytest.raises(ValueError, match=message):
        KFAC(risk, params)


def test_constant_layers_and_unused_ones_have_no_block(getkey):
    model = Chain((linear(getkey), Applied(linear(getkey), lambda layer, x: x), linear(getkey)))
    risk, _ = case(model, (3,), key=getkey())
    assert [layer.name for layer in find_layers(risk, model)] == ["steps.0", "steps.2"]
    kept = eqx.tree_at(lambda m: m.steps[0], model, None)
    rest = eqx.tree_at(lambda m: m.steps[1:], model, (None, None))
    combined = Risk(Combined(rest), risk.loss, risk.inputs, risk.targets)
    assert [layer.name for layer in find_layers(combined, kept)] == ["steps.2"]


def test_masked_layers_are_refused_by_their_names(getkey):
    masked = Sparse(linear(getkey), 0.5, key=getkey())
    model, static = eqx.partition(Chain((linear(getkey), masked)), eqx.is_inexact_array)
    risk = Risk(Recombined(static), SquaredError(), jnp.ones((2, 3)), jnp.ones((2, 3)))
    with pytest.raises(ValueError, match=r"layers: steps\.1\.layer\.weight, steps\.1\.layer\.bias"):
        KFAC(risk, model)


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


def test_a_network_is_traced_and_not_run(getkey):
    # Neither are the results of a compiled function taken from an earlier trace.
    model = linear(getkey)
    calls = 0

    @eqx.filter_jit
    def compiled(model, inputs):
        nonlocal calls
        calls += 1
        return jax.vmap(model)(inputs)

    risk = Risk(compiled, SquaredError(), jnp.ones((2, 3)), jnp.ones((2, 3)))
    risk.forward(model, risk.inputs)
    for _ in range(2):
        assert len(find_layers(risk, model)) == 1
    assert calls == 3
