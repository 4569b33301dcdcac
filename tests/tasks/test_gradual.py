"""Streams that change gradually: their end points are exactly the two tasks."""

import functools
import inspect
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tables import permuted, tiny_images, tiny_rows

from spectral import Clock, Learner, Optimiser, studies, tasks
from spectral.studies.experiment._parse import parse
from spectral.tasks.labelled.gradual._drifting_mixture import MixedItem
from spectral.tasks.labelled.gradual._gradual_stream import GradualTask
from spectral.tasks.labelled.gradual._interpolated_inputs import BlendedItem
from spectral.tasks.labelled.streams._labelled_stream import LabelledItem, LabelledTask


KEY = jax.random.key(5)
LEARNER = Learner(None, None, Optimiser(optax.sgd, learning_rate=0.1))  # not looked at
LOADER = tasks.Loader(epochs=2, minibatch_size=6)
ROWS = {"num_tasks": 3, "loader": LOADER}
STEPS = 8  # 24 training rows in two epochs


def clock(task: Any, chunk: Any) -> Clock:
    at = lambda i: jnp.asarray(i, int)
    return Clock(at(task * STEPS + chunk * STEPS // 2), at(0), at(chunk), at(task))


@eqx.filter_jit
def _follow(stream, wrapped) -> Any:
    def one_task(states, task):
        key, old = jax.random.fold_in(KEY, task), states[1]
        state = stream.begin_task(states[0], clock(task, 0), key=key)
        own = wrapped.begin_task(old, clock(task, 0), key=key)
        before = jax.tree.map(lambda new, old: jnp.where(task == 0, new, old), own, old)

        def epoch(chunk):
            at, own_key = clock(task, chunk), jax.random.fold_in(key, chunk)
            items = stream.collect(state, LEARNER, at, key=own_key)[1].items
            batches = jax.vmap(lambda item: stream.batch(state, item))(items)
            show = lambda task: jax.vmap(lambda item: wrapped.batch(task, item))(items.item)
            return items.fraction, batches, show(own), show(before)

        epochs = jax.lax.map(epoch, jnp.arange(2))
        joined = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), epochs)
        draw = lambda s, state: s.sample(state, LEARNER, 6, "train", key=key)
        sampled = draw(stream, state), draw(wrapped, own)
        return (state, own), (joined, sampled, no_keys(state.before), no_keys(before))

    states = stream.init(key=KEY), wrapped.init(key=KEY)
    return jax.lax.scan(one_task, states, jnp.arange(3))[1]


def followed(stream, wrapped) -> Any:
    """For each task: the fractions and batches of all steps, those of the wrapped stream for the
    same rows in this task and in the task before, samples of both, and the states before."""
    found = jax.tree.map(np.asarray, _follow(stream, wrapped))
    return [jax.tree.map(lambda x, t=t: x[t], found) for t in range(3)]


def no_keys(tree):
    is_key = lambda x: eqx.is_array(x) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
    return jax.tree.map(lambda x: jax.random.key_data(x) if is_key(x) else x, tree)


def task_of(change: Any, rows: Any = range(24)) -> LabelledTask:
    """The state of a stream with these training rows."""
    rows, test = jnp.asarray(np.array(rows)), jnp.asarray(np.arange(6))
    counts = jnp.asarray(np.array(rows.size)), jnp.asarray(np.array(6))
    return LabelledTask(change, KEY, rows, counts[0], test, counts[1], test, counts[1])


def item_of(rows: Any) -> LabelledItem:
    return LabelledItem(jnp.asarray(np.array(rows)), None)


def test_both_ends_of_interpolated_inputs_are_the_tasks():
    stream = tasks.InterpolatedInputs(permuted_rows())
    orders = np.array([2, 0, 3, 1]), np.array([1, 3, 2, 0])
    state = GradualTask(*(task_of(jnp.asarray(order)) for order in orders))
    weight = np.array([0, 0.25, 1], np.float32)
    found = stream.batch(state, BlendedItem(item_of([5, 1, 8]), jnp.asarray(weight)))
    inputs, labels = map(np.asarray, tiny_rows("classes").part("train"))
    old, new = (inputs[[5, 1, 8]][:, order] for order in orders)
    np.testing.assert_array_equal(found.inputs[0], old[0])
    np.testing.assert_array_equal(found.inputs[2], new[2])
    np.testing.assert_allclose(found.inputs[1], 0.75 * old[1] + 0.25 * new[1], rtol=1e-6)
    np.testing.assert_array_equal(found.labels, labels[[5, 1, 8]])


@pytest.mark.slow
def test_both_ends_of_interpolated_labels_are_the_tasks():
    wrapped = tasks.PermutedLabels(tiny_rows("classes"), **ROWS)
    names, rows = (np.array([1, 2, 0]), np.array([2, 0, 1])), [5, 1, 8, 3]
    state = GradualTask(*(task_of(jnp.asarray(name)) for name in names))
    a = np.array([0, 0.25, 0.75, 1])
    item = BlendedItem(item_of(rows), jnp.asarray(a, jnp.float32))
    z = np.random.default_rng(0).normal(size=(4, 3))
    truth = np.asarray(tiny_rows("classes").part("train")[1])[rows]
    logs = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    old, new = (-logs[np.arange(4), name[truth]] for name in names)
    first, second = np.maximum(1 - 2 * a, 0), np.maximum(2 * a - 1, 0)
    flat = (1 - first - second) * -logs.mean(axis=1)
    expected = (1 - a) * old + a * new, first * old + second * new + flat
    for stream, losses in zip(
        (
            tasks.InterpolatedLabels(wrapped),
            tasks.InterpolatedLabels(wrapped, through_uniform=True),
        ),
        expected,
        strict=True,
    ):
        loss = eqx.filter_jit(lambda s, z: s.criterion(z, s.batch(state, item))[0])
        found = loss(stream, jnp.asarray(z, jnp.float32))
        np.testing.assert_allclose(found, losses.mean(), rtol=1e-5)


def test_both_ends_of_a_mixture_are_the_tasks():
    wrapped = tasks.PermutedLabels(tiny_rows("classes"), **ROWS)
    stream = tasks.DriftingMixture(wrapped)
    names, shown = (np.array([1, 2, 0]), np.array([2, 0, 1])), np.array([True, False, True])
    state = GradualTask(*(task_of(jnp.asarray(name)) for name in names))
    item = MixedItem(item_of([5, 1, 8]), item_of([7, 9, 0]), jnp.asarray(shown))
    found, (inputs, labels) = stream.batch(state, item), tiny_rows("classes").part("train")
    taken = np.where(shown, [5, 1, 8], [7, 9, 0])
    np.testing.assert_array_equal(found.inputs, np.asarray(inputs)[taken])
    truth = np.asarray(labels)[taken]
    np.testing.assert_array_equal(found.labels, np.where(shown, names[1][truth], names[0][truth]))


def permuted_rows() -> Any:
    return tasks.PermutedInputs(tiny_rows("classes"), **ROWS)


def fractions(abruptness: float, task: int) -> np.ndarray:
    steps = np.arange(1, STEPS + 1)
    return np.ones(STEPS) if task == 0 else np.minimum(steps / ((1 - abruptness) * STEPS), 1)


@pytest.mark.slow
def test_inputs_move_from_one_task_to_the_next():
    wrapped = permuted_rows()
    stream = tasks.InterpolatedInputs(wrapped, abruptness=0.25)
    assert (stream.num_tasks, stream.chunks_per_task, stream.minibatches) == (3, 2, 4)
    assert (stream.in_shape, stream.in_size, stream.out_size) == ((4,), 4, 3)
    assert stream.chance_accuracy == 1 / 3
    assert stream.quantities() == wrapped.quantities()
    found = followed(stream, wrapped)
    for task, ((fraction, batches, now, before), sampled, kept, expected) in enumerate(found):
        a = fractions(0.25, task)
        np.testing.assert_allclose(fraction, np.tile(a[:, None], (1, 6)), rtol=1e-6)
        weight = a[:, None, None].astype(np.float32)
        mixed = (1 - weight) * before.inputs + weight * now.inputs
        np.testing.assert_allclose(batches.inputs, mixed, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(batches.labels, now.labels)
        # From the step at which the change ends, the task itself, to the bit.
        assert (a == 1).sum() == (8 if task == 0 else 3)
        np.testing.assert_array_equal(batches.inputs[a == 1], now.inputs[a == 1])
        assert task == 0 or not np.allclose(batches.inputs[0], now.inputs[0])
        assert eqx.tree_equal(*sampled)
        assert eqx.tree_equal(kept, expected)


@functools.cache
def blended() -> Any:
    wrapped = tasks.PermutedLabels(tiny_rows("classes"), **ROWS)
    stream = tasks.InterpolatedLabels(wrapped)
    smooth = tasks.InterpolatedLabels(wrapped, through_uniform=True)
    found = followed(stream, wrapped)
    (_, batches, _, _), sampled = found[1][:2]
    logits = np.random.default_rng(0).normal(size=(STEPS, 6, 3)).astype(np.float32)

    @eqx.filter_jit
    def judge(stream, smooth):
        score = lambda s: jax.vmap(lambda z, b: s.criterion(z, b))(jnp.asarray(logits), batches)
        plain = stream.criterion(jnp.asarray(logits[0]), sampled[0])
        return score(stream), score(smooth), plain

    batches, sampled = jax.tree.map(jnp.asarray, (batches, sampled))
    return stream, found, logits, judge(stream, smooth)


@pytest.mark.slow
def test_labels_move_from_one_task_to_the_next():
    stream, found, logits, (direct, smooth, plain) = blended()
    (fraction, batches, now, before), sampled = found[1][:2]
    assert not np.array_equal(now.labels, before.labels)
    np.testing.assert_array_equal(batches.now.labels, now.labels)
    np.testing.assert_array_equal(batches.before, before.labels)
    a = fractions(0, 1)[:, None, None]
    np.testing.assert_allclose(fraction[:, :, None], np.tile(a, (1, 6, 1)), rtol=1e-6)
    logs = logits - np.log(np.exp(logits).sum(axis=2, keepdims=True))
    old, new, flat = np.eye(3)[before.labels], np.eye(3)[now.labels], 1 / 3
    right = logs == logs.max(axis=2, keepdims=True)
    first, second = np.maximum(1 - 2 * a, 0), np.maximum(2 * a - 1, 0)
    for (loss, metrics), target in (
        (direct, (1 - a) * old + a * new),
        (smooth, first * old + second * new + (1 - first - second) * flat),
    ):
        np.testing.assert_allclose(loss, -(target * logs).sum(2).mean(1), rtol=1e-5)
        np.testing.assert_allclose(metrics["accuracy"], (target * right).sum(2).mean(1), atol=1e-6)
    # Examples of a probe have the labels of the task.
    own = np.asarray(sampled[0].labels)
    np.testing.assert_allclose(plain[0], -logs[0][np.arange(6), own].mean(), rtol=1e-5)
    assert stream.output_loss() == stream.stream.output_loss()


@pytest.mark.slow
def test_a_mixture_drifts_from_one_task_to_the_next():
    """Also if the rows, their number and the masked classes change."""
    loader = tasks.Loader(epochs=2, minibatch_size=7)
    options: Any = {"classes_per_task": 1, "loader": loader}
    wrapped = tasks.IncrementalClasses(tiny_images(), order=(2, 0, 1), **options)
    stream = tasks.DriftingMixture(wrapped)

    @eqx.filter_jit
    def collected(stream, task):
        state = stream.init(key=KEY)
        for t in range(2):
            state = stream.begin_task(state, clock(t, 0), key=jax.random.fold_in(KEY, t))

        def epoch(chunk, key):
            at = Clock(*(jnp.asarray(i, int) for i in (0, 0, chunk, task)))
            chunk = stream.collect(state, LEARNER, at, key=key)[1]
            return (
                chunk.in_use,
                chunk.items,
                jax.vmap(lambda i: stream.batch(state, i))(chunk.items),
            )

        keys = jax.random.split(KEY, 40)
        return [jax.vmap(functools.partial(epoch, chunk))(keys) for chunk in range(2)]

    for task in (1, 0):
        epochs = jax.tree.map(np.asarray, collected(stream, jnp.asarray(task)))
        for chunk, (used, items, batches) in enumerate(epochs):
            assert (used == 4).all()  # 28 rows of two classes, in minibatches of 7
            a = (np.arange(1, 5) + 4 * chunk) / 8 if task else np.ones(4)
            shown = items.shown[:, :4]
            np.testing.assert_allclose(shown.mean(axis=(0, 2)), a, atol=0.11)
            assert shown[:, a == 1].all()
            # One class has been seen in the task before: class 2 alone, with a mask of its own.
            labels, classes = batches.labels[:, :4], batches.classes[:, :4]
            assert (labels[~shown] == 2).all()
            assert set(labels[shown].tolist()) == {0, 2}
            np.testing.assert_array_equal(classes.sum(axis=3), np.where(shown, 2, 1))
            rows = np.asarray(wrapped.source.data.part("train")[0])
            at = np.where(shown, items.now.rows[:, :4], items.before.rows[:, :4])
            np.testing.assert_allclose(
                batches.inputs[:, :4], np.moveaxis(rows[at], -1, -3) / 255, rtol=1e-6
            )


@pytest.mark.slow
def test_abruptness_is_a_number_of_the_run():
    """Streams of other abruptness share a program. 1 changes at once."""
    wrapped = permuted_rows()
    streams = [tasks.InterpolatedInputs(wrapped, abruptness=a) for a in (0.0, 0.5, 1.0)]
    assert len({jax.tree.structure(s) for s in streams}) == 1
    state = streams[0].begin_task(streams[0].init(key=KEY), clock(1, 0), key=KEY)

    @eqx.filter_jit
    def seen(stream):
        return stream.collect(state, LEARNER, clock(1, 0), key=KEY)[1].items.fraction[:, 0]

    for stream, expected in zip(streams, ([1, 2, 3, 4], [2, 4, 6, 8], [8] * 4), strict=True):
        np.testing.assert_allclose(seen(stream), np.array(expected) / 8)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: tasks.InterpolatedInputs(tasks.PermutedLabels(tiny_rows("classes"), **ROWS)),
            ValueError,
            "`stream` is of type PermutedLabels, whose tasks differ in their labels, but "
            "`InterpolatedInputs` .* must have the same labels in both tasks. .*DriftingMixture",
        ),
        (
            lambda: tasks.InterpolatedLabels(tasks.SplitClasses(tiny_images(), loader=LOADER)),
            ValueError,
            "`stream` is of type SplitClasses, whose tasks differ in their rows",
        ),
        (
            lambda: tasks.InterpolatedLabels(permuted_rows()),
            ValueError,
            "whose tasks differ in their inputs, but `InterpolatedLabels` .* the same inputs",
        ),
        (
            lambda: tasks.DriftingMixture(permuted_rows(), abruptness=1.5),
            ValueError,
            "`abruptness` is 1.5, but must lie between 0 and 1",
        ),
    ],
)
def test_streams_whose_end_points_would_not_be_the_tasks(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_streams_that_are_not_made_of_rows():
    for kind in (tasks.InterpolatedInputs, tasks.InterpolatedLabels, tasks.DriftingMixture):
        make = inspect.unwrap(kind.__init__)
        with pytest.raises(TypeError, match="`stream` is of type PermutedImages, .*PermutedInputs"):
            make(object.__new__(kind), permuted().stream)


def test_numbers_have_no_uniform_label():
    class ShiftedNumbers(tasks.AbstractLabelledStream):
        """Every task adds 1 to all numbers."""

        source: Any
        only_changes = "labels"
        num_tasks: int = 3

        def first_change(self, *, key):
            return jnp.zeros(())

        def next_change(self, change, clock, *, key):
            return change + 1

        def present(self, change, rows):
            return tasks.LabelledBatch(rows.inputs, rows.labels + change)

    make: Any = ShiftedNumbers
    stream = make(permuted_rows().source)
    stream = eqx.tree_at(lambda s: s.source.data, stream, tiny_rows("numbers"))
    assert not tasks.InterpolatedLabels(stream).through_uniform
    with pytest.raises(ValueError, match="`through_uniform` is True, .* are numbers"):
        tasks.InterpolatedLabels(stream, through_uniform=True)


@pytest.mark.parametrize(
    ("name", "inner"),
    [
        ("InterpolatedInputs", "PermutedInputs"),
        ("InterpolatedLabels", "RandomLabels"),
        ("DriftingMixture", "GrowingData"),
    ],
)
def test_wrappers_in_yaml(name, inner):
    own = {"type": inner, "data": {"type": "load_images", "name": "digits"}, "num_tasks": 2}
    section = {"type": name, "stream": own, "abruptness": 0.5}
    call = parse(section, tasks.AbstractTaskStream, "stream", {})
    stream = call.make()
    assert (type(stream).__name__, type(stream.stream).__name__) == (name, inner)
    assert (float(stream.abruptness), stream.num_tasks, stream.in_size) == (0.5, 2, 64)
    assert call.settings["stream"]["num_tasks"] == 2


@pytest.mark.slow
def test_an_experiment_with_a_gradual_stream():
    """Its parts fit together, and its quantities are those of the wrapped stream."""
    loader = {"type": "Loader", "minibatch_size": 200, "flat": True}
    own = {"type": "PermutedInputs", "data": {"type": "load_images", "name": "digits"}}
    settings: Any = {
        "stream": {
            "type": "InterpolatedInputs",
            "abruptness": 0.25,
            "stream": own | {"num_tasks": 4, "loader": loader},
        },
        "model": {"type": "MLP", "width": 4, "depth": 1},
        "algorithms": {"bp": {"type": "bp", "lr": 0.1}},
        "probes": {"weights": {"type": "WeightNorm"}},
    }
    experiment = studies.make_experiment(settings)
    assert experiment.settings["stream"]["stream"]["type"] == "PermutedInputs"
    assert experiment.quantities["test_accuracy"].compared
    assert experiment.stream.num_tasks == 4
