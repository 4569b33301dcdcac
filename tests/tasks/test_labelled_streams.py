"""Streams of labelled images: the rows that they visit, their inputs and labels, and evaluation."""

import functools
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from spectral import algorithms, Clock, Learner, models, tasks
from spectral._check_parts import check_parts
from spectral.tasks import LabelledRows, Loader
from spectral.tasks.labelled.streams._labelled_stream import LabelledItem
from spectral.tasks.labelled.streams._noised_images import Noise


CLASSES, EPOCHS, SIZE = 6, 3, 4
KEY = jax.random.key(0)
OPTIMISER = algorithms.bp().optimiser
NO_ONE = Learner(None, None, OPTIMISER)


def images(uneven: bool = False) -> tasks.ImageSet:
    """Images whose first pixel is their row: 8 training and 5 test rows in each of 6 classes, and
    if `uneven` two more in class 0 and one more in class 3."""
    rng = np.random.default_rng(0)

    def part(each):
        labels = rng.permutation(np.repeat(np.arange(CLASSES), each))
        labels = np.append(labels, [0, 0, 3]) if uneven else labels
        pixels = rng.integers(0, 256, (len(labels), 4, 3, 2)).astype(np.uint8)
        pixels[:, 0, 0, 0] = np.arange(len(labels))
        return jnp.asarray(pixels), jnp.asarray(labels)

    return tasks.ImageSet("rows", *part(8), *part(5), num_classes=CLASSES, max_value=255)


LOADER = Loader(epochs=2, minibatch_size=SIZE, flat=True, evaluation_batch_size=4)
STREAMS = {
    "split": lambda: tasks.SplitClasses(
        images(uneven=True), num_tasks=7, order=(4, 1, 3, 0, 5, 2), loader=LOADER
    ),
    "incremental": lambda: tasks.IncrementalClasses(
        images(uneven=True), classes_per_task=2, loader=LOADER
    ),
    "permuted_labels": lambda: tasks.PermutedLabels(images(), num_tasks=3, loader=LOADER),
    "random_labels": lambda: tasks.RandomLabels(images(), rows=20, num_tasks=3, loader=LOADER),
    "rotated": lambda: tasks.RotatedImages(images(), num_tasks=3, step=90.0, loader=LOADER),
    "noised": lambda: tasks.NoisedImages(images(), num_tasks=3, loader=LOADER),
}


# Streams share the code of epochs, samples and evaluation.
FOLLOWED = [
    name if name == "incremental" else pytest.param(name, marks=pytest.mark.slow)
    for name in STREAMS
]


class Begun(NamedTuple):
    """All tasks of a stream, and all rows of each task twice, in opposite orders. Leaves are
    `[tasks, ...]`."""

    stream: Any
    state: Any
    rows: np.ndarray  # [tasks, 2, rows]
    batches: Any  # [tasks, 2, rows, ...]

    def task_rows(self, task: int, *, test: bool = False) -> np.ndarray:
        state = self.state
        rows = state.test_rows if test else state.rows
        return rows[task][: (state.test_count if test else state.count)[task]]

    def labels(self, *, test: bool = False) -> np.ndarray:
        return np.asarray(self.stream.source.data.part("held_out" if test else "train")[1])


class Followed(NamedTuple):
    """Epochs, samples and evaluation of a stream in all of its tasks. Leaves are `[tasks, ...]`."""

    model: Any
    rows: np.ndarray  # [tasks, epochs, minibatches, examples]
    used: np.ndarray  # minibatches in use
    batches: Any  # [tasks, epochs, minibatches, examples, ...]
    held_out: Any  # a sample of all test rows
    metrics: dict[str, np.ndarray]


def without_keys(tree: Any) -> Any:
    """Returns a tree with the data of its keys, because keys have no NumPy array."""
    is_key = lambda x: jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
    return jax.tree.map(lambda x: jax.random.key_data(x) if is_key(x) else x, tree)


def clock(stream: Any, task: Any) -> Clock:
    zero = jnp.asarray(0)
    return Clock(task * stream.chunks_per_task * stream.minibatches, zero, zero, jnp.asarray(task))


def in_each_task(stream: Any, look: Any) -> Any:
    """Returns `look(state, clock)` in each task, stacked."""

    def begin(state, task):
        now = clock(stream, task)
        key = jax.random.fold_in(jax.random.key(2), task)
        state = stream.begin_task(state, now, key=key)
        return state, look(state, now)

    state = stream.init(key=jax.random.key(1))
    return jax.lax.scan(begin, state, jnp.arange(stream.num_tasks))[1]


@eqx.filter_jit
def _begin(stream: Any) -> Any:
    def look(state, now):
        rows = jnp.stack([state.rows, state.rows[::-1]])
        show = lambda rows: stream.batch(state, LabelledItem(rows, None))
        return without_keys(state), rows, jax.vmap(show)(rows)

    return in_each_task(stream, look)


@eqx.filter_jit
def _follow(stream: Any, model: Any) -> Any:
    learner = Learner(model, None, OPTIMISER)

    def look(state, now):
        def epoch(key):
            chunk = stream.collect(state, learner, now, key=key)[1]
            used = stream.minibatches if chunk.in_use is None else chunk.in_use
            batches = jax.vmap(lambda item: stream.batch(state, item))(chunk.items)
            return chunk.items.rows, used, batches

        rows, used, batches = jax.vmap(epoch)(jax.random.split(KEY, EPOCHS))
        most = state.test_rows.size
        held_out = stream.sample(state, learner, most, "held_out", key=KEY)
        metrics = stream.evaluate(state, learner, key=KEY)
        return rows, used[0], batches, held_out, metrics

    return in_each_task(stream, look)


@functools.cache
def begun(name: str) -> Begun:
    stream = STREAMS[name]()
    return Begun(stream, *jax.tree.map(np.asarray, _begin(stream)))


@functools.cache
def followed(name: str) -> Followed:
    stream = begun(name).stream
    model = eqx.filter_jit(models.MLP)(24, stream.out_size, width=5, depth=1, key=KEY)
    return Followed(model, *jax.tree.map(np.asarray, _follow(stream, model)))


def changes(stream: Any) -> Any:
    """Returns how each task differs, and the training rows of each."""
    parts = lambda state, now: (without_keys(state.change), state.rows)
    look = eqx.filter_jit(lambda stream: in_each_task(stream, parts))
    return jax.tree.map(np.asarray, look(stream))


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("test", [False, True])
def test_rows_of_a_task(name, test):
    """All rows of its classes, or the rows that are memorised, each once."""
    seen = begun(name)
    labels, change = seen.labels(test=test), seen.state.change
    for task in range(seen.stream.num_tasks):
        rows = seen.task_rows(task, test=test).tolist()
        if name == "random_labels" and not test:
            assert len(set(rows)) == len(rows) == 20
            assert rows == seen.task_rows(0).tolist()
            continue
        classes = np.arange(CLASSES)
        if name == "split":
            classes = change.classes[task]
        if name == "incremental":
            classes = change.order[task][: 2 * (task + 1)]
        assert sorted(rows) == np.flatnonzero(np.isin(labels, classes)).tolist()


@pytest.mark.parametrize("name", FOLLOWED)
def test_every_epoch_visits_the_rows_of_the_task_once(name):
    """In full minibatches; the rows that do not fill one are left out."""
    seen, found = begun(name), followed(name)
    for task in range(seen.stream.num_tasks):
        rows = seen.task_rows(task)
        full = len(rows) // SIZE
        assert found.used[task] == full
        for epoch in range(EPOCHS):
            visited = found.rows[task, epoch, :full].ravel().tolist()
            assert len(set(visited)) == full * SIZE
            assert set(visited) <= set(rows.tolist())
        assert not np.array_equal(found.rows[task, 0], found.rows[task, 1])


def assert_pixels(seen: Begun, name: str, task: int, rows: np.ndarray, inputs: np.ndarray) -> None:
    pixels = np.asarray(seen.stream.source.data.part("train")[0])
    expected = np.moveaxis(pixels[rows], -1, -3)
    if name == "rotated":
        # A quarter turn of 4 x 3 pixels does not fit the frame; half a turn does.
        if task != 2:
            return
        expected = expected[..., ::-1, ::-1]
    expected = expected.reshape(inputs.shape) / 255
    if name == "noised":
        size = float(seen.state.change.deviation[task])
        assert 0 < size < 0.5
        inside = (inputs > 0) & (inputs < 1)
        np.testing.assert_allclose((inputs - expected)[inside].std(), size, rtol=0.35)
    else:
        np.testing.assert_allclose(inputs, expected, atol=1e-6)


@pytest.mark.parametrize("name", STREAMS)
def test_inputs_come_from_the_rows(name):
    seen = begun(name)
    assert seen.stream.in_size == 24
    for task in range(seen.stream.num_tasks):
        assert_pixels(seen, name, task, seen.rows[task], seen.batches.inputs[task])


@pytest.mark.parametrize("name", FOLLOWED)
def test_minibatches_come_from_the_rows(name):
    seen, found = begun(name), followed(name)
    for task in range(seen.stream.num_tasks):
        assert_pixels(seen, name, task, found.rows[task], found.batches.inputs[task])


def test_draws_of_a_row_are_constant_within_a_task():
    """Noise and random labels depend on the row, and change with the task."""
    for name, get in (("noised", lambda b: b.inputs), ("random_labels", lambda b: b.labels)):
        seen = begun(name)
        drawn = get(seen.batches)
        np.testing.assert_array_equal(drawn[:, 0], drawn[:, 1, ::-1])
        assert not np.array_equal(drawn[0], drawn[1])
        assert not np.array_equal(drawn[1], drawn[2])
    assert set(drawn.ravel().tolist()) == set(range(CLASSES))


@eqx.filter_jit
def _key_data(rows):
    return jax.random.key_data(rows.keys(KEY))


def test_keys_of_rows():
    rows = jnp.array([3, 5, 3])
    pixels, labels = jnp.zeros((3, 1, 1, 1), jnp.uint8), jnp.zeros(3, int)
    train, test = (
        np.asarray(_key_data(LabelledRows(pixels, labels, rows, split)))
        for split in ("train", "held_out")
    )
    assert len(np.unique(np.concatenate([train, test]), axis=0)) == 4
    np.testing.assert_array_equal(train[0], train[2])


def test_noise_is_clipped():
    few = tasks.fewer_images(images(), train_per_class=1)
    pixels = jnp.full_like(few.train_images, 8)
    parts = pixels, few.train_labels, few.test_images, few.test_labels
    dark = tasks.ImageSet("dark", *parts, num_classes=CLASSES, max_value=16)
    stream = tasks.NoisedImages(dark, loader=Loader(minibatch_size=1))

    @jax.jit
    def look():
        rows = LabelledRows(pixels, few.train_labels, jnp.arange(CLASSES), "train")
        return stream.present(Noise(jnp.asarray(1.0), KEY), rows).inputs

    values, counts = np.unique(look() * 16, return_counts=True)
    assert values.tolist() == list(range(17))
    # A normal number exceeds 7.5 / 16 with a probability of 0.32.
    np.testing.assert_allclose(counts[[0, -1]] / counts.sum(), 0.32, atol=0.12)


def test_permuted_labels():
    seen = begun("permuted_labels")
    names, truth = seen.state.change, seen.labels()
    for task in range(3):
        assert sorted(names[task]) == list(range(CLASSES))
        expected = names[task][truth[seen.rows[task]]]
        np.testing.assert_array_equal(seen.batches.labels[task], expected)
    assert len({tuple(name) for name in names.tolist()}) == 3


def test_rotation_follows_its_steps():
    assert begun("rotated").state.change.tolist() == [0, 90, 180]
    random = changes(tasks.RotatedImages(images(), num_tasks=20, loader=LOADER))[0]
    assert len(set(random.tolist())) == 20
    assert random.min() >= 0
    assert 300 < random.max() < 360


def test_split_classes():
    seen = begun("split")
    assert seen.stream.out_size == 2
    pairs, orders = seen.state.change.classes, seen.state.change.order.tolist()
    for task in range(7):
        rows = seen.task_rows(task)
        given = seen.batches.labels[task, 0, : len(rows)]
        np.testing.assert_array_equal(pairs[task][given], seen.labels()[rows])
    assert orders[0] == [4, 1, 3, 0, 5, 2]
    assert pairs[:3].ravel().tolist() == orders[0]
    assert sorted(orders[3]) == list(range(CLASSES))
    assert pairs[3:6].ravel().tolist() == orders[3]
    assert orders[0] == orders[2] != orders[3] == orders[5]


def test_a_given_order_of_classes():
    order = (4, 1, 3, 0, 5)
    options = {"num_tasks": 4, "order": order, "loader": LOADER}
    tiled, _ = changes(tasks.SplitClasses(images(), redraw=False, **options))
    assert tiled.classes.tolist() == [[4, 1], [3, 0]] * 2
    growing = tasks.IncrementalClasses(images(), classes_per_task=2, order=order, loader=LOADER)
    assert growing.num_tasks == 3  # the last task takes the class that is left
    change, rows = changes(growing)
    labels = np.asarray(growing.source.data.part("train")[1])
    for task, count in enumerate((16, 32, 40)):
        assert change.order[task].tolist() == list(order)
        assert sorted(labels[rows[task][:count]]) == sorted(8 * order[: 2 * (task + 1)])


def test_outputs_of_unseen_classes_are_masked():
    seen, found = begun("incremental"), followed("incremental")
    assert seen.stream.num_tasks == 3

    @eqx.filter_jit
    @eqx.filter_grad
    def gradient(model, batch):
        outputs, _ = seen.stream.forward(model, None, batch, key=KEY, inference=False)
        return seen.stream.criterion(outputs, batch)[0]

    for task in range(3):
        known = seen.state.change.order[task][: 2 * (task + 1)]
        batch = jax.tree.map(lambda x, t=task: x[t, 0, 0], found.batches)
        assert set(batch.labels) <= set(known)
        assert set(np.flatnonzero(batch.classes[0])) == set(known)
        assert (batch.classes == batch.classes[0]).all()
        head = gradient(found.model, batch).layers[-1]
        unseen = sorted(set(range(CLASSES)) - set(known))
        assert not np.asarray(head.weight)[unseen].any()
        assert not np.asarray(head.bias)[unseen].any()
        assert np.asarray(head.bias)[known].all()


def drawn_ends(num_keys: int, **options: Any) -> np.ndarray:
    """The number of classes seen in each task, for several keys."""
    stream = tasks.IncrementalClasses(images(), loader=LOADER, **options)
    draw = jax.jit(jax.vmap(lambda key: stream.first_change(key=key).ends))
    return np.asarray(draw(jax.random.split(KEY, num_keys)))


def test_number_of_new_classes_is_drawn_evenly():
    ends = drawn_ends(2000, classes_per_task=1, max_per_task=3, num_tasks=3)
    assert (ends[:, -1] == CLASSES).all()
    sequences, counts = np.unique(np.diff(ends, axis=1, prepend=0), axis=0, return_counts=True)
    allowed = {(a, b, 6 - a - b) for a in (1, 2, 3) for b in (1, 2, 3) if 1 <= 6 - a - b <= 3}
    assert set(map(tuple, sequences.tolist())) == allowed
    assert np.abs(counts - 2000 / len(allowed)).max() < 90  # 5 standard deviations


@pytest.mark.parametrize(
    ("smallest", "largest", "ends"),
    [
        (4, None, [4, 6]),
        pytest.param(4, 5, [4, 6], marks=pytest.mark.slow),
        pytest.param(5, 6, [5, 6], marks=pytest.mark.slow),
        pytest.param(2, 3, None, marks=pytest.mark.slow),
    ],
)
def test_all_classes_join(smallest, largest, ends):
    """The last task takes the classes that are left if the numbers do not divide them."""
    drawn = drawn_ends(30, classes_per_task=smallest, max_per_task=largest)
    assert (drawn[:, -1] == CLASSES).all()
    assert ends is None or (drawn == ends).all()


def test_tasks_without_rows():
    """A class without training or test rows is rejected if it may be a task."""
    whole = images()
    kept = np.asarray(whole.test_labels) != 3
    few = [jnp.asarray(np.asarray(x)[kept]) for x in (whole.test_images, whole.test_labels)]
    lacking = tasks.ImageSet(
        "lacking", whole.train_images, whole.train_labels, *few, num_classes=CLASSES, max_value=255
    )
    for make in (tasks.SplitClasses, tasks.IncrementalClasses):
        with pytest.raises(ValueError, match="'lacking' has too few test rows"):
            make(lacking, classes_per_task=1, loader=LOADER)
        make(lacking, classes_per_task=2, loader=LOADER)
        make(lacking, classes_per_task=1, order=(0, 1), loader=LOADER)
    swapped = tasks.ImageSet("swapped", *lacking.part("held_out"), *lacking.part("train"), 6, 255)
    with pytest.raises(
        ValueError, match="'swapped' has too few training rows, .* pass an `order` without the"
    ):
        tasks.SplitClasses(swapped, classes_per_task=1, loader=LOADER)
    tasks.SplitClasses(swapped, classes_per_task=1, order=(0, 1), loader=LOADER)
    none = eqx.tree_at(
        lambda i: (i.test_images, i.test_labels),
        lacking,
        [jnp.asarray(np.asarray(x)[:0]) for x in few],
    )
    with pytest.raises(ValueError, match="'lacking' has too few test rows"):
        tasks.PermutedLabels(none, loader=LOADER)


def test_constant_budget():
    loader = Loader(epochs=1, minibatch_size=SIZE, max_minibatches=3, flat=True)
    stream = tasks.IncrementalClasses(images(), classes_per_task=2, loader=loader)
    assert stream.minibatches == 3
    assert stream.source.even
    assert begun("permuted_labels").stream.source.even
    assert not begun("incremental").stream.source.even

    def collect(key):
        return stream.collect(stream.init(key=key), NO_ONE, clock(stream, jnp.asarray(0)), key=key)[
            1
        ]

    chunk = eqx.filter_eval_shape(collect, KEY)
    assert chunk.in_use is None
    assert chunk.items.rows.shape == (3, SIZE)


@pytest.mark.parametrize("name", FOLLOWED)
def test_evaluation_takes_every_test_row_of_the_task_once(name):
    seen, found = begun(name), followed(name)
    hidden, head = ([np.asarray(x) for x in (d.weight, d.bias)] for d in found.model.layers)
    for task in range(seen.stream.num_tasks):
        batch = jax.tree.map(lambda x, t=task: x[t, : seen.state.test_count[t]], found.held_out)
        logits = np.maximum(batch.inputs @ hidden[0].T + hidden[1], 0) @ head[0].T + head[1]
        if batch.classes is not None:
            logits = np.where(batch.classes, logits, -np.inf)
        right = np.argmax(logits, axis=1) == batch.labels
        np.testing.assert_allclose(found.metrics["test_accuracy"][task], right.mean(), rtol=1e-6)
        losses = -scipy.special.log_softmax(logits, axis=1)[np.arange(len(right)), batch.labels]
        np.testing.assert_allclose(found.metrics["test_loss"][task], losses.mean(), rtol=1e-5)
        if name in ("split", "incremental", "permuted_labels", "random_labels"):
            rows = np.round(batch.inputs[:, 0] * 255).astype(int)
            assert sorted(rows) == sorted(seen.task_rows(task, test=True))


def test_samples_larger_than_all_tasks():
    stream = begun("permuted_labels").stream

    def sample(num_examples, split):
        state = stream.init(key=KEY)
        return stream.sample(state, NO_ONE, num_examples, split, key=KEY)

    with pytest.raises(ValueError, match="`num_examples` is 31, but no task has more than 30 rows"):
        eqx.filter_eval_shape(sample, 31, "held_out")
    with pytest.raises(ValueError, match="`num_examples` is 0"):
        eqx.filter_eval_shape(sample, 0, "train")


def test_augmentation_and_standardising():
    turn = tasks.Rotate(degrees=(44.0, 46.0), fill="zero")
    augmentation = tasks.Compose((tasks.Flip(), tasks.Crop(padding=1), turn))
    loader = Loader(minibatch_size=SIZE, augmentation=augmentation, standardise=True, shuffle=False)
    stream = tasks.PermutedLabels(images(), num_tasks=1, loader=loader)
    assert stream.in_shape == (2, 4, 3)

    @eqx.filter_jit
    def look(stream):
        state = stream.init(key=KEY)

        def epoch(key):
            items = stream.collect(state, NO_ONE, clock(stream, jnp.asarray(0)), key=key)[1].items
            return jax.vmap(lambda i: stream.batch(state, i).inputs)(items), items.rows

        epochs, rows = jax.lax.map(epoch, jax.random.split(KEY))
        return epochs, rows, stream.batch(state, LabelledItem(rows[0].ravel(), None)).inputs

    epochs, rows, plain = map(np.asarray, look(stream))
    # Without shuffling all epochs have one order.
    np.testing.assert_array_equal(rows[0], rows[1])
    assert not np.array_equal(rows[0].ravel(), np.sort(rows[0].ravel()))
    assert epochs.shape == (2, 12, SIZE, 2, 4, 3)
    pixels = np.asarray(stream.source.data.part("train")[0])
    expected = ((pixels - pixels.mean((0, 1, 2))) / pixels.std((0, 1, 2))).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(np.sort(plain, axis=0), np.sort(expected, axis=0), atol=1e-5)
    np.testing.assert_allclose(plain.mean((0, 2, 3)), 0, atol=1e-5)
    # Two corners come from outside of the image. They are 0 after standardising.
    assert not epochs[..., 0, 2].any()
    assert not epochs[..., 3, 0].any()
    assert (np.abs(epochs[..., 0, 0]) > 1e-3).all()
    # Most augmented inputs differ between epochs, and from the images.
    first, second, shown = (
        {row.tobytes() for row in np.round(x, 4).reshape(-1, 24)}
        for x in (epochs[0], epochs[1], plain)
    )
    assert len(first & second) < 24
    assert len(first & shown) < 24


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda i: tasks.SplitClasses(i, classes_per_task=7), "has 6 classes: choose at most 6"),
        (lambda i: tasks.SplitClasses(i, classes_per_task=0), "classes_per_task"),
        (
            lambda i: tasks.SplitClasses(i, loader=Loader(minibatch_size=17)),
            "`minibatch_size` is 17, but the smallest task has 16 training rows: choose at most 16",
        ),
        (
            lambda i: tasks.SplitClasses(i, order=(1, 0), classes_per_task=3),
            "`order` has 2 classes",
        ),
        (lambda i: tasks.SplitClasses(i, order=(1, 6)), "`order` has class 6, .* 0 to 5 of 'rows'"),
        (lambda i: tasks.SplitClasses(i, order=(1, 0, 1)), "`order` has class 1 twice"),
        (lambda i: tasks.SplitClasses(i, num_tasks=0), "`num_tasks` is 0"),
        (lambda i: tasks.IncrementalClasses(i, num_tasks=3), "has 6 classes"),
        (
            lambda i: tasks.IncrementalClasses(i, classes_per_task=2, num_tasks=3, order=(0, 1, 2)),
            "`order` has 3 classes",
        ),
        (lambda i: tasks.IncrementalClasses(i, max_per_task=3), "`max_per_task` is 3"),
        (lambda i: tasks.RandomLabels(i), "`rows` is 1200, but 'rows' has 48 training rows"),
        (lambda i: tasks.RandomLabels(i, rows=9, loader=Loader(minibatch_size=10)), "has 9 train"),
        (lambda i: tasks.PermutedLabels(i, num_tasks=0), "`num_tasks` is 0"),
        (lambda i: tasks.NoisedImages(i, max_noise=0.0), "`max_noise` is 0.0"),
        (lambda i: Loader(epochs=0), "`epochs` is 0"),
        (lambda i: Loader(max_minibatches=0), "`max_minibatches` is 0"),
        (lambda i: Loader(evaluation_batch_size=0), "`evaluation_batch_size` is 0"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make(images())


def test_a_constant_channel_cannot_be_standardised():
    whole = images()
    pixels = np.array(whole.train_images)
    pixels[..., 1] = 7
    constant = eqx.tree_at(lambda i: i.train_images, whole, jnp.asarray(pixels))
    with pytest.raises(ValueError, match="all pixels of channel 1 of 'rows' are 7, .*=False"):
        tasks.PermutedLabels(constant, loader=Loader(minibatch_size=4, standardise=True))


def test_networks_that_do_not_fit():
    stream, algo = STREAMS["permuted_labels"](), algorithms.bp()
    mlp = eqx.filter_eval_shape(models.MLP, 24, 5, width=4, depth=1, key=KEY)
    with pytest.raises(ValueError, match="out_size=6"):
        check_parts(mlp, stream, algo)
    make = functools.partial(models.ConvNet, (3, 8, 8), CLASSES, kernels=(3,), channels=(2,))
    stream = tasks.PermutedLabels(images(), num_tasks=1, loader=Loader(minibatch_size=4))
    message = r"`x` has shape \(2, 4, 3\), but this network takes images of shape \(3, 8, 8\)"
    with pytest.raises(ValueError, match=message):
        check_parts(eqx.filter_eval_shape(make, key=KEY), stream, algo)


def test_fewer_images_are_the_first_of_each_class():
    whole = images(uneven=True)
    few = tasks.fewer_images(whole, train_per_class=3, test_per_class=6)
    labels = np.asarray(whole.train_labels)
    expected = sorted(r for c in range(CLASSES) for r in np.flatnonzero(labels == c)[:3])
    np.testing.assert_array_equal(few.train_images[:, 0, 0, 0], expected)
    np.testing.assert_array_equal(few.train_labels, labels[expected])
    assert np.bincount(few.test_labels).tolist() == [6, 5, 5, 6, 5, 5]
    np.testing.assert_array_equal(tasks.fewer_images(whole).train_images, whole.train_images)
    with pytest.raises(ValueError, match="`train_per_class` is 0"):
        tasks.fewer_images(whole, train_per_class=0)


def test_the_accuracy_of_guessing():
    assert STREAMS["split"]().chance_accuracy == 1 / 2
    assert STREAMS["permuted_labels"]().chance_accuracy == 1 / 6
    assert STREAMS["incremental"]().chance_accuracy is None


@pytest.mark.parametrize("name", ["permuted_labels", "split"])
def test_what_is_shown_is_recorded(name):
    stream = STREAMS[name]()
    model = models.MLP(stream.in_size, stream.out_size, width=2, depth=0, key=KEY)
    found = check_parts(model, stream, algorithms.bp())
    labels = {column: quantity.label for column, quantity in found.items()}
    assert labels == {"test_accuracy": "accuracy", "accuracy": "training accuracy"}
