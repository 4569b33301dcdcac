"""Algorithms that need no more than a network with units, on transformers."""

import functools
from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import ByKey, gpt, inputs_of, vit
from signals import arrays, signal_at, squares, start_of, step_at

from spectral import algorithms
from spectral.models import head_parameters


KEY = jax.random.key(9)
MADE = {"gpt": gpt, "gpt_tied": functools.partial(gpt, tied=True), "vit": vit}
# After two steps, each unit algorithm has renewed some units.
UNITS = {
    "cbp": algorithms.ContinualBackprop(0.6, maturity=1),
    "redo": algorithms.ReDo(threshold=0.8),
    "regrama": algorithms.ReGraMa(threshold=0.8),
    "snr": algorithms.SelfNormalizedReset(max_age=1),
}
OTHERS = (algorithms.ShrinkPerturb(shrink=0.9, noise=1e-3), algorithms.Reset())


def algorithm(*names):
    return algorithms.Algorithm(
        algorithms.adam(0.01),
        penalties=(algorithms.L2Init(0.01),),
        transforms=(*(UNITS[name] for name in names), *OTHERS),
    )


def two_steps(algo, model, inputs, key):
    """The learner and the state after two steps, and the network that begins the second task."""

    def step(_, carried):
        learner, state = carried
        model, step = learner.model, step_at(learner.model, inputs)

        def objective(model):
            outputs, _ = jax.vmap(model)(inputs[0])
            return squares(outputs, None)[0] + algo.penalty(model, state, step)

        signal = replace(signal_at(model, inputs), grads=eqx.filter_grad(objective)(model))
        return algo.update(learner, state, signal, key=key)

    # One body of a loop, which is compiled once.
    learner, state = repeat(2, step, algo.init(model, None, key=key))
    start = start_of(1, inputs[0])
    return learner, state, algo.begin_task(learner, state, start, key=key)[0].model


def repeat(times, change, value):
    arrays, rest = eqx.partition(value, eqx.is_array)
    body = lambda i, arrays: eqx.filter(change(i, eqx.combine(arrays, rest)), eqx.is_array)
    return eqx.combine(jax.lax.fori_loop(0, times, body, arrays), rest)


@pytest.mark.parametrize("name", MADE)
def test_every_parameter_except_the_output_layer_belongs_to_units(name):
    model = MADE[name](KEY, qk_norm=True).model
    marks = head_parameters(model)
    heads = {"gpt": [".head.weight"], "gpt_tied": [], "vit": [".head.weight", ".head.bias"]}
    found = [
        jax.tree_util.keystr(path)
        for path, marked in jax.tree_util.tree_leaves_with_path(marks)
        if marked
    ]
    assert found == heads[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", MADE)
def test_all_can_be_traced(name):
    network = MADE[name](KEY)
    inputs = jnp.asarray(inputs_of(network, 6))[None]
    eqx.filter_eval_shape(two_steps, algorithm(*UNITS), network.model, inputs, KEY)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "units"), [("gpt", "cbp"), ("vit", "redo")])
def test_units_are_renewed_and_the_network_is_reset(name, units):
    """The initialiser draws equal numbers for a matrix, which compiles faster."""
    network = MADE[name](KEY, initialiser=ByKey())
    inputs = jnp.asarray(inputs_of(network, 6))[None]
    learner, state, reset = eqx.filter_jit(two_steps)(algorithm(units), network.model, inputs, KEY)
    counts = algorithm(units).measure(state)
    assert next(count for column, count in counts.items() if "replaced" in column) > 0
    old, new = arrays(network.model), arrays(learner.model)
    assert all(np.isfinite(a).all() for a in new)
    assert all(not np.array_equal(a, b) for a, b in zip(old, new, strict=True))
    matrices = [a for a in arrays(reset) if a.ndim > 1]
    assert all(len(np.unique(a)) == 1 and 1 <= a.flat[0] < 2 for a in map(np.asarray, matrices))
