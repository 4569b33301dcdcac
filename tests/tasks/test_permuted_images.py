import dataclasses
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tables import permuted, tiny_images

from spectral import algorithms, Clock, Learner, models, tasks, train_continual
from spectral._keys import derive, Role


KEY = jax.random.key(4)
CLOCK = Clock(jnp.asarray(0), jnp.asarray(0), jnp.asarray(0), jnp.asarray(0))

LEARNER = Learner(permuted().model, None, algorithms.bp().optimiser)


def begun(stream, seed):
    state = stream.init(key=jax.random.key(0))
    return stream.begin_task(state, CLOCK, key=jax.random.key(seed))


def collected(stream, state):
    """The pixels and labels of all chunks of a task, in order."""
    rows = []
    for chunk in range(stream.chunks_per_task):
        clock = dataclasses.replace(CLOCK, chunk=jnp.asarray(chunk))
        _, data, metrics = stream.collect(state, LEARNER, clock, key=jax.random.key(1))
        assert metrics == {}
        assert data.items.pixels.shape == (
            stream.minibatches,
            stream.minibatch_size,
            stream.in_size,
        )
        rows.append(data.items)
    pixels = np.concatenate([np.asarray(r.pixels).reshape(-1, stream.in_size) for r in rows])
    return pixels, np.concatenate([np.asarray(r.labels).ravel() for r in rows])


@pytest.mark.parametrize(
    ("options", "uses"),
    [
        ({"steps_per_task": None}, {1}),
        ({"steps_per_task": None, "minibatch_size": 5}, {0, 1}),  # 8 batches of 5, of 42 rows
        ({"steps_per_task": 100}, {2, 3}),
        ({"steps_per_task": 30, "minibatch_size": 42}, {30}),
    ],
)
def test_every_row_is_used_as_often_as_any_other(options, uses):
    images = tiny_images()
    stream = permuted(**options).stream
    state = begun(stream, 2)
    pixels, labels = collected(stream, state)
    originals = np.asarray(images.train_images).reshape(42, -1)[:, np.asarray(state.permutation)]
    known = {row.tobytes(): i for i, row in enumerate(originals)}
    assert len(known) == 42
    rows = np.array([known[p.tobytes()] for p in pixels])
    assert set(np.bincount(rows, minlength=42).tolist()) == uses
    np.testing.assert_array_equal(np.asarray(images.train_labels)[rows], labels)
    for start in range(0, len(rows) - 41, 42):  # pass by pass
        assert len(set(rows[start : start + 42].tolist())) == 42
    assert (rows[:8] != np.arange(8)).any()


def test_tasks_are_fresh_permutations_of_the_original_pixels():
    stream = permuted().stream
    state = begun(stream, 2)
    after = stream.begin_task(state, CLOCK, key=jax.random.key(3))
    again = begun(stream, 3)
    np.testing.assert_array_equal(after.permutation, again.permutation)
    np.testing.assert_array_equal(after.order, again.order)
    assert sorted(np.asarray(after.permutation).tolist()) == list(range(6))
    assert not np.array_equal(state.permutation, after.permutation)
    assert not np.array_equal(state.order, after.order)


@pytest.mark.parametrize("standardise", [True, False])
def test_scale_of_the_inputs(standardise):
    images = tiny_images()
    stream = permuted(standardise=standardise).stream
    state = begun(stream, 2)
    batch = stream.sample(state, LEARNER, 42, "train", key=jax.random.key(4))
    pixels = np.asarray(images.train_images, float).reshape(42, -1)
    inputs = np.asarray(batch.inputs)
    if standardise:
        np.testing.assert_allclose([inputs.mean(), inputs.std()], [0, 1], atol=1e-5)
    else:
        assert sorted(inputs.ravel()) == pytest.approx(sorted((pixels / 255).ravel()))


def test_held_out_rows_are_the_test_rows():
    images = tiny_images()
    stream = permuted(standardise=False).stream
    state = begun(stream, 2)
    batch = stream.sample(state, LEARNER, 18, "held_out", key=jax.random.key(4))
    test = np.asarray(images.test_images).reshape(18, -1)[:, np.asarray(state.permutation)]
    rows = {row.tobytes() for row in test}
    found = np.round(np.asarray(batch.inputs) * 255).astype(np.uint8)
    assert {row.tobytes() for row in found} == rows


def test_evaluation_is_on_test_rows_under_the_permutation():
    images = tiny_images()
    setting = permuted(standardise=False, num_evaluation_examples=10)
    stream, model = setting.stream, setting.model
    state = begun(stream, 2)
    rows = np.asarray(state.evaluation)
    assert len(set(rows.tolist())) == 10
    x = np.asarray(images.test_images).reshape(18, -1)[rows][:, np.asarray(state.permutation)]
    logits = np.asarray(jax.vmap(lambda x: model(x)[0])(jnp.asarray(x / 255.0)))
    labels = np.asarray(images.test_labels)[rows]
    learner = Learner(model, None, algorithms.bp().optimiser)
    result = stream.evaluate(state, learner, key=jax.random.key(0))
    assert float(result["test_accuracy"]) == pytest.approx((logits.argmax(1) == labels).mean())
    shifted = logits - logits.max(1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    assert float(result["test_loss"]) == pytest.approx(-log_p[np.arange(10), labels].mean())


def test_online_accuracy_is_before_the_update():
    """A hand-written loop over the same rows gives the recorded accuracies and losses."""
    setting = permuted(num_tasks=1, chunks_per_task=2)
    stream = setting.stream
    learner, history = train_continual(setting.model, stream, algorithms.bp(0.1))
    key = jax.random.key(0)
    state = stream.init(key=derive(key, Role.INIT_STREAM))
    state = stream.begin_task(state, CLOCK, key=derive(key, Role.BEGIN_STREAM, 0))
    pixels, labels = collected(stream, state)
    inputs = (pixels - float(stream.shift)) / float(stream.scale)
    weights = [[np.asarray(d.weight), np.asarray(d.bias)] for d in setting.model.layers]
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
    np.testing.assert_allclose(history["loss"][0], np.reshape(losses, (2, 8)).mean(1), rtol=1e-4)
    np.testing.assert_allclose(history["online_accuracy"][0], np.reshape(right, (2, 8)).mean(1))
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


def test_the_network_must_fit_the_images():
    setting = permuted()
    for sizes, message in (((5, 3), "pass `in_size=6`"), ((6, 2), "make one with `out_size=3`")):
        with pytest.raises(ValueError, match=message):
            train_continual(
                models.MLP(*sizes, width=4, key=jax.random.key(0)), setting.stream, algorithms.bp()
            )


def test_accuracy_of_nan_is_nan():
    logits = jnp.array([[0.0, 1.0], [jnp.nan, 1.0]])
    assert np.isnan(tasks.cross_entropy(logits, jnp.array([1, 0]))).all()
    loss, accuracy = tasks.cross_entropy(logits[:1], jnp.array([1]))
    assert float(accuracy) == 1
    assert float(loss) == pytest.approx(np.log1p(np.exp(-1)))


def test_a_split_that_does_not_exist():
    stream = permuted().stream
    state = begun(stream, 2)
    with pytest.raises(ValueError, match="Split 'test' does not exist. Allowed: held_out, train"):
        inspect.unwrap(type(stream).sample)(stream, state, LEARNER, 3, "test", key=KEY)


def test_digits_learn():
    images = tasks.load_images("digits")
    stream = tasks.PermutedImages(images, num_tasks=2, steps_per_task=1500)
    model = models.MLP(64, 10, width=32, depth=1, key=jax.random.key(0))
    _, history = train_continual(model, stream, algorithms.bp(0.03))
    assert (history["test_accuracy"] > 0.85).all()
    assert (history["online_accuracy"] > 0.75).all()
