"""Streams of a labelled set of one's own: what changes with the task, and validation rows."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from spectral import algorithms, Clock, Learner, models, probes, tasks, train_continual
from spectral._check_parts import check_parts


KEY = jax.random.key(3)
SPLITS: tuple[tasks.Split, ...] = ("train", "held_out", "validation")
NO_ONE = Learner(None, None, algorithms.bp().optimiser)
LOADER = tasks.Loader(epochs=2, minibatch_size=5, standardise=True, evaluation_batch_size=4)


@functools.cache
def rows(kind: str = "classes") -> tasks.LabelledSet:
    """Rows of shape (2, 3): 30 for training, 9 for tests, 6 for validation."""
    rng = np.random.default_rng(1)
    inputs, classes = rng.normal(size=(45, 2, 3)), np.arange(45) % 3
    labels = {
        "classes": classes,
        "several": rng.random((45, 4)) < 0.5,
        "numbers": rng.normal(size=(45, 2)),
    }
    return tasks.labelled_set(inputs, labels[kind], num_test=9, num_validation=6)


CHANGED_INPUTS = {
    "permuted": tasks.PermutedInputs,
    "rotated": tasks.RotatedInputs,
    "drifting": tasks.DriftingInputs,
    "noised": tasks.NoisedInputs,
    "growing": functools.partial(tasks.GrowingData, num_tasks=4),
}
CHANGED_CLASSES = {
    "flipped": tasks.FlippedLabels,
    "permuted_labels": tasks.PermutedLabels,
    "random_labels": functools.partial(tasks.RandomLabels, rows=20),
    "split": functools.partial(tasks.SplitClasses, num_tasks=4),
    "incremental": functools.partial(tasks.IncrementalClasses, classes_per_task=1),
}
STREAMS = CHANGED_INPUTS | CHANGED_CLASSES


@eqx.filter_jit
def _tasks(stream, key):
    """What changes in four tasks, and all training rows and test rows of each."""

    def begin(state, task):
        zero = jnp.asarray(0)
        now = Clock(zero, zero, zero, task)
        state = stream.begin_task(state, now, key=jax.random.fold_in(key, task))
        show = lambda rows, split: stream._batch(state, rows, split)
        batches = [show(jnp.arange(stream.source.data.num_rows(split)), split) for split in SPLITS]
        change = jax.tree.map(_plain, state.change)
        return state, (change, state.count, state.rows, batches)

    return jax.lax.scan(begin, stream.init(key=key), jnp.arange(4))[1]


def _plain(leaf):
    is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return jax.random.key_data(leaf) if is_key else leaf


@functools.cache
def shown(name):
    stream = STREAMS[name](rows(), loader=LOADER)
    return stream, jax.tree.map(np.asarray, _tasks(stream, KEY))


def originals(split: tasks.Split = "train"):
    transform = tasks.InputTransform(rows(), LOADER)
    inputs = np.asarray(transform(rows().part(split)[0]))
    return inputs.reshape(len(inputs), -1)


def flat(inputs):
    return inputs.reshape(*inputs.shape[:2], -1)


@pytest.mark.parametrize("name", ["permuted", "rotated", "drifting", "noised"])
def test_inputs_keep_their_shape_and_labels(name):
    _, (*_, batches) = shown(name)
    for batch, split in zip(batches, SPLITS, strict=True):
        labels = np.asarray(rows().part(split)[1])
        assert batch.inputs.shape == (4, len(labels), 2, 3)
        np.testing.assert_array_equal(batch.labels, np.tile(labels, (4, 1)))
        tasks_ = [task.tobytes() for task in batch.inputs]
        assert len(set(tasks_)) == 4


def test_all_rows_of_a_task_are_permuted_alike():
    _, (change, *_, batches) = shown("permuted")
    assert [sorted(order) for order in change.tolist()] == [list(range(6))] * 4
    for batch, split in zip(batches, SPLITS, strict=True):
        for task in range(4):
            expected = originals(split)[:, change[task]]
            np.testing.assert_array_equal(flat(batch.inputs)[task], expected)


def test_rotations_are_orthogonal():
    _, (change, *_, batches) = shown("rotated")
    for batch, split in zip(batches, SPLITS, strict=True):
        gram = originals(split) @ originals(split).T
        for task, matrix in enumerate(change):
            np.testing.assert_allclose(matrix @ matrix.T, np.eye(6), atol=1e-5)
            found = flat(batch.inputs)[task]
            np.testing.assert_allclose(found, originals(split) @ matrix, atol=1e-5)
            np.testing.assert_allclose(found @ found.T, gram, atol=1e-4)


def test_rotations_have_no_preferred_direction():
    """The entries of a Haar matrix have mean 0 and variance 1/6."""
    stream = STREAMS["rotated"](rows(), loader=LOADER)
    now = Clock(*[jnp.asarray(0)] * 4)
    draw = jax.jit(jax.vmap(lambda key: stream.next_change(jnp.eye(6), now, key=key)))
    drawn = np.asarray(draw(jax.random.split(KEY, 2000)))
    np.testing.assert_allclose(drawn.mean(axis=0), 0, atol=0.05)  # 5 standard deviations
    np.testing.assert_allclose((drawn**2).mean(axis=0), 1 / 6, atol=0.03)


def test_drift_moves_by_equal_steps():
    _, (change, *_, batches) = shown("drifting")
    np.testing.assert_array_equal(change[0], 0)
    moves = np.diff(change, axis=0)
    np.testing.assert_allclose(np.sqrt((moves**2).mean(axis=1)), 0.1, rtol=1e-5)
    directions = moves / np.linalg.norm(moves, axis=1, keepdims=True)
    assert np.abs((directions @ directions.T)[~np.eye(3, dtype=bool)]).max() < 0.99
    for batch, split in zip(batches, SPLITS, strict=True):
        moved = flat(batch.inputs) - originals(split)
        np.testing.assert_allclose(moved, np.broadcast_to(change[:, None], moved.shape), atol=1e-5)


def test_noise_has_the_deviation_of_the_task():
    _, (change, *_, batches) = shown("noised")
    assert (change.deviation > 0).all()
    assert (change.deviation < 0.5).all()
    for batch, split in zip(batches, SPLITS, strict=True):
        noise = flat(batch.inputs) - originals(split)
        spread = noise.reshape(4, -1).std(axis=1)
        np.testing.assert_allclose(spread, change.deviation, rtol=0.5)
    train, test, validation = (flat(b.inputs)[:, :6] for b in batches)
    noise = [train - originals()[:6], test - originals("held_out")[:6]]
    noise.append(validation - originals("validation"))
    for first, second in ((0, 1), (0, 2), (1, 2)):
        assert np.abs(noise[first] - noise[second]).max() > 0.1


def test_flipped_labels():
    _, (*_, batches) = shown("flipped")
    truth = np.asarray(rows().train_labels)
    wrong = batches[0].labels != truth
    assert wrong.sum(axis=1).tolist() == [6] * 4  # a fifth of 30
    assert len({tuple(task) for task in wrong}) == 4
    for batch, split in zip(batches, SPLITS, strict=True):
        if split != "train":
            np.testing.assert_array_equal(batch.labels[2], rows().part(split)[1])
        np.testing.assert_allclose(flat(batch.inputs)[3], originals(split))


@functools.cache
def _flip():
    stream = STREAMS["flipped"](rows(), loader=LOADER)
    now = Clock(*[jnp.asarray(0)] * 4)

    @jax.jit
    def draw(fraction, key):
        changed = eqx.tree_at(lambda s: s.fraction, stream, fraction)
        return changed.next_change(changed.first_change(key=key), now, key=key)

    return draw


@settings(deadline=None, max_examples=50)
@given(fraction=st.floats(0, 1), seed=st.integers(0, 1000))
def test_the_fraction_of_flips(fraction, seed):
    labels = np.asarray(_flip()(jnp.asarray(fraction), jax.random.key(seed)))
    truth = np.asarray(rows().train_labels)
    assert abs((labels != truth).sum() - fraction * 30) <= 0.5 + 1e-4
    assert set(labels) <= {0, 1, 2}


def test_flips_take_all_other_classes():
    labels = np.asarray(_flip()(jnp.asarray(1.0), KEY))
    pairs = set(zip(np.asarray(rows().train_labels), labels, strict=True))
    assert pairs == {(a, b) for a in range(3) for b in range(3) if a != b}


def test_growing_data():
    stream, (_, counts, orders, batches) = shown("growing")
    assert counts.tolist() == [7, 15, 22, 30]
    assert (orders == orders[0]).all()
    assert sorted(orders[0]) == list(range(30))
    assert not stream.source.even
    np.testing.assert_allclose(flat(batches[0].inputs)[3], originals())
    state = eqx.filter_eval_shape(stream.init, key=KEY)
    assert state.test_rows.size == 9


@pytest.mark.parametrize("name", ["rotated", pytest.param("flipped", marks=pytest.mark.slow)])
def test_the_key_decides_all_draws(name):
    stream, (change, *_) = shown(name)
    again, other = (np.asarray(_tasks(stream, key)[0]) for key in (KEY, jax.random.key(4)))
    np.testing.assert_array_equal(again, change)
    assert not np.array_equal(other, change)


@pytest.mark.parametrize("kind", ["classes", "several", "numbers"])
@pytest.mark.parametrize("name", STREAMS)
def test_streams_of_all_kinds_of_labels(name, kind):
    """The programs of a run are traced. Labels that are not classes are rejected by streams that
    change classes."""
    data = rows(kind)
    if name in CHANGED_CLASSES and kind != "classes":
        with pytest.raises(ValueError, match="`data` is 'own data', .* `PermutedInputs`"):
            STREAMS[name](data, loader=LOADER)
        return
    loader = tasks.Loader(epochs=2, minibatch_size=5, flat=True)
    stream = STREAMS[name](data, loader=loader)
    model = eqx.filter_eval_shape(
        models.MLP, stream.in_size, stream.out_size, width=3, depth=1, key=KEY
    )
    gradient = {"validation": probes.GradientNorm(num_examples=2, split="validation")}
    check_parts(model, stream, algorithms.bp(), probes=gradient)
    assert (stream.chance_accuracy is None) == (kind != "classes" or name == "incremental")

    def evaluate():
        state = stream.init(key=KEY)
        return stream.evaluate(state, Learner(model, None, NO_ONE.optimiser), key=KEY)

    expected = {"test_loss", "validation_loss"}
    if kind != "numbers":
        expected |= {"test_accuracy", "validation_accuracy"}
    model = jax.tree.map(
        lambda x: jnp.zeros(x.shape, x.dtype) if isinstance(x, jax.ShapeDtypeStruct) else x, model
    )
    assert set(eqx.filter_eval_shape(evaluate)) == expected


@pytest.mark.parametrize("kind", ["several", "numbers"])
def test_losses(kind):
    data = rows(kind)
    labels = np.asarray(data.test_labels)
    outputs = np.random.default_rng(2).normal(size=labels.shape)
    loss, metrics = tasks.label_loss(jnp.asarray(outputs), data.test_labels)
    if kind == "numbers":
        assert metrics == {}
        np.testing.assert_allclose(loss, ((outputs - labels) ** 2).mean(), rtol=1e-5)
        return
    p = 1 / (1 + np.exp(-outputs))
    expected = -np.where(labels, np.log(p), np.log(1 - p)).mean()
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    np.testing.assert_allclose(metrics["accuracy"], ((outputs > 0) == labels).mean(), rtol=1e-6)
    outputs[0, 0] = np.nan
    lost = tasks.label_loss(jnp.asarray(outputs), data.test_labels)[1]["accuracy"]
    assert np.isnan(lost)


def test_validation_is_recorded():
    """At the end of a task, on all validation rows, under the change of the task."""
    loader = tasks.Loader(epochs=2, minibatch_size=5, flat=True, evaluation_batch_size=4)
    stream = tasks.DriftingInputs(rows("numbers"), num_tasks=1, loader=loader)
    model = models.MLP(6, 2, width=3, depth=1, key=KEY)
    learner, history = train_continual(model, stream, algorithms.bp(0.05), key=KEY)
    assert history["validation_loss"].shape == (1,)
    for split, name in zip(SPLITS[1:], ("test_loss", "validation_loss"), strict=True):
        inputs, labels = map(np.asarray, rows("numbers").part(split))
        hidden, head = ([np.asarray(x) for x in (d.weight, d.bias)] for d in learner.model.layers)
        on = np.maximum(inputs.reshape(len(inputs), -1) @ hidden[0].T + hidden[1], 0)
        expected = ((on @ head[0].T + head[1] - labels) ** 2).mean()
        np.testing.assert_allclose(history[name], expected, rtol=1e-4)


def test_validation_of_permuted_images():
    images = tasks.load_images("digits", num_validation=100)
    stream = tasks.PermutedImages(images, num_tasks=1, num_evaluation_examples=10)

    @eqx.filter_jit
    def look(model, stream):
        state = stream.init(key=KEY)
        batch = stream.sample(state, NO_ONE, 100, "validation", key=KEY)
        logits, _ = stream.forward(model, None, batch, key=KEY, inference=True)
        learner = Learner(model, None, NO_ONE.optimiser)
        found = stream.evaluate(state, learner, key=KEY)
        return found, tasks.cross_entropy(logits, batch.labels)

    model = models.MLP(64, 10, width=3, depth=1, key=KEY)
    found, (loss, accuracy) = look(model, stream)
    np.testing.assert_allclose(found["validation_loss"], loss, rtol=1e-5)
    np.testing.assert_allclose(found["validation_accuracy"], accuracy, rtol=1e-5)
    assert set(found) == {f"{p}_{m}" for p in ("test", "validation") for m in ("accuracy", "loss")}


def test_a_class_without_validation_rows():
    """It is rejected if a task may have none."""
    x, y = jnp.ones((12, 2)), jnp.arange(12) % 3
    options = {"num_classes": 3, "validation_inputs": x[:2], "validation_labels": y[:2]}
    lacking = tasks.LabelledSet("lacking", x, y, x, y, **options)
    loader = tasks.Loader(minibatch_size=2)
    with pytest.raises(ValueError, match="'lacking' has too few validation rows"):
        tasks.SplitClasses(lacking, classes_per_task=1, loader=loader)
    tasks.SplitClasses(lacking, classes_per_task=2, loader=loader)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda d: tasks.PermutedInputs(d, num_tasks=0), "`num_tasks` is 0"),
        (lambda d: tasks.RotatedInputs(d, num_tasks=0), "`num_tasks` is 0"),
        (lambda d: tasks.DriftingInputs(d, step=0.0), "`step` is 0.0"),
        (lambda d: tasks.NoisedInputs(d, max_noise=-1.0), "`max_noise` is -1.0"),
        (lambda d: tasks.FlippedLabels(d, fraction=1.5), "`fraction` is 1.5"),
        (lambda d: tasks.GrowingData(d, num_tasks=31), "`num_tasks` is 31, .* 30 training rows"),
        (
            lambda d: tasks.GrowingData(d, num_tasks=10, loader=LOADER),
            "`minibatch_size` is 5, but the smallest task has 3",
        ),
        (
            lambda d: tasks.PermutedLabels(
                d, loader=tasks.Loader(minibatch_size=5, augmentation=tasks.Flip())
            ),
            r"`augmentation` is Flip.*, which changes images, .* shape \(2, 3\)",
        ),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make(rows())
