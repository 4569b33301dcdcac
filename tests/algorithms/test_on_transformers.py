"""Algorithms that need no more than a network with units, on transformers."""

import functools
from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import ByKey, gpt, inputs_of, vit
from signals import (
    after_step,
    arrays,
    learner_of,
    numpy_map,
    signal_at,
    squares,
    start_of,
    step_at,
    trained,
)
from tables import ALGORITHMS

from spectral import algorithms
from spectral.algorithms._base._unit_groups import renewed
from spectral.models import entries_of, head_parameters


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


NORM = "needs a norm before every activation, but the hidden layer 'embedding' of this"
ERRORS = {
    "layernorm_l2": f"{NORM}.*has that option, or use the recipe `l2`",
    "nap": f"{NORM}.*has that option, or use the transform `NormalizeProject` alone",
    "rewired": "sparse",
    "injected": "`model` is a (GPT|ViT), but `InjectPlasticity` needs one that holds the new",
}
QUICK = [("nap", "gpt"), ("reset_head", "gpt_tied")]


@pytest.mark.parametrize(
    ("recipe", "name"),
    [
        pytest.param(r, n, marks=() if (r, n) in QUICK else pytest.mark.slow)
        for r in ALGORITHMS
        for n in MADE
        if r != "switched"  # its sign is measured on a stream, which there is none of here
    ],
)
def test_every_recipe_runs_or_says_why_not(recipe, name):
    network, algo = MADE[name](KEY), ALGORITHMS[recipe](0.01)
    inputs = np.stack([inputs_of(network, 3)] * 4)
    trace = lambda: eqx.filter_eval_shape(two_steps, algo, network.model, jnp.asarray(inputs), KEY)
    message = ERRORS.get(recipe)
    if (recipe, name) == ("reset_head", "gpt_tied"):
        message = "`part` is 'head', but the output layer of this GPT"
    if message is None:
        trace()
    else:
        with pytest.raises((ValueError, TypeError), match=message):
            trace()


@pytest.mark.slow
def test_a_head_is_renewed():
    """Its outgoing columns are zero, the function is that of a network without it, and AdamW starts
    it again. The other head, and the hidden units, keep every bit."""
    network = vit(KEY)
    inputs = jnp.asarray(inputs_of(network, 3))
    (heads,) = [g for g in network.model.units() if g.name == "block_0_heads"]
    learner = trained(learner_of(network.model, algorithms.adamw(0.01)))
    units = jnp.asarray([False, True])

    @eqx.filter_jit
    def run(learner):
        after = renewed(learner, [(heads, units)], key=KEY)
        output = lambda m: m.blocks[0].attention.output_proj.weight
        cut = jnp.where(jnp.asarray([1, 1, 0, 0])[None] > 0, output(learner.model), 0)
        without = eqx.tree_at(output, learner.model, cut)
        return after, [jax.vmap(m)(inputs)[0] for m in (after.model, without)]

    after, (with_new, without) = run(learner)
    np.testing.assert_allclose(with_new, without, rtol=1e-5, atol=1e-6)
    attention, old = after.model.blocks[0].attention, learner.model.blocks[0].attention
    np.testing.assert_array_equal(attention.output_proj.weight[:, 2:], 0)
    np.testing.assert_array_equal(
        attention.output_proj.weight[:, :2], old.output_proj.weight[:, :2]
    )
    assert np.all(np.asarray(attention.query_proj.weight[2:] != old.query_proj.weight[2:]))
    marks = eqx.filter_jit(entries_of)(learner.model, heads, units)
    state, before = after.optimiser.state, learner.optimiser.state
    for field, first in (("mean", 0), ("square", 0), ("mean_bias", 1), ("square_bias", 1)):
        kinds = (jax.tree.leaves(t) for t in (marks, getattr(state, field), getattr(before, field)))
        for mark, now, then in zip(*kinds, strict=True):
            np.testing.assert_array_equal(now, np.where(mark, first, then))


@pytest.mark.slow
def test_utilities_of_heads_and_hidden_units():
    """A mean over sequences, tokens and the channels of a head, times that of the columns."""
    network = vit(KEY)
    inputs = jnp.asarray(inputs_of(network, 3))[None]
    transform = algorithms.ContinualBackprop(0.0, utility=algorithms.contribution)
    _, records = after_step(transform, learner_of(network.model), inputs, key=KEY)
    taps = jax.vmap(network.model)(inputs[0])[1]
    block = network.model.blocks[0]
    places = (("block_0_heads", block.attention.output_proj, 2), ("block_0_mlp", block.mlp.down, 1))
    for record, (name, layer, channels) in zip(records, places, strict=True):
        activity = np.abs(taps[name]).mean(axis=(0, 2)).reshape(-1, channels).mean(axis=1)
        columns = np.abs(layer.weight).mean(axis=0).reshape(-1, channels).mean(axis=1)
        np.testing.assert_allclose(record.utility, 0.01 * activity * columns, rtol=1e-4)


@pytest.mark.slow
def test_a_part_is_reset_and_the_rest_keeps_every_bit():
    network = vit(KEY, initialiser=ByKey())
    part = algorithms.Reset(part="blocks.0.mlp")
    judge = algorithms.SelfNormalizedReset(max_age=8)
    algo = algorithms.Algorithm(algorithms.adamw(0.01), transforms=(part, judge))

    @eqx.filter_jit
    def begin(model):
        learner, state = algo.init(model, None, key=KEY)
        learner = trained(learner)
        state = jax.tree.map(lambda x: x + 1, state)
        return learner, state, algo.begin_task(learner, state, start_of(1), key=KEY)

    moved = numpy_map(lambda x: x + np.float32(0.25), network.model)  # its biases are not zero
    learner, state, (after, later) = begin(moved)
    marks = part.resets(learner, [], start_of(1).clock)[1]
    for tree in (lambda x: x.model, *(lambda x, i=i: x.optimiser.state[i] for i in range(4))):
        pairs = zip(arrays(tree(after)), arrays(tree(learner)), strict=True)
        changed = [not np.array_equal(a, b) for a, b in pairs]
        assert changed == jax.tree.leaves(marks)
    heads, hidden = later.transforms[1]
    np.testing.assert_array_equal(heads.age, state.transforms[1][0].age)
    np.testing.assert_array_equal(hidden.age, 0)
    assert hidden.replaced == state.transforms[1][1].replaced == 1


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
