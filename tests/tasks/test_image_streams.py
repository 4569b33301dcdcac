"""Streams of labelled images: which rows are visited, what is shown of them, what is masked."""

import collections

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spectral import algorithms, Clock, Learner, models, tasks, train_continual
from spectral.tasks import Loader


CLASSES = 6


def images(uneven: bool = False) -> tasks.ImageSet:
    """Images whose first pixel is their row: 8 training and 5 test rows in each of 6 classes."""
    rng = np.random.default_rng(0)

    def part(each):
        labels = rng.permutation(np.repeat(np.arange(CLASSES), each))
        labels = np.append(labels, [0, 0, 3]) if uneven else labels
        pixels = rng.integers(0, 256, (len(labels), 4, 3, 2)).astype(np.uint8)
        pixels[:, 0, 0, 0] = np.arange(len(labels))
        return jnp.asarray(pixels), jnp.asarray(labels)

    return tasks.ImageSet("rows", *part(8), *part(5), num_classes=CLASSES, max_value=255)


KEY = jax.random.key(0)
NO_ONE = Learner(None, None, algorithms.bp().optimiser)
LOADER = Loader(epochs=2, minibatch_size=4, flat=True, evaluation_batch_size=4)
STREAMS = {
    "split": lambda **o: tasks.SplitClasses(images(**o), num_tasks=7, loader=LOADER),
    "incremental": lambda **o: tasks.IncrementalClasses(
        images(**o), classes_per_task=2, loader=LOADER
    ),
    "permuted_labels": lambda **o: tasks.PermutedLabels(images(**o), num_tasks=3, loader=LOADER),
    "random_labels": lambda **o: tasks.RandomLabels(
        images(**o), rows=20, num_tasks=3, loader=LOADER
    ),
    "rotated": lambda **o: tasks.RotatedImages(images(**o), num_tasks=3, step=90.0, loader=LOADER),
    "noised": lambda **o: tasks.NoisedImages(images(**o), num_tasks=3, loader=LOADER),
}


def clock(stream, task, chunk=0):
    step = (task * stream.chunks_per_task + chunk) * stream.minibatches
    return Clock(*(jnp.asarray(i, int) for i in (step, 0, chunk, task)))


def states(stream):
    """The state in each task."""
    state = stream.init(key=jax.random.key(1))
    begin = eqx.filter_jit(stream.begin_task)
    for task in range(stream.num_tasks):
        state = begin(state, clock(stream, task), key=jax.random.fold_in(jax.random.key(2), task))
        yield task, state


@eqx.filter_jit
def epoch(stream, state, key):
    """All rows of an epoch that are used, with what is shown of them."""
    chunk = stream.collect(state, NO_ONE, clock(stream, 0), key=key)[1]
    return chunk, jax.vmap(lambda item: stream.batch(state, item))(chunk.items)


def used(chunk):
    minibatches = chunk.items.rows.shape[0]
    return minibatches if chunk.in_use is None else int(chunk.in_use)


@pytest.mark.parametrize(
    ("name", "uneven"), [(n, False) for n in STREAMS] + [("split", True), ("incremental", True)]
)
def test_every_row_of_a_task_is_used_equally_often(name, uneven):
    stream = STREAMS[name](uneven=uneven)
    whole = {"split": 16, "incremental": 48, "random_labels": 20}.get(name, 48)
    for task, state in states(stream):
        rows = np.asarray(state.rows)[: int(state.count)]
        assert len(set(rows)) == len(rows)
        seen = collections.Counter()
        for i in range(3):
            chunk, batch = epoch(stream, state, jax.random.key(i))
            n = used(chunk)
            assert n == len(rows) // 4
            visited = np.asarray(chunk.items.rows)[:n].ravel()
            assert set(visited) <= set(rows)
            assert len(set(visited)) == len(visited)
            seen.update(visited.tolist())
        if not uneven:
            expected = 16 * (task + 1) if name == "incremental" else whole
            assert len(rows) == expected
            assert set(seen.values()) == {3}
        order = [np.asarray(epoch(stream, state, jax.random.key(i))[0].items.rows) for i in (0, 1)]
        assert (order[0] != order[1]).any()


@pytest.mark.parametrize("name", STREAMS)
def test_what_is_shown_comes_from_the_row(name):
    stream = STREAMS[name]()
    pixels = np.asarray(stream.source.images.train_images)
    for task, state in states(stream):
        chunk, batch = epoch(stream, state, jax.random.key(0))
        rows = np.asarray(chunk.items.rows)
        expected = pixels[rows].transpose(0, 1, 4, 2, 3)
        if name == "rotated":
            # A quarter turn of 4 x 3 pixels does not fit the frame; half a turn does.
            if task != 2:
                continue
            expected = expected[..., ::-1, ::-1]
        expected = expected.reshape(*rows.shape, -1) / 255
        if name == "noised":
            noise = np.asarray(batch.inputs) - expected
            inside = (np.asarray(batch.inputs) > 0) & (np.asarray(batch.inputs) < 1)
            size = float(state.change.deviation)
            assert 0 < size < 0.5
            np.testing.assert_allclose(noise[inside].std(), size, rtol=0.35)
            again = epoch(stream, state, jax.random.key(0))[1]
            np.testing.assert_array_equal(again.inputs, batch.inputs)
        else:
            np.testing.assert_allclose(batch.inputs, expected, atol=1e-6)


def test_split_classes():
    stream = tasks.SplitClasses(images(), num_tasks=7, loader=LOADER)
    assert stream.out_size == 2
    orders, pairs = [], []
    for _, state in states(stream):
        pair = np.asarray(state.change.classes)
        pairs.append(pair.tolist())
        orders.append(np.asarray(state.change.order).tolist())
        chunk, batch = epoch(stream, state, jax.random.key(0))
        labels = np.asarray(stream.source.images.train_labels)[np.asarray(chunk.items.rows)]
        np.testing.assert_array_equal(pair[np.asarray(batch.labels)], labels)
    assert sorted(sum(pairs[:3], [])) == sorted(sum(pairs[3:6], [])) == list(range(CLASSES))
    assert orders[0] == orders[2] != orders[3] == orders[5]
    tiled = tasks.SplitClasses(images(), num_tasks=7, redraw=False, loader=LOADER)
    kept = [np.asarray(state.change.classes).tolist() for _, state in states(tiled)]
    assert kept[:3] == kept[3:6]
    assert kept[6] == kept[0]


def test_a_given_order_of_classes():
    order = (4, 1, 3, 0, 5)
    stream = tasks.SplitClasses(images(), num_tasks=4, order=order, redraw=False, loader=LOADER)
    pairs = [np.asarray(state.change.classes).tolist() for _, state in states(stream)]
    assert pairs == [[4, 1], [3, 0]] * 2
    redrawn = tasks.SplitClasses(images(), num_tasks=4, order=order, loader=LOADER)
    found = [np.asarray(state.change.order).tolist() for _, state in states(redrawn)]
    assert found[0] == list(order)
    assert found[2] != found[0]
    assert sorted(found[2]) == sorted(order)
    growing = tasks.IncrementalClasses(images(), classes_per_task=2, order=order, loader=LOADER)
    assert growing.num_tasks == 3  # the last takes the class that is left
    labels = np.asarray(growing.source.images.train_labels)
    for task, state in states(growing):
        rows = np.asarray(state.rows)[: int(state.count)]
        seen = order[: 2 * (task + 1)]
        assert sorted(labels[rows]) == sorted(8 * seen)
        batch = growing.sample(state, NO_ONE, 6, "train", key=jax.random.key(3))
        assert set(np.flatnonzero(np.asarray(batch.classes)[0])) == set(seen)


def test_growing_classes_mask_what_was_not_seen():
    stream = tasks.IncrementalClasses(images(), classes_per_task=2, loader=LOADER)
    model = models.MLP(24, CLASSES, width=5, depth=1, key=jax.random.key(0))
    assert stream.num_tasks == 3
    for task, state in states(stream):
        seen = np.asarray(state.change.order)[: 2 * (task + 1)]
        batch = stream.sample(state, NO_ONE, 10, "train", key=jax.random.key(3))
        assert set(np.asarray(batch.labels)) <= set(seen)

        @eqx.filter_grad
        def gradient(model, state=state, batch=batch):
            outputs, _ = stream.forward(model, None, batch, key=jax.random.key(0), inference=False)
            return stream.criterion(outputs, batch)[0]

        head = gradient(model).layers[-1]
        unseen = sorted(set(range(CLASSES)) - set(seen))
        assert not np.asarray(head.weight)[unseen].any()
        assert not np.asarray(head.bias)[unseen].any()
        assert np.asarray(head.bias)[seen].all()


def test_number_of_new_classes_is_drawn_evenly():
    stream = tasks.IncrementalClasses(
        images(), classes_per_task=1, max_per_task=3, num_tasks=3, loader=LOADER
    )
    first = jax.vmap(lambda k: stream.first_change(key=k).ends)
    ends = np.asarray(first(jax.random.split(jax.random.key(0), 2000)))
    assert (ends[:, -1] == CLASSES).all()
    steps = collections.Counter(map(tuple, np.diff(ends, axis=1, prepend=0)))
    ways = {(a, b, 6 - a - b) for a in (1, 2, 3) for b in (1, 2, 3) if 1 <= 6 - a - b <= 3}
    assert set(steps) == ways
    assert max(abs(n - 2000 / len(ways)) for n in steps.values()) < 90  # 5 standard deviations


@pytest.mark.parametrize(
    ("smallest", "most", "ends"), [(4, None, [4, 6]), (4, 5, [4, 6]), (5, 6, [5, 6]), (2, 3, None)]
)
def test_all_classes_join(smallest, most, ends):
    """The last task takes what is left, where the numbers do not come out even."""
    options = {"classes_per_task": smallest, "most_per_task": most, "loader": LOADER}
    stream = tasks.IncrementalClasses(images(), **options)
    drawn = jax.vmap(lambda k: stream.first_change(key=k).ends)(jax.random.split(KEY, 30))
    drawn = np.asarray(drawn)
    assert (drawn[:, -1] == CLASSES).all()
    assert ends is None or (drawn == ends).all()


def test_tasks_without_test_rows():
    """A class without any is refused where it may be a task of its own."""
    whole = images()
    kept = np.asarray(whole.test_labels) != 3
    few = whole.test_images[kept], whole.test_labels[kept]
    lacking = tasks.ImageSet(
        "lacking", whole.train_images, whole.train_labels, *few, num_classes=CLASSES, max_value=255
    )
    for make in (tasks.SplitClasses, tasks.IncrementalClasses):
        with pytest.raises(ValueError, match="'lacking' has too few test rows"):
            make(lacking, classes_per_task=1, loader=LOADER)
        make(lacking, classes_per_task=2, loader=LOADER)
        make(lacking, classes_per_task=1, order=(0, 1), loader=LOADER)
    none = eqx.tree_at(lambda i: (i.test_images, i.test_labels), lacking, [x[:0] for x in few])
    with pytest.raises(ValueError, match="'lacking' has too few test rows"):
        tasks.PermutedLabels(none, loader=LOADER)


def test_constant_budget():
    loader = Loader(epochs=1, minibatch_size=4, max_minibatches=3, flat=True)
    stream = tasks.IncrementalClasses(images(), classes_per_task=2, loader=loader)
    assert stream.minibatches == 3
    assert stream.source.even
    for _, state in states(stream):
        chunk, _ = epoch(stream, state, jax.random.key(0))
        assert chunk.in_use is None
        assert set(np.ravel(chunk.items.rows)) <= set(np.asarray(state.rows)[: int(state.count)])


def test_labels_of_the_task():
    permuted, memory = STREAMS["permuted_labels"](), STREAMS["random_labels"]()
    truth = np.asarray(permuted.source.images.train_labels)
    given: dict[int, int] = {}
    for stream in (permuted, memory):
        previous = None
        for _, state in states(stream):
            given = {}
            for i in range(2):
                chunk, batch = epoch(stream, state, jax.random.key(i))
                pairs = zip(np.ravel(chunk.items.rows), np.ravel(batch.labels), strict=True)
                for row, label in pairs:
                    assert given.setdefault(int(row), int(label)) == label
            assert given != previous
            previous = given
            if stream is permuted:
                names = np.asarray(state.change)
                assert all(names[truth[row]] == label for row, label in given.items())
    draws = [int(label) for label in given.values()]
    assert len(set(draws)) > 3


@pytest.mark.parametrize(
    ("name", "uneven"), [(n, False) for n in STREAMS] + [("split", True), ("incremental", True)]
)
def test_evaluation_takes_every_test_row_of_the_task_once(name, uneven):
    stream = STREAMS[name](uneven=uneven)
    model = models.MLP(24, stream.out_size, width=5, depth=1, key=jax.random.key(0))
    learner = Learner(model, None, algorithms.bp().optimiser)
    for _, state in states(stream):
        rows = np.asarray(state.test_rows)[: int(state.test_count)]
        assert len(set(rows)) == len(rows)
        found = stream.evaluate(state, learner, key=jax.random.key(0))
        batch = stream.sample(state, learner, len(rows), "held_out", key=jax.random.key(0))
        outputs, _ = stream.forward(model, None, batch, key=jax.random.key(0), inference=True)
        right = (np.argmax(outputs, axis=1) == np.asarray(batch.labels)).mean()
        np.testing.assert_allclose(found["test_accuracy"], right, rtol=1e-6)
        loss = stream.criterion(outputs, batch)[0]
        np.testing.assert_allclose(found["test_loss"], loss, rtol=1e-5)
        too_many = state.test_rows.size + 1
        with pytest.raises(ValueError, match="no task has more than"):
            stream.sample(state, learner, too_many, "held_out", key=jax.random.key(0))


def test_augmentation_and_standardising():
    changes = tasks.Compose((tasks.Flip(), tasks.Crop(padding=1), tasks.Rotate(degrees=10.0)))
    loader = Loader(minibatch_size=4, augmentation=changes, standardise=True)
    stream = tasks.PermutedLabels(images(), num_tasks=1, loader=loader)
    assert stream.in_shape == (2, 4, 3)
    _, state = next(states(stream))
    first = epoch(stream, state, jax.random.key(0))[1].inputs
    assert first.shape == (12, 4, 2, 4, 3)
    assert (
        np.asarray(first) != np.asarray(epoch(stream, state, jax.random.key(1))[1].inputs)
    ).any()
    pixels = np.asarray(stream.source.images.train_images)
    plain = stream.sample(state, NO_ONE, 48, "train", key=jax.random.key(0)).inputs
    expected = (pixels - pixels.mean((0, 1, 2))) / pixels.std((0, 1, 2))
    np.testing.assert_allclose(
        np.sort(np.ravel(plain)), np.sort(np.ravel(expected)), rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(np.asarray(plain).mean((0, 2, 3)), 0, atol=1e-5)


def test_changes_of_single_images():
    image = jnp.arange(48, dtype=jnp.uint8).reshape(4, 4, 3)
    for turns in range(4):
        turned = tasks.rotated(image, jnp.asarray(90.0 * turns))
        np.testing.assert_array_equal(turned, np.rot90(image, turns))
    keys = jax.random.split(jax.random.key(0), 200)
    flips = jax.vmap(tasks.Flip(), in_axes=(None, 0))(image, keys)
    mirrored = (np.asarray(flips) == np.asarray(image)[:, ::-1]).all((1, 2, 3))
    assert ((np.asarray(flips) == np.asarray(image)).all((1, 2, 3)) ^ mirrored).all()
    assert 60 < mirrored.sum() < 140
    crops = jax.vmap(tasks.Crop(padding=1), in_axes=(None, 0))(image, keys)
    padded = np.pad(image, ((1, 1), (1, 1), (0, 0)), mode="reflect")
    windows = {padded[i : i + 4, j : j + 4].tobytes() for i in range(3) for j in range(3)}
    assert {np.asarray(crop).tobytes() for crop in crops} == windows


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda i: tasks.SplitClasses(i, classes_per_task=7), "has 6 classes"),
        (lambda i: tasks.SplitClasses(i, classes_per_task=0), "classes_per_task"),
        (lambda i: tasks.SplitClasses(i, loader=Loader(minibatch_size=17)), "has 16 training rows"),
        (
            lambda i: tasks.SplitClasses(i, order=(1, 0), classes_per_task=3),
            "`order` has 2 classes",
        ),
        (lambda i: tasks.SplitClasses(i, order=(1, 6)), "`order` has class 6, but 'rows' has"),
        (lambda i: tasks.SplitClasses(i, order=(1, 0, 1)), "`order` has class 1 twice"),
        (lambda i: tasks.IncrementalClasses(i, num_tasks=3), "has 6 classes"),
        (
            lambda i: tasks.IncrementalClasses(i, classes_per_task=2, num_tasks=3, order=(0, 1, 2)),
            "`order` has 3 classes",
        ),
        (lambda i: tasks.IncrementalClasses(i, max_per_task=3), "`most_per_task` is 3"),
        (lambda i: tasks.RandomLabels(i), "`rows` is 1200"),
        (lambda i: tasks.PermutedLabels(i, num_tasks=0), "`num_tasks` is 0"),
        (lambda i: tasks.NoisedImages(i, max_noise=0.0), "`most` is 0.0"),
        (lambda i: tasks.PermutedLabels(i, loader=Loader(epochs=0)), "`epochs` is 0"),
        (lambda i: tasks.PermutedLabels(i, loader=Loader(max_minibatches=0)), "`minibatches` is 0"),
    ],
)
def test_refuses(make, message):
    with pytest.raises(ValueError, match=message):
        make(images())


def test_refuses_a_network_of_other_outputs():
    model = models.MLP(24, 5, width=4, depth=1, key=jax.random.key(0))
    with pytest.raises(ValueError, match="out_size=6"):
        train_continual(model, STREAMS["permuted_labels"](), algorithms.bp())


def test_refuses_images_of_another_shape_than_the_network_takes():
    model = models.ConvNet((3, 8, 8), CLASSES, kernels=(3,), channels=(2,), key=jax.random.key(0))
    loader = Loader(minibatch_size=4)
    stream = tasks.PermutedLabels(images(), num_tasks=1, loader=loader)
    message = r"`x` has shape \(2, 4, 3\), but this network takes images of shape \(3, 8, 8\)"
    with pytest.raises(ValueError, match=message):
        train_continual(model, stream, algorithms.bp())


def test_fewer_images_are_the_first_of_each_class():
    few = tasks.fewer_images(images(uneven=True), train_per_class=3, test_per_class=6)
    labels = np.asarray(images(uneven=True).train_labels)
    expected = sorted(r for c in range(CLASSES) for r in np.flatnonzero(labels == c)[:3])
    np.testing.assert_array_equal(few.train_images[:, 0, 0, 0], expected)
    np.testing.assert_array_equal(few.train_labels, labels[expected])
    assert np.bincount(few.test_labels).tolist() == [6, 5, 5, 6, 5, 5]
    assert eqx.tree_equal(tasks.fewer_images(images()), images())
    with pytest.raises(ValueError, match="`train_per_class` is 0"):
        tasks.fewer_images(images(), train_per_class=0)


def test_the_accuracy_of_guessing():
    assert STREAMS["split"]().chance_accuracy == 1 / 2
    assert STREAMS["permuted_labels"]().chance_accuracy == 1 / 6
    assert STREAMS["incremental"]().chance_accuracy is None


def test_regression_follows_its_formula():
    stream = tasks.SlowlyChangingRegression(
        num_tasks=4,
        steps_per_task=6,
        minibatch_size=2,
        num_slow_bits=3,
        num_fast_bits=2,
        num_units=7,
    )
    state = stream.init(key=jax.random.key(0))
    slow = None
    for task in range(4):
        state = stream.begin_task(state, clock(stream, task), key=jax.random.key(task))
        flips = 0 if slow is None else int(np.sum(slow != np.asarray(state.slow)))
        assert flips == (0 if task == 0 else 1)
        slow = np.asarray(state.slow)
        _, chunk, _ = stream.collect(state, NO_ONE, clock(stream, task), key=jax.random.key(9))
        assert chunk.items.shape == (6, 2, 2)
        batch = stream.batch(state, chunk.items[1])
        for bits, x, y in zip(chunk.items[1], batch.inputs, batch.targets, strict=True):
            np.testing.assert_array_equal(x, [*slow, *bits.astype(float), 1.0])
            total = 0.0
            for weights, sign in zip(
                np.asarray(state.weights), np.asarray(state.head), strict=True
            ):
                assert set(np.abs(weights)) == {1.0}
                limit = 6 * 0.7 - np.sum(weights < 0)
                total += sign * (float(weights @ np.asarray(x)) > limit)
            assert total == y
    model = models.MLP(6, 1, width=3, depth=1, key=jax.random.key(0))
    _, history = train_continual(model, stream, algorithms.bp(0.01))
    assert history["test_loss"].shape == (4,)
    with pytest.raises(ValueError, match="out_size=1"):
        train_continual(
            models.MLP(6, 2, width=3, depth=1, key=jax.random.key(0)), stream, algorithms.bp()
        )
