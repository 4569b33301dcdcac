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

from spectral import Clock, Learner, Optimiser, tasks
from spectral.studies.experiment._parse import parse


KEY = jax.random.key(5)
LEARNER = Learner(None, None, Optimiser(optax.sgd, learning_rate=0.1))  # not looked at
LOADER = tasks.Loader(epochs=2, minibatch_size=6)
ROWS = {"num_tasks": 3, "loader": LOADER}
STEPS = 8  # 24 training rows in two epochs


def clock(task: int, chunk: int) -> Clock:
    at = lambda i: jnp.asarray(i, int)
    return Clock(at(task * STEPS + chunk * STEPS // 2), at(0), at(chunk), at(task))


@eqx.filter_jit
def followed(stream, wrapped) -> Any:
    """For each task: the batches of all steps, those of the wrapped stream for the same rows in
    this task and in the task before, and samples of both."""

    def one_task(states, task):
        key = jax.random.fold_in(KEY, task)
        old = states[1]
        state = stream.begin_task(states[0], clock(task, 0), key=key)
        own = wrapped.begin_task(old, clock(task, 0), key=key)
        before = own if task == 0 else old

        def epoch(chunk):
            at = clock(task, chunk)
            _, found, _ = stream.collect(state, LEARNER, at, key=jax.random.fold_in(key, chunk))
            rows = getattr(found.items, "item", None)
            batches = jax.vmap(lambda item: stream.batch(state, item))(found.items)
            if rows is None:
                rows = found.items.now
            show = lambda task: jax.vmap(lambda item: wrapped.batch(task, item))(rows)
            return found.items, batches, show(own), show(before)

        sampled = [
            s.sample(task, LEARNER, 6, "train", key=key) for s, task in ((stream, state), (wrapped, own))
        ]
        joined = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), epoch(0), epoch(1))
        return (state, own), (joined, sampled, no_keys(state.before), no_keys(before))

    states = stream.init(key=KEY), wrapped.init(key=KEY)
    found = []
    for task in range(3):
        states, result = one_task(states, task)
        found.append(result)
    return found


def no_keys(tree):
    is_key = lambda x: eqx.is_array(x) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
    return jax.tree.map(lambda x: jax.random.key_data(x) if is_key(x) else x, tree)


def permuted_rows() -> Any:
    return tasks.PermutedInputs(tiny_rows("classes"), **ROWS)


def fractions(abruptness: float, task: int) -> np.ndarray:
    steps = np.arange(1, STEPS + 1)
    return np.ones(STEPS) if task == 0 else np.minimum(steps / ((1 - abruptness) * STEPS), 1)


def test_inputs_move_from_one_task_to_the_next():
    wrapped = permuted_rows()
    stream = tasks.InterpolatedInputs(wrapped, abruptness=0.25)
    assert (stream.num_tasks, stream.chunks_per_task, stream.minibatches) == (3, 2, 4)
    assert (stream.in_shape, stream.in_size, stream.out_size) == ((4,), 4, 3)
    assert stream.chance_accuracy == 1 / 3
    assert stream.quantities() == wrapped.quantities()
    found = jax.tree.map(np.asarray, followed(stream, wrapped))
    for task, ((items, batches, now, before), sampled, kept, expected) in enumerate(found):
        a = fractions(0.25, task)
        np.testing.assert_allclose(items.fraction, np.tile(a[:, None], (1, 6)), rtol=1e-6)
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
    found = jax.tree.map(np.asarray, followed(stream, wrapped))
    (_, batches, _, _), sampled = found[1][:2]
    logits = np.random.default_rng(0).normal(size=(STEPS, 6, 3)).astype(np.float32)

    @eqx.filter_jit
    def judge(stream, smooth):
        score = lambda s: jax.vmap(lambda z, b: s.criterion(z, b))(jnp.asarray(logits), batches)
        plain = stream.criterion(jnp.asarray(logits[0]), sampled[0])
        return score(stream), score(smooth), plain

    return stream, found, logits, judge(stream, smooth)


def test_labels_move_from_one_task_to_the_next():
    stream, found, logits, (direct, smooth, plain) = blended()
    (items, batches, now, before), sampled = found[1][:2]
    assert not np.array_equal(now.labels, before.labels)
    np.testing.assert_array_equal(batches.now.labels, now.labels)
    np.testing.assert_array_equal(batches.before, before.labels)
    a = fractions(0, 1)[:, None, None]
    np.testing.assert_allclose(items.fraction[:, :, None], np.tile(a, (1, 6, 1)), rtol=1e-6)
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
            return chunk.in_use, chunk.items, jax.vmap(lambda i: stream.batch(state, i))(chunk.items)

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


def test_abruptness_is_a_number_of_the_run():
    """Streams of other abruptness share a program. 1 changes at once."""
    wrapped = permuted_rows()
    streams = [tasks.InterpolatedInputs(wrapped, abruptness=a) for a in (0.0, 0.5, 1.0)]
    assert len({jax.tree.structure(s) for s in streams}) == 1
    state = streams[0].init(key=KEY)

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
            raise NotImplementedError

    stream = ShiftedNumbers(permuted_rows().source)
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
