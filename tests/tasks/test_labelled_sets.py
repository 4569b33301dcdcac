"""Labelled sets from arrays of one's own: kinds of labels, parts, scales, and messages."""

import jax.numpy as jnp
import jaxtyping
import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer, load_wine

from spectral import tasks
from spectral.tasks import ImageSet, labelled_set, LabelledSet, Loader


X = np.random.default_rng(0).normal(size=(12, 3))
Y = np.arange(12) % 3


@pytest.mark.parametrize(
    ("load", "classes", "features"), [(load_wine, 3, 13), (load_breast_cancer, 2, 30)]
)
def test_bunches(load, classes, features):
    """Parts are disjoint, hold all rows, and have the classes in equal fractions."""
    bunch = load()
    data = labelled_set(bunch.data, bunch.target, num_test=60, num_validation=40)
    assert (data.in_shape, data.out_size, data.num_classes) == ((features,), classes, classes)
    splits = ("train", "held_out", "validation")
    sizes = [len(bunch.target) - 100, 60, 40]
    assert [data.num_rows(split) for split in splits] == sizes
    rows = np.concatenate([np.asarray(data.part(split)[0]) for split in splits])
    expected = bunch.data.astype(np.float32)
    assert sorted(map(bytes, rows)) == sorted(map(bytes, expected))
    fractions = np.bincount(bunch.target) / len(bunch.target)
    for split, size in zip(splits, sizes, strict=True):
        counts = np.bincount(np.asarray(data.part(split)[1]))
        assert np.abs(counts - fractions * size).max() < 2


def test_the_seed_decides_which_rows_are_held_out():
    make = lambda seed: np.asarray(labelled_set(X, Y, num_test=3, seed=seed).test_inputs)
    np.testing.assert_array_equal(make(0), make(0))
    assert not np.array_equal(make(0), make(1))


def test_a_fifth_is_held_out_by_default():
    data = labelled_set(np.zeros((50, 2, 2)), np.arange(50.0))
    assert (data.num_rows("train"), data.num_rows("held_out")) == (40, 10)
    assert not data.has_validation
    with pytest.raises(ValueError, match="`split` is 'validation', .* pass `num_validation`"):
        data.part("validation")


def test_validation_rows_of_images():
    whole = tasks.load_images("digits")
    images = tasks.load_images("digits", num_validation=200)
    assert images.validation_labels is not None
    assert np.abs(np.bincount(np.asarray(images.validation_labels)) - 20).max() <= 1
    assert len(images.train_labels) == 1300
    np.testing.assert_array_equal(images.test_images, whole.test_images)
    parts = [images.train_images, images.validation_images]
    rows = np.concatenate([np.asarray(x).reshape(-1, 64) for x in parts])
    expected = np.asarray(whole.train_images).reshape(-1, 64)
    assert sorted(map(bytes, rows)) == sorted(map(bytes, expected))
    few = tasks.fewer_images(images, train_per_class=3)
    assert few.num_rows("validation") == 200


@pytest.mark.parametrize(
    ("labels", "stored", "num_classes"),
    [
        (Y, Y, 3),
        (Y.astype(np.uint8), Y, 3),
        (pd.Series(Y), Y, 3),
        (Y.tolist(), Y, 3),
        (Y == 0, (Y == 0).astype(int), 2),
        (np.eye(3, dtype=int)[Y], Y, 3),
        (np.tri(3, dtype=bool)[Y], np.tri(3, dtype=bool)[Y], None),
        (X, X.astype(np.float32), None),
        (Y / 2, (Y / 2)[:, None], None),
        (pd.array(Y, dtype="Int64"), Y, 3),
    ],
    ids="ints bytes pandas list bools one_hot several numbers column nullable".split(),
)
def test_kinds_of_labels(labels, stored, num_classes):
    data = labelled_set(X, labels, test=(X, labels))
    assert data.num_classes == num_classes
    np.testing.assert_array_equal(data.train_labels, stored)
    assert data.train_labels.dtype == jnp.asarray(stored).dtype
    assert data.out_size == (stored.shape[1] if num_classes is None else num_classes)


def test_kinds_of_inputs():
    part = lambda inputs: labelled_set(inputs, Y, test=(inputs, Y)).train_inputs
    pixels = np.arange(12 * 4, dtype=np.uint8).reshape(12, 2, 2)
    assert part(pixels).dtype == jnp.uint8
    assert part(pixels).shape == (12, 2, 2)
    table = pd.DataFrame({"a": range(12), "b": X[:, 0], "c": Y == 1})
    np.testing.assert_allclose(part(table), table.to_numpy().astype(float), rtol=1e-6)
    assert part(X.tolist()).dtype == jnp.zeros(()).dtype


def test_columns_are_standardised_by_training_rows():
    inputs = np.c_[X, np.full(12, 0.1)]
    data = labelled_set(inputs, Y, test=(inputs + 5, Y))
    shift, scale = map(np.asarray, data.input_scale(standardise=True))
    np.testing.assert_allclose(shift, inputs.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(scale, [*X.std(axis=0), 1], rtol=1e-6)
    transform = tasks.InputTransform(data, Loader(standardise=True))
    np.testing.assert_allclose(transform(data.train_inputs)[:, 3], 0, atol=1e-6)
    np.testing.assert_allclose(transform(data.train_inputs).mean(axis=0), 0, atol=1e-6)
    plain = tasks.InputTransform(data, Loader())
    np.testing.assert_array_equal(plain(data.train_inputs), data.train_inputs)


@pytest.mark.usefixtures("float64")
def test_the_rounding_error_of_a_constant_is_not_its_scale():
    inputs = np.c_[X, np.full(12, 0.1)]
    assert inputs[:, 3].std() > 0
    scale = labelled_set(inputs, Y, test=(inputs, Y)).input_scale(standardise=True)[1]
    assert scale[3] == 1


def test_bytes_are_scaled_to_one():
    pixels = np.full((12, 2, 3), 255, np.uint8)
    data = labelled_set(pixels, Y, test=(pixels, Y))
    for flat, shape in ((False, (12, 2, 3)), (True, (12, 6))):
        inputs = tasks.InputTransform(data, Loader(flat=flat))(data.train_inputs)
        np.testing.assert_array_equal(inputs, np.ones(shape))


def with_entry(value, row=4, column=1):
    changed = X.astype(object)
    changed[row, column] = value
    return changed


def with_label(value, dtype=None):
    changed = Y.astype(object)
    changed[7] = value
    return changed if dtype is None else changed.astype(dtype)


@pytest.mark.parametrize(
    ("inputs", "labels", "options", "message"),
    [
        (
            with_entry(np.nan).astype(float),
            Y,
            {},
            "`inputs` is nan in row 4, column 1 .1 of 12",
        ),
        (with_entry(-np.inf).astype(float), Y, {}, "`inputs` is -inf in row 4, column 1"),
        (with_entry(None), Y, {}, "`inputs` is nan in row 4, column 1"),
        (with_entry(pd.NA), Y, {}, "`inputs` is nan in row 4, column 1"),
        (with_entry("red"), Y, {}, "`inputs` is 'red' in row 4, column 1, but must be a number"),
        (X.astype(str), Y, {}, "`inputs` is text"),
        ({1: 2}, Y, {}, "`inputs` is of type dict"),
        ([[1, 2], [3]], [0, 1], {}, r"shape \(2,\) in row 0 and \(1,\) in row 1"),
        (X[:, 0], Y, {}, r"is of shape \(9,\), but must have one axis for the rows and one"),
        (X[:11], Y, {}, "`inputs` has 11 rows and `labels` has 12"),
        (X[:0], Y[:0], {}, "`inputs` has 0 rows"),
        (X * 1e300, Y, {}, "`train_inputs` is -?inf"),
        (X, with_label(None), {}, "`labels` is nan in row 7"),
        (X, with_label(np.nan, float), {}, "`labels` is nan in row 7"),
        (X, with_label(-1, int), {}, "`labels` is -1 in row 7, but classes are integers from 0"),
        (X, with_label("cat"), {}, "`labels` is 'cat' in row 7"),
        (X, Y.astype(str), {}, "`labels` is text, .*numpy.unique"),
        (X, Y, {"num_classes": 2}, "labels` is 2 in row 2, .* `num_classes`, which is 2"),
        (X, Y + 1, {}, "no rows of class 0, .* number the classes"),
        (X, Y, {"num_classes": 4}, "no rows of class 3"),
        (X, with_label(3, int), {}, "Class 3 has 1 row, .* `num_test` can hold one out"),
        (X, np.ones((12, 2), int), {}, r"`labels` is \[1, 1\] in row 0, .* one-hot"),
        (X, np.eye(3)[Y], {}, "float64 and one-hot, .*astype"),
        (X, Y[:, None, None], {}, "but must have one axis for the rows, and at most one"),
        (X, Y / 2, {"num_classes": 3}, "`num_classes` is 3, .* which are not classes"),
        (X, np.eye(3, dtype=int)[Y], {"num_classes": 4}, "has 3 columns"),
        (X, Y, {"num_test": 2}, "`num_test` is 2, but must lie between 3 and 9 for 12 rows of 3"),
        (
            X,
            Y / 2,
            {"num_test": 12},
            "`num_test` is 12, but must lie between 1 and 11 for 12",
        ),
        (X, Y, {"num_validation": -1}, "`num_validation` is -1"),
        (X, Y, {"num_validation": 8}, "`num_validation` is 8"),
        (X, Y, {"test": (X, Y), "num_test": 3}, "`num_test` is 3 and `test` is given"),
        (X, Y, {"test": (X[:, :2], Y)}, r"of shape \(3,\) and `test_inputs` of shape \(2,\)"),
        (X, Y, {"test": (with_entry(np.nan), Y)}, "`test inputs` is nan in row 4"),
        (X, Y, {"test": (X, Y / 2)}, "`num_classes` is 3, but `test labels` is float64"),
        (X, Y / 2, {"test": (X, X)}, "`test_labels` is float32 of shape .* must agree"),
        (X, Y, {"validation": (X, Y + 1)}, "`validation labels` is 3 in row 2"),
    ],
)
def test_messages(inputs, labels, options, message):
    with pytest.raises(ValueError, match=message):
        labelled_set(inputs, labels, **options)


def test_sets_check_what_they_hold(monkeypatch):
    x, y = jnp.asarray(X), jnp.asarray(Y)
    with pytest.raises(ValueError, match="`num_classes` is None and `train_labels` is int32"):
        LabelledSet("no number", x, y, x, y)
    with pytest.raises(ValueError, match="`validation_labels` is None, but this part has rows"):
        LabelledSet("half", x, y, x, y, num_classes=3, validation_inputs=x)
    with pytest.raises(ValueError, match="`test_inputs` is uint8 and `train_inputs` is float32"):
        LabelledSet("bytes", x, y, x.astype("uint8"), y, num_classes=3)
    # The type checker of the tests would reject these axes first.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    one_hot, numbers = jnp.eye(3, dtype=int)[y], y.astype(float)
    with pytest.raises(ValueError, match=r"`train_labels` is int32 of shape \(12, 3\), .*argmax"):
        LabelledSet("one-hot", x, one_hot, x, one_hot, num_classes=3)
    with pytest.raises(ValueError, match=r"of shape \(12,\), .* shape \(rows, outputs\): reshape"):
        LabelledSet("flat", x, numbers, x, numbers)


def test_images_have_four_axes():
    """Without this the axes of flat images would be taken for rows of others."""
    flat = jnp.zeros((12, 64), jnp.uint8)
    pixels, labels = jnp.zeros((2, 1, 1, 1), jnp.uint8), jnp.zeros(2, int)
    images = ImageSet("two", pixels, labels, pixels, labels, num_classes=1, max_value=255)
    object.__setattr__(images, "test_images", flat)
    with pytest.raises(ValueError, match=r"`test_images` is uint8 of shape \(12, 64\), .*labelled"):
        images.__check_init__()
