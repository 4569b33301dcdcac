"""Permuted images against their definition in NumPy."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
import scipy.special
from tables import tiny_images

from spectral import algorithms, Clock, Learner, models, tasks, train_continual
from spectral._check_parts import check_parts
from spectral._keys import derive, Role
from spectral.tasks.labelled.streams._permuted_images import Permutation, PixelRows


KEY = jax.random.key(4)
CLOCK = Clock(*map(jnp.asarray, (0, 0, 0, 0)))
OPTIMISER = algorithms.bp().optimiser
NO_ONE = Learner(None, None, OPTIMISER)
IMAGES = tiny_images()
TRAIN = np.asarray(IMAGES.train_images).reshape(42, -1)
TEST = np.asarray(IMAGES.test_images).reshape(18, -1)
STATE = Permutation(jnp.arange(6), jnp.arange(16), jnp.arange(18))


def permuted(**options: Any) -> tasks.PermutedImages:
    options = {"num_tasks": 3, "steps_per_task": 16, "chunks_per_task": 2} | options
    return tasks.PermutedImages(IMAGES, **options)


@functools.cache
def network() -> models.MLP:
    return eqx.filter_jit(models.MLP)(6, 3, width=5, depth=2, key=jax.random.key(1))


def collected(stream, state):
    """Returns the pixels and labels of all chunks of a task, in order."""

    def collect(chunk):
        now = Clock(CLOCK.step, CLOCK.step_in_chunk, chunk, CLOCK.task)
        _, data, metrics = stream.collect(state, NO_ONE, now, key=jax.random.key(1))
        assert metrics == {}
        assert data.items.pixels.shape == (
            stream.minibatches,
            stream.minibatch_size,
            stream.in_size,
        )
        return data.items

    items = jax.lax.map(collect, jnp.arange(stream.chunks_per_task))
    return items.pixels.reshape(-1, stream.in_size), items.labels.ravel()


@eqx.filter_jit
def _look(stream, keys):
    """Returns the state of a task, and its pixels and labels."""
    state = stream.begin_task(stream.init(key=keys[0]), CLOCK, key=keys[1])
    return state, *collected(stream, state)


def look(stream, first=0, second=2):
    keys = jax.random.key(first), jax.random.key(second)
    return jax.tree.map(np.asarray, _look(stream, keys))


@pytest.mark.parametrize(
    ("options", "visits"),
    [
        ({"steps_per_task": 20, "minibatch_size": 5}, {2, 3}),
        # 8 minibatches of 5, of 42 rows
        pytest.param({"minibatch_size": 5}, {0, 1}, marks=pytest.mark.slow),
        pytest.param({}, {1}, marks=pytest.mark.slow),
        pytest.param({"steps_per_task": 30, "minibatch_size": 42}, {30}, marks=pytest.mark.slow),
    ],
)
def test_rows_are_visited_equally_often(options, visits):
    state, pixels, labels = look(permuted(**({"steps_per_task": None} | options)))
    originals = TRAIN[:, state.pixels]
    known = {row.tobytes(): i for i, row in enumerate(originals)}
    assert len(known) == 42
    rows = np.array([known[p.tobytes()] for p in pixels])
    assert set(np.bincount(rows, minlength=42).tolist()) == visits
    np.testing.assert_array_equal(np.asarray(IMAGES.train_labels)[rows], labels)
    for start in range(0, len(rows) - 41, 42):  # pass by pass
        assert len(set(rows[start : start + 42].tolist())) == 42
    assert (rows[:8] != np.arange(8)).any()


def test_steps_of_a_task():
    assert permuted(steps_per_task=None, chunks_per_task=1).minibatches == 42
    assert permuted(steps_per_task=None, minibatch_size=5).minibatches == 4  # two chunks of 8 steps


def test_permutations_do_not_compound():
    stream = permuted(num_evaluation_examples=10)

    before = jnp.stack([STATE.pixels, STATE.pixels, STATE.pixels[::-1]])

    @eqx.filter_jit
    def begin(stream, keys):
        each = lambda pixels, key: stream.begin_task(
            eqx.tree_at(lambda s: s.pixels, STATE, pixels), CLOCK, key=key
        )
        return stream.init(key=keys[0]), jax.lax.map(lambda x: each(*x), (before, keys))

    keys = jnp.stack([jax.random.key(seed) for seed in (2, 3, 3)])
    first, begun = jax.tree.map(np.asarray, begin(stream, keys))
    state, after, again = (jax.tree.map(lambda x, i=i: x[i], begun) for i in range(3))
    assert len(set(first.evaluation.tolist())) == 10
    assert first.evaluation.max() < 18
    np.testing.assert_array_equal(state.evaluation, STATE.evaluation)
    np.testing.assert_array_equal(after.pixels, again.pixels)
    np.testing.assert_array_equal(after.order, again.order)
    assert sorted(after.pixels.tolist()) == list(range(6))
    assert not np.array_equal(state.pixels, after.pixels)
    assert not np.array_equal(state.order, after.order)


@pytest.mark.parametrize("standardise", [True, False])
def test_scale_of_the_inputs(standardise):
    stream = permuted(standardise=standardise)
    pixels = TRAIN.astype(float)
    if standardise:
        expected = (pixels - pixels.mean()) / pixels.std()
    else:
        expected = pixels / 255
    item = PixelRows(jnp.asarray(TRAIN), IMAGES.train_labels)
    inputs = jax.jit(lambda item: stream.batch(STATE, item).inputs)(item)
    np.testing.assert_allclose(inputs, expected, atol=1e-5)


def test_samples_and_evaluation():
    """Held-out rows are test rows, under the permutation of the task."""
    stream, model = permuted(standardise=False, num_evaluation_examples=10), network()

    permuted_pixels = np.array([4, 2, 0, 5, 1, 3])
    rows = np.array([17, 3, 0, 8, 9, 2, 11, 14, 6, 5])
    state = Permutation(jnp.asarray(permuted_pixels), STATE.order, jnp.asarray(rows))

    @eqx.filter_jit
    def look(stream, model, state):
        learner = Learner(model, None, OPTIMISER)
        sample = functools.partial(stream.sample, state, learner, key=KEY)
        train, held_out = sample(42, "train"), sample(18, "held_out")
        logits, _ = stream.forward(model, None, held_out, key=KEY, inference=False)
        return (
            train,
            held_out,
            logits,
            stream.criterion(logits, held_out),
            stream.evaluate(state, learner, key=KEY),
        )

    train, held_out, logits, criterion, metrics = jax.tree.map(
        np.asarray, look(stream, model, state)
    )
    for batch, pixels in ((train, TRAIN), (held_out, TEST)):
        found = np.round(batch.inputs * 255).astype(int).tolist()
        expected = pixels[:, permuted_pixels].tolist()
        assert sorted(found) == sorted(expected)
        assert found != expected
    z = hidden = TEST[rows][:, permuted_pixels] / 255
    for layer in model.layers:
        z = hidden @ np.asarray(layer.weight).T + np.asarray(layer.bias)
        hidden = np.maximum(z, 0)
    labels = np.asarray(IMAGES.test_labels)[rows]
    assert float(metrics["test_accuracy"]) == pytest.approx((z.argmax(1) == labels).mean())
    loss = -scipy.special.log_softmax(z, axis=1)[np.arange(10), labels].mean()
    assert float(metrics["test_loss"]) == pytest.approx(loss, rel=1e-5)
    right = np.argmax(logits, axis=1) == held_out.labels
    assert float(criterion[1]["online_accuracy"]) == pytest.approx(right.mean())
    loss = -scipy.special.log_softmax(logits, axis=1)[np.arange(18), held_out.labels].mean()
    assert float(criterion[0]) == pytest.approx(loss, rel=1e-5)


@jax.jit
def _loop_keys(task):
    """Returns the keys with which `train_continual` begins a task."""
    key = jax.random.key(0)
    return derive(key, Role.INIT_STREAM), derive(key, Role.BEGIN_STREAM, task)


@pytest.mark.slow
def test_online_accuracy_is_before_the_update():
    """A loop in NumPy over the same rows gives the recorded accuracies and losses."""
    stream, model = permuted(), network()
    learner, history = train_continual(model, stream, algorithms.bp(0.1))
    pixels, labels = [], []
    for task in range(3):
        seen = jax.tree.map(np.asarray, _look(stream, _loop_keys(task)))
        pixels.append(seen[1])
        labels.append(seen[2])
    pixels, labels = np.concatenate(pixels), np.concatenate(labels)
    inputs = (pixels - float(stream.shift)) / float(stream.scale)
    weights = [[np.asarray(d.weight), np.asarray(d.bias)] for d in model.layers]
    losses, right = [], []
    for x, y in zip(inputs, labels, strict=True):
        hidden = [x]
        for w, b in weights[:-1]:
            hidden.append(np.maximum(w @ hidden[-1] + b, 0))
        logits = weights[-1][0] @ hidden[-1] + weights[-1][1]
        p = np.exp(logits - logits.max())
        p /= p.sum()
        losses.append(-np.log(p[y]))
        right.append(logits.argmax() == y)
        delta = p - np.eye(3)[y]
        for layer in reversed(range(3)):
            w, b = weights[layer]
            back = w.T @ delta
            weights[layer] = [w - 0.1 * np.outer(delta, hidden[layer]), b - 0.1 * delta]
            delta = back * (hidden[layer] > 0)
    mean = lambda x: np.reshape(x, (3, 2, 8)).mean(axis=2)
    np.testing.assert_allclose(history["loss"], mean(losses), rtol=1e-4)
    np.testing.assert_allclose(history["online_accuracy"], mean(right))
    for layer, (w, b) in zip(learner.model.layers, weights, strict=True):
        np.testing.assert_allclose(layer.weight, w, atol=1e-5)
        np.testing.assert_allclose(layer.bias, b, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_tasks": 0}, "`num_tasks` is 0"),
        ({"minibatch_size": 0}, "`minibatch_size` is 0"),
        ({"minibatch_size": 43}, "`minibatch_size` is 43, but 'tiny' has 42 training rows"),
        ({"steps_per_task": 0}, "`steps_per_task` is 0"),
        ({"chunks_per_task": 3}, "must divide the 16 steps"),
        ({"num_evaluation_examples": 0}, "`num_evaluation_examples` is 0"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        permuted(**options)


def test_networks_that_do_not_fit():
    stream = permuted()
    for sizes, message in (((5, 3), "make the network with `in_size=6`"), ((6, 2), "`out_size=3`")):
        model = eqx.filter_eval_shape(models.MLP, *sizes, width=4, key=KEY)
        with pytest.raises(ValueError, match=message):
            check_parts(model, stream, algorithms.bp())


def test_accuracy_of_nan_is_nan():
    both = jax.jit(tasks.cross_entropy)
    logits = np.array([[0.0, 1.0], [np.nan, 1.0]], np.float32)
    assert np.isnan(both(logits, np.array([1, 0]))).all()
    loss, accuracy = both(np.stack([logits[0]] * 2), np.array([1, 0]))
    assert float(accuracy) == 0.5
    assert float(loss) == pytest.approx(np.log1p(np.exp(-1)) + 0.5)


def test_unknown_split(monkeypatch):
    # Without this the type checker rejects the split first.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    stream = permuted()
    split: Any = "test"
    with pytest.raises(ValueError, match="Split 'test' does not exist. Allowed: held_out, train"):
        stream.sample(STATE, NO_ONE, 3, split, key=KEY)
    with pytest.raises(ValueError, match="`num_examples` is 43, but the split 'train' has 42 rows"):
        stream.sample(STATE, NO_ONE, 43, "train", key=KEY)


@pytest.mark.slow
def test_digits_learn():
    images = tasks.load_images("digits")
    stream = tasks.PermutedImages(images, num_tasks=2, steps_per_task=1500)
    model = models.MLP(64, 10, width=32, depth=1, key=jax.random.key(0))
    _, history = train_continual(model, stream, algorithms.bp(0.03))
    assert (history["test_accuracy"] > 0.85).all()
    assert (history["online_accuracy"] > 0.75).all()
