"""Tasks that the run will not see."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from growing_classes import growing_classes
from point_mass import point_mass
from tables import formal_tasks, permuted, permuted_vocabulary, tiny_images, tiny_rows, tiny_text

from spectral import Clock, Learner, Optimiser, tasks


KEY = jax.random.key(4)
ROWS = {"num_tasks": 3, "loader": tasks.Loader(minibatch_size=2)}
ONCE = {"classes_per_task": 1, "loader": tasks.Loader(minibatch_size=2)}
FIRST = Clock(*[jnp.asarray(0)] * 4)

# By stream: what changes with the task.
DRAWN = {
    "permuted_images": (lambda: permuted().stream, lambda s: (s.pixels, s.order)),
    "permuted_inputs": (lambda: tasks.PermutedInputs(tiny_rows("classes"), **ROWS), None),
    "permuted_labels": (lambda: tasks.PermutedLabels(tiny_rows("classes"), **ROWS), None),
    "random_labels": (
        lambda: tasks.RandomLabels(tiny_rows("classes"), rows=8, **ROWS),
        lambda s: jax.random.key_data(s.change.key),
    ),
    "rotated_images": (lambda: tasks.RotatedImages(tiny_images(), **ROWS), None),
    "rotated_inputs": (lambda: tasks.RotatedInputs(tiny_rows("classes"), **ROWS), None),
    "noised_images": (
        lambda: tasks.NoisedImages(tiny_images(), **ROWS),
        lambda s: s.change.deviation,
    ),
    "noised_inputs": (
        lambda: tasks.NoisedInputs(tiny_rows("classes"), **ROWS),
        lambda s: s.change.deviation,
    ),
    "flipped_labels": (lambda: tasks.FlippedLabels(tiny_rows("classes"), **ROWS), None),
    "drifting_inputs": (lambda: tasks.DriftingInputs(tiny_rows("classes"), **ROWS), None),
    "regression": (lambda: tasks.SlowlyChangingRegression(steps_per_task=4), lambda s: s.slow),
    "permuted_patches": (lambda: tasks.PermutedPatches(tiny_images(), 1, **ROWS), None),
    "permuted_vocabulary": (lambda: permuted_vocabulary().stream, None),
    "markov_sources": (
        lambda: tasks.MarkovSources(num_symbols=4, context=6, num_tasks=3),
        lambda s: s.transitions,
    ),
    "point_mass": (point_mass, lambda s: s.values),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", DRAWN)
def test_a_fresh_task_is_another_one(name):
    """Also in the place of the first task, which some streams leave as it is."""
    make, change = DRAWN[name]
    stream = make()
    change = (lambda s: s.change) if change is None else change

    @eqx.filter_jit
    def follow(stream):
        keys = jax.random.split(KEY, 5)
        state = stream.init(key=keys[0])
        begun = stream.begin_task(state, FIRST, key=keys[1])
        fresh = [stream.fresh_task(begun, FIRST, key=key) for key in keys[2:]]
        again = stream.fresh_task(begun, FIRST, key=keys[2])
        same = jax.tree.structure(fresh[0]) == jax.tree.structure(begun)
        return [change(s) for s in (begun, *fresh)], change(again), same

    found, again, same = follow(stream)
    assert same
    flat = [np.concatenate([np.ravel(x) for x in jax.tree.leaves(change)]) for change in found]
    few = {"permuted_labels": 2, "regression": 3}.get(name, 4)  # with 6 and 15 tasks in all
    assert len({tuple(f.tolist()) for f in flat}) >= few
    np.testing.assert_array_equal(
        np.concatenate([np.ravel(x) for x in jax.tree.leaves(again)]), flat[1]
    )


@pytest.mark.slow
def test_classes_of_a_fresh_task_are_left_over_or_in_a_new_order():
    """One of three classes is never used, or the run draws many orders."""
    left = tasks.SplitClasses(tiny_images(), num_tasks=2, **ONCE)
    drawn = tasks.SplitClasses(tiny_images(), num_tasks=7, **ONCE)
    state = left.init(key=KEY)
    used = [
        int(left.begin_task(state, Clock(*[jnp.asarray(t)] * 4), key=KEY).change.classes[0])
        for t in (0, 1)
    ]
    draw = lambda stream, i: stream.fresh_task(state, FIRST, key=jax.random.key(i))
    found = [draw(left, i).change.classes.tolist() for i in range(3)]
    assert found == [[3 - sum(used)]] * 3
    several = {int(draw(drawn, i).change.classes[0]) for i in range(8)}
    assert several == {0, 1, 2}
    fresh = draw(left, 0)
    labels = left.source.data.part("train")[1][fresh.rows[: int(fresh.count)]]
    assert set(labels.tolist()) == {3 - sum(used)}


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (growing_classes, "`stream` is of type GrowingClasses, which has no task"),
        (lambda: tasks.GrowingData(tiny_rows("classes"), **ROWS), "of type GrowingData"),
        (lambda: tasks.IncrementalClasses(tiny_images(), **ONCE), "of type IncrementalClasses"),
        (lambda: tasks.RotatedImages(tiny_images(), step=7.0, **ROWS), "`step` fixes the angle"),
        (tasks.ToyLandscapes, "of type ToyLandscapes"),
        (
            lambda: tasks.DriftingMixture(tasks.GrowingData(tiny_rows("classes"), **ROWS)),
            "of type GrowingData",
        ),
        (lambda: formal_tasks().stream, "`rules` has 2 members and `num_tasks` is 3"),
        (
            lambda: tasks.TextSequence((tiny_text("abc"), tiny_text("cd")), context=6),
            "`texts` has 2 members and `num_tasks` is 2",
        ),
    ],
)
def test_a_stream_without_fresh_tasks_says_why(make, reason):
    stream = make()
    state = jax.eval_shape(lambda key: stream.init(key=key), KEY)
    with pytest.raises(tasks.NoFreshTaskError, match=reason):
        stream.fresh_task(state, FIRST, key=KEY)


@pytest.mark.slow
def test_a_fresh_task_has_a_rule_or_text_that_the_run_never_uses():
    rules = tuple(tasks.ModularAddition(modulus) for modulus in (2, 3, 4, 5))
    formal = tasks.FormalTasks(rules, num_symbols=5, length=2, num_tasks=2)
    texts = tasks.TextSequence(tuple(map(tiny_text, ("abc", "cd", "ef"))), context=6, num_tasks=2)
    draw = lambda stream, seed: stream.fresh_task(
        stream.init(key=KEY), FIRST, key=jax.random.key(seed)
    )
    found = [draw(formal, seed) for seed in range(8)]
    assert {int(task.rule) for task in found} == {2, 3}
    assert len({task.shifts.tobytes() for task in map(jax.device_get, found)}) == 8
    task = draw(texts, 0)
    windows = texts.draw(task, 4, "train", key=KEY)
    assert set(np.ravel(windows).tolist()) <= {4, 5}  # e and f
    assert np.shape(task.order) == np.shape(texts.init(key=KEY).order)


GRADUAL = {
    "inputs": lambda **o: tasks.InterpolatedInputs(
        tasks.PermutedInputs(tiny_rows("classes"), **ROWS), **o
    ),
    "labels": lambda **o: tasks.InterpolatedLabels(
        tasks.PermutedLabels(tiny_rows("classes"), **ROWS), **o
    ),
    "mixture": lambda **o: tasks.DriftingMixture(
        tasks.RandomLabels(tiny_rows("classes"), rows=8, **ROWS), **o
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", GRADUAL)
def test_a_fresh_task_of_a_gradual_stream_is_one_of_its_own_stream(name):
    """From its first step, so that the network of the run does not begin with what it knows."""
    learner = Learner(None, None, Optimiser(optax.sgd, learning_rate=0.1))  # not looked at
    options = {"through_uniform": True} if name == "labels" else {}
    stream = GRADUAL[name](**options)

    @eqx.filter_jit
    def follow(stream):
        keys = jax.random.split(KEY, 4)
        state = stream.begin_task(stream.init(key=keys[0]), FIRST, key=keys[1])
        later = Clock(*[jnp.asarray(i) for i in (12, 0, 0, 1)])
        begun = stream.begin_task(state, later, key=keys[2])
        fresh = stream.fresh_task(begun, later, key=keys[3])
        own = stream.stream.fresh_task(begun.now, later, key=keys[3])
        shown = []
        for task in (begun, fresh):
            _, chunk, _ = stream.collect(task, learner, later, key=KEY)
            items = chunk.items
            shown.append(items.shown if name == "mixture" else items.fraction)
        return shown, eqx.tree_equal(fresh.now, own), eqx.tree_equal(fresh.before, own)

    (gradual, at_once), *same = follow(stream)
    assert not np.all(gradual == 1)
    assert np.all(at_once == 1)
    assert all(same)


def test_class_lists_and_schedules_that_are_used_up_say_so():
    stream = tasks.SplitClasses(tiny_images(), num_tasks=3, **ONCE)
    state = jax.eval_shape(lambda key: stream.init(key=key), KEY)
    message = "`num_tasks` is 3, whose tasks use 3 of the 3 classes"
    with pytest.raises(tasks.NoFreshTaskError, match=message):
        stream.fresh_task(state, FIRST, key=KEY)
    for schedule in (tasks.Cycle((1.0, 2.0)), tasks.Revisit(tasks.Cycle((1.0, 2.0)))):
        with pytest.raises(tasks.NoFreshTaskError, match="`schedule` is of type Cycle"):
            schedule.fresh_value(key=KEY)
    values = tasks.LogUniform(low=0.5, high=2.0)
    found = {float(values.fresh_value(key=jax.random.key(i))) for i in range(3)}
    assert len(found) == 3
    assert all(0.5 <= value <= 2 for value in found)
