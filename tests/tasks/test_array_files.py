"""Labelled sets from files, and arrays from data sets that give one row at a time."""

from typing import Any

import numpy as np
import PIL.Image
import pytest
from sklearn.datasets import load_wine

from spectral import studies, tasks
from spectral.tasks import dataset_arrays, load_arrays, load_table


X = np.random.default_rng(0).normal(size=(12, 3))
Y = np.arange(12) % 3


def test_an_archive_is_divided(tmp_path):
    np.savez(tmp_path / "mine.npz", inputs=X, labels=Y)
    data = load_arrays(tmp_path / "mine.npz", num_test=3, num_validation=3, seed=1)
    same = tasks.labelled_set(X, Y, num_test=3, num_validation=3, seed=1)
    assert data.name == "mine"
    for split in ("train", "held_out", "validation"):
        for found, expected in zip(data.part(split), same.part(split), strict=True):
            np.testing.assert_array_equal(found, expected)


def test_an_archive_with_parts(tmp_path):
    names = [f"{part}_{what}" for part in ("train", "test") for what in ("inputs", "labels")]
    arrays: dict[str, Any] = dict(zip(names, (X, Y, X[:5], Y[:5]), strict=True))
    np.savez(tmp_path / "parts.npz", **arrays)
    data = load_arrays(str(tmp_path / "parts.npz"))
    np.testing.assert_array_equal(data.test_inputs, X[:5].astype(np.float32))
    assert not data.has_validation
    more = {"validation_inputs": X[5:8], "validation_labels": Y[5:8]}
    np.savez(tmp_path / "parts.npz", **arrays, **more)
    np.testing.assert_array_equal(load_arrays(tmp_path / "parts.npz").validation_labels, Y[5:8])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"inputs": X}, "'labels' is missing"),
        ({"train_inputs": X, "train_labels": Y, "test_inputs": X}, "'test_labels' is missing"),
        ({"inputs": X, "labels": Y, "label": Y}, "Array of .*'label' does not exist"),
        ({"inputs": X.astype(object), "labels": Y}, "must be a `.npz` file of plain arrays"),
    ],
)
def test_archives_that_cannot_be_used(tmp_path, arrays, message):
    np.savez(tmp_path / "mine.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        load_arrays(tmp_path / "mine.npz")


def test_files_that_are_something_else(tmp_path):
    for load in (load_arrays, lambda path: load_table(path, "x")):
        with pytest.raises(FileNotFoundError, match="`path` is .*absent"):
            load(tmp_path / "absent")
    (tmp_path / "text").write_text("x,y\n1,2\n3,4,5\n")
    with pytest.raises(ValueError, match="must be a `.npz` file"):
        load_arrays(tmp_path / "text")
    with pytest.raises(ValueError, match="must be a CSV file with a header"):
        load_table(tmp_path / "text", "x")


def table(tmp_path, kinds, header="a,kind,b"):
    lines = [f"{i},{kind},{i / 2}" for i, kind in enumerate(kinds)]
    (tmp_path / "mine.csv").write_text("\n".join([header, *lines]))
    return tmp_path / "mine.csv"


@pytest.mark.parametrize(
    ("kinds", "labels", "num_classes"),
    [
        (["blue", "red", "green", "red"] * 3, [0, 2, 1, 2] * 3, 3),
        ([1, 0] * 6, [1, 0] * 6, 2),
        ([0.5, 1.0] * 6, [0.5, 1.0] * 6, None),
        ([True, False] * 6, [1, 0] * 6, 2),
    ],
)
def test_tables(tmp_path, kinds, labels, num_classes):
    data = load_table(table(tmp_path, kinds), "kind", num_test=4)
    assert data.num_classes == num_classes
    assert data.in_shape == (2,)
    for split in ("train", "held_out"):
        inputs, answers = map(np.asarray, data.part(split))
        rows = inputs[:, 0].astype(int)
        np.testing.assert_array_equal(inputs[:, 1], rows / 2)
        np.testing.assert_array_equal(answers.ravel(), np.asarray(labels)[rows])


@pytest.mark.parametrize(
    ("kinds", "header", "message"),
    [
        ([1, 0], "a,kin,b", "`label`: Column 'kind' does not exist. .* did you mean 'kin'"),
        (["x", "y"], "kind,c,b", "column 'c' is not numeric, .*get_dummies"),
        (["x", ""] * 3, "a,kind,b", "`labels` is"),
        ([1, ""] * 3, "a,kind,b", "`labels` is nan in row 1"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path, kinds, header, message):
    with pytest.raises(ValueError, match=message):
        load_table(table(tmp_path, kinds, header), "kind")


def test_a_table_in_settings(tmp_path):
    wine: Any = load_wine(as_frame=True)
    wine.frame.to_csv(tmp_path / "wine.csv", index=False)
    path = str(tmp_path / "wine.csv")
    data = {"type": "load_table", "path": path, "label": "target", "num_validation": 30}
    loader = {"type": "Loader", "minibatch_size": 16, "standardise": True}
    settings = {
        "stream": {"type": "FlippedLabels", "data": data, "num_tasks": 2, "loader": loader},
        "model": {"type": "MLP", "width": 4, "depth": 1},
        "algorithms": {"bp": {"type": "bp"}},
    }
    stream: Any = studies.make_experiment(settings).stream
    assert stream.in_shape == (13,)
    assert stream.source.data.num_rows("validation") == 30
    missing = settings["stream"] | {"data": data | {"path": "nowhere.csv"}}
    with pytest.raises(studies.SettingsError, match="`stream.data.path` is 'nowhere.csv'"):
        studies.make_experiment(settings | {"stream": missing})


class Rows:
    """A data set whose row 3 is `third`, or raises it."""

    def __init__(self, third):
        self.third = third

    def __len__(self):
        return 5

    def __getitem__(self, row):
        if row == 3 and isinstance(self.third, Exception):
            raise self.third
        return self.third if row == 3 else (X[row], Y[row])


def test_rows_that_are_tuples_or_mappings():
    expected = X[:5], Y[:5]
    named = [{"id": i, "x": X[i].tolist(), "y": int(Y[i])} for i in range(5)]
    for dataset, keys in (
        (Rows((X[3], Y[3])), None),
        ([{"x": row["x"], "y": row["y"]} for row in named], None),
        (named, ("x", "y")),
        ([("other", X[i], Y[i]) for i in range(5)], (1, 2)),
    ):
        for found, array in zip(dataset_arrays(dataset, keys=keys), expected, strict=True):
            np.testing.assert_array_equal(found, array)


def test_rows_that_are_pictures():
    pixels = np.arange(2 * 4 * 3, dtype=np.uint8).reshape(2, 4, 3)
    rows = [{"image": PIL.Image.fromarray(p), "label": i} for i, p in enumerate(pixels)]
    inputs, labels = dataset_arrays(rows)
    np.testing.assert_array_equal(inputs, pixels)
    assert inputs.dtype == np.uint8
    assert labels.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("dataset", "keys", "message"),
    [
        (Rows(OSError("broken")), None, r"raises OSError in row 3 \(broken\)"),
        (
            Rows((X[3, :2], 0)),
            None,
            r"shape \(2,\) in row 3 and of shape \(3,\) in row 0",
        ),
        (Rows((X[3], [0, 1])), None, r"labels of shape \(2,\) in row 3"),
        (Rows((X[3], 0, 1)), None, "row 3 with type tuple, but without `keys`"),
        (Rows(7), None, "row 3 with type int"),
        (Rows({"x": 0}), ("x", "y"), "row 0 of type tuple, in which `keys`"),
        ([{"a": 1, "b": 2, "c": 3}], None, r"row 0 with \['a', 'b', 'c'\]"),
        ([{"a": 1, "b": 2, "c": 3}], ("a", "d"), "row 0 of type dict, .*KeyError"),
        ([], None, "`dataset` has 0 rows"),
    ],
)
def test_rows_that_cannot_be_used(dataset, keys, message):
    with pytest.raises(ValueError, match=message):
        dataset_arrays(dataset, keys=keys)
