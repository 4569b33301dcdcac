"""Data sets of images: what is read, and what is rejected."""

import importlib.util
import os
import pathlib
import zlib
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
import tensorflow_datasets
from prepared_sets import assert_holds, image_feature, LABEL, write
from sklearn.datasets import load_digits

from spectral.studies.command_line._main import main
from spectral.tasks import ImageSet, load_images, prepared_images


def test_digits_have_a_fixed_split():
    images = load_images("digits")
    assert images.name == "digits"
    assert images.train_images.shape == (1500, 8, 8, 1)
    assert images.test_images.shape == (297, 8, 8, 1)
    assert images.train_images.dtype == jnp.uint8
    assert (images.num_classes, images.max_value) == (10, 16)
    assert max(images.train_images.max(), images.test_images.max()) == 16
    # Published numbers depend on the rows that are held out.
    rows = np.asarray(images.test_images).tobytes() + np.asarray(images.test_labels).tobytes()
    assert zlib.crc32(rows) == 2523235155


def test_digits_contain_every_row_once():
    images = load_images("digits")
    pixels = np.concatenate([images.train_images, images.test_images]).reshape(1797, 64)
    labels = np.concatenate([images.train_labels, images.test_labels])[:, None]
    got = np.concatenate([pixels, labels], axis=1)
    pixels, labels = load_digits(return_X_y=True)
    expected = np.concatenate([pixels, labels[:, None]], axis=1)
    np.testing.assert_array_equal(got[np.lexsort(got.T)], expected[np.lexsort(expected.T)])


def test_digits_are_stratified():
    images = load_images("digits")
    train = np.bincount(images.train_labels, minlength=10)
    test = np.bincount(images.test_labels, minlength=10)
    np.testing.assert_allclose(test, (train + test) * 297 / 1797, atol=1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"train_images": jnp.zeros((0, 2, 2, 1), jnp.uint8), "train_labels": jnp.zeros(0, int)},
            "`train_images` has 0 rows",
        ),
        ({"test_labels": jnp.zeros(3, int)}, "`test_images` has 2 rows and `test_labels` has 3"),
        ({"train_labels": jnp.array([0, 3])}, "`train_labels` lie between 0 and 3, .* 0 and 2"),
        ({"test_labels": jnp.array([-1, 0])}, "`test_labels` lie between -1 and 0"),
        (
            {"train_labels": jnp.eye(3, dtype=int)[jnp.array([0, 2])]},
            r"`train_labels` is int32 of shape \(2, 3\), .* shape \(2,\), .*argmax\(axis=1\)",
        ),
        ({"test_labels": jnp.array([0.0, 2.0])}, "`test_labels` is float32 of shape .*astype"),
        ({"num_classes": 0}, "`num_classes` is 0"),
        ({"max_value": 0}, "`max_value` is 0"),
        ({"test_images": jnp.zeros((2, 2, 3, 1), jnp.uint8)}, r"of shape \(2, 3, 1\)"),
    ],
)
def test_bad_image_sets(change, message, monkeypatch):
    # Without this the type checker rejects shapes that disagree first.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    pixels, labels = jnp.zeros((2, 2, 2, 1), jnp.uint8), jnp.array([0, 2])
    train = {"train_images": pixels, "train_labels": labels}
    test = {"test_images": pixels, "test_labels": labels}
    parts: dict[str, Any] = {"name": "made", **train, **test, "num_classes": 3, "max_value": 255}
    ImageSet(**parts)
    with pytest.raises(ValueError, match=message):
        ImageSet(**{**parts, **change})


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_reading(places, channels):
    data, cache = places
    contents = write(data, shape=(4, 5, channels))
    images = load_images("shapes", data_dir=data, cache_dir=cache)
    assert_holds(images, contents)
    assert (images.name, images.num_classes, images.max_value) == ("shapes", 3, 255)
    assert all(eqx.is_array(leaf) for leaf in (images.train_images, images.test_labels))
    assert images.train_images.dtype == jnp.uint8


def test_reading_several_batches(places):
    data, cache = places
    contents = write(data, sizes={"train": 2003, "test": 1}, shape=(2, 2, 1))
    assert_holds(load_images("shapes", data_dir=data, cache_dir=cache), contents)


def test_supervised_keys(places):
    data, cache = places
    write(data, keys=("image", "other"))
    images = load_images("shapes", data_dir=data, cache_dir=cache)
    np.testing.assert_array_equal(images.train_labels, np.full(6, 2))


def test_without_supervised_keys(places):
    data, cache = places
    contents = write(data, keys=())
    assert_holds(load_images("shapes", data_dir=data, cache_dir=cache), contents)


def test_validation_is_held_out_without_a_test_split(places):
    data, cache = places
    contents = write(data, sizes={"train": 6, "validation": 3})
    images = load_images("shapes", data_dir=data, cache_dir=cache)
    assert_holds(images, contents, held_out="validation")


def test_the_test_split_is_preferred_to_validation(places):
    data, cache = places
    contents = write(data, sizes={"train": 6, "validation": 3, "test": 4})
    assert_holds(load_images("shapes", data_dir=data, cache_dir=cache), contents)


def test_versions(places):
    data, cache = places
    old = write(data, version="9.0.0", seed=1)
    new = write(data, version="10.0.0", seed=2)
    (data / "shapes" / "11.0.0.incomplete" / "dataset_info.json").parent.mkdir()
    (data / "shapes" / "11.0.0.incomplete" / "dataset_info.json").write_text("{}")
    assert_holds(load_images("shapes", data_dir=data, cache_dir=cache), new)
    assert_holds(load_images("shapes:9.0.0", data_dir=data, cache_dir=cache), old)
    assert_holds(load_images("shapes", data_dir=data, cache_dir=cache), new)


def test_configurations(places):
    data, cache = places
    contents = write(data, "shapes/small")
    assert_holds(load_images("shapes/small", data_dir=data, cache_dir=cache), contents)
    assert all(file.parent == cache for file in cache.rglob("*"))


def test_unknown_name(places):
    data, _ = places
    write(data, "squares")
    write(data, "circles/small")
    with pytest.raises(FileNotFoundError) as error:
        load_images("sqares", data_dir=data)
    message = str(error.value)
    assert "'sqares' does not exist. Allowed: circles/small, digits, squares" in message
    assert "did you mean 'squares'?" in message
    assert repr(str(data)) in message
    assert "which is not a folder" not in message
    assert "pip install 'spectral-plasticity[data]'" in message
    assert f"`spectral data prepare sqares --data-dir {data}`" in message


def test_unknown_version(places):
    data, _ = places
    write(data)
    with pytest.raises(FileNotFoundError, match=r"'1\.0\.1' does not exist\. Allowed: 1\.0\.0"):
        load_images("shapes:1.0.1", data_dir=data)


def test_missing_data_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent', which is not a folder"):
        load_images("mnist", data_dir=tmp_path / "absent")


def test_default_data_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    with pytest.raises(FileNotFoundError, match=str(tmp_path / "tensorflow_datasets")):
        load_images("shapes")
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "elsewhere"))
    contents = write(tmp_path / "elsewhere")
    assert_holds(load_images("shapes", cache_dir=tmp_path), contents)


IMAGE = image_feature(4, 5, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": {"image": IMAGE}}, "one class label"),
        ({"features": {"label": LABEL}}, "must have an 8-bit image"),
        ({"features": {"image": IMAGE, "label": IMAGE}}, "one class label"),
        ({"features": {"image": image_feature(4, 5, 2), "label": LABEL}}, "1, 3 or 4 channels"),
        ({"features": {"image": image_feature(-1, -1, 3), "label": LABEL}}, "a fixed size"),
        (
            {"features": {"image": image_feature(4, 5, 3, dtype="uint16"), "label": LABEL}},
            "must have an 8-bit image",
        ),
        ({"keys": ("image", "label", "other")}, "one class label"),
        ({"sizes": {"train": 2}}, r"has the splits \['train'\]"),
        ({"sizes": {"test": 2}}, r"has the splits \['test'\]"),
        ({"file_format": "tfrecord"}, "the format tfrecord, .*spectral data prepare shapes"),
        (
            {"images": [np.zeros((4, 5, 3), np.uint8), *np.zeros((5, 5, 4, 3), np.uint8)]},
            r"shape \(4, 5, 3\), but row 1 of 'train' is of shape \(5, 4, 3\)",
        ),
    ],
)
def test_bad_data_sets(places, changes, message):
    data, cache = places
    write(data, **changes)
    with pytest.raises(ValueError, match=message):
        load_images("shapes", data_dir=data, cache_dir=cache)
    assert not cache.exists()


def test_listing(places, capsys):
    data, _ = places
    for version in ("9.0.0", "10.0.0"):
        write(data, version=version)
    write(data, "circles/small")
    assert main(["data", "list", "--data-dir", str(data)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "digits  (part of scikit-learn)",
        "circles/small  1.0.0",
        "shapes  9.0.0, 10.0.0",
    ]
    assert prepared_images(data_dir=data / "nowhere") == {}


def test_preparing_needs_tensorflow(places, capsys, monkeypatch):
    data, _ = places
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(["data", "prepare", "cifar100", "--data-dir", str(data)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("spectral data: Preparing 'cifar100' needs TensorFlow")
    assert "pip install 'spectral-plasticity[data]'" in error


class Builder:
    """A stand-in for a builder of TensorFlow Datasets."""

    def __init__(self, name, data_dir, file_format):
        assert file_format == "array_record"
        self.folder, self.data_dir = data_dir, str(data_dir / name / "1.0.0")

    def download_and_prepare(self, file_format):
        assert file_format == "array_record"
        if "svhn" in self.data_dir:
            raise ConnectionError("no route")
        write(self.folder, "mnist")


def test_preparing(places, capsys, monkeypatch):
    data, cache = places
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(tensorflow_datasets, "builder", Builder)
    prepare = lambda name: main(["data", "prepare", name, "--data-dir", str(data)])
    assert prepare("mnist") == 0
    assert capsys.readouterr().out.strip() == str(data / "mnist" / "1.0.0")
    assert len(load_images("mnist", data_dir=data, cache_dir=cache).train_labels) == 6
    assert prepare("mnits") == 2
    assert "did you mean 'mnist'?" in capsys.readouterr().err
    assert prepare("svhn_cropped") == 2
    assert "'svhn_cropped' could not be prepared" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "shape", "num_classes"), [("mnist", (28, 28, 1), 10), ("cifar100", (32, 32, 3), 100)]
)
def test_real_data(name, shape, num_classes, tmp_path, no_decoding):
    data_dir = os.environ.get("SPECTRAL_DATA_DIR")
    if data_dir is None:
        pytest.skip("SPECTRAL_DATA_DIR does not name a folder of prepared data sets")
    if not (pathlib.Path(data_dir) / name).is_dir():
        pytest.skip(f"SPECTRAL_DATA_DIR does not hold {name}")
    first = load_images(name, data_dir=data_dir, cache_dir=tmp_path)
    assert first.train_images.shape[1:] == shape
    assert first.num_classes == num_classes == len(np.unique(first.train_labels))
    assert first.train_images.max() == 255
    no_decoding()
    assert eqx.tree_equal(first, load_images(name, data_dir=data_dir, cache_dir=tmp_path))
