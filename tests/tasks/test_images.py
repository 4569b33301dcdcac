"""Data sets of images: what is read, what is kept between runs, and what is refused."""

import contextlib
import hashlib
import importlib.util
import io
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import warnings
import zlib
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jaxtyping
import numpy as np
import PIL.Image
import pytest
import tensorflow_datasets
from array_record.python.array_record_module import ArrayRecordWriter
from sklearn.datasets import load_digits

from spectral.studies.command_line._main import main
from spectral.tasks import ImageSet, load_images, prepared_images
from spectral.tasks.labelled.sets import _image_cache, _images


# Data sets in the format of TensorFlow Datasets, written without TensorFlow.


def field(number, payload):
    """A field of a protocol buffer, of the kind that carries its length."""
    length, size = len(payload), b""
    while length >= 128:
        size, length = size + bytes([length % 128 + 128]), length // 128
    return bytes([number << 3 | 2]) + size + bytes([length]) + payload


def example(**values):
    """A `tf.train.Example` of byte strings and integers below 128."""
    entries = b""
    for key, value in values.items():
        number = 1 if isinstance(value, bytes) else 3
        payload = value if isinstance(value, bytes) else bytes([value])
        feature = field(number, field(1, payload))
        entries += field(1, field(1, key.encode()) + field(2, feature))
    return field(1, entries)


def png(pixels):
    """An image file with these pixels."""
    file = io.BytesIO()
    PIL.Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(file, "PNG")
    return file.getvalue()


def feature(kind, module, **content):
    return {"pythonClassName": f"tensorflow_datasets.core.features.{module}.{kind}", **content}


def image_feature(*shape, dtype="uint8"):
    content = {"dtype": dtype, "shape": {"dimensions": [str(size) for size in shape]}}
    return feature("Image", "image_feature", image=content)


LABEL = feature("ClassLabel", "class_label_feature", classLabel={"numClasses": "3"})


def write(root, name="shapes", *, version="1.0.0", sizes=None, seed=0, shape=(4, 5, 3), **changes):
    """Write a data set of random images below `root`; returns images and labels by split.

    `changes` replace parts of the description: `features`, `keys`, `file_format`, `images`.
    """
    folder = root / name / version
    folder.mkdir(parents=True)
    sizes = {"train": 6, "test": 4} if sizes is None else sizes
    random = np.random.default_rng(seed)
    contents, splits = {}, []
    stem = name.split("/")[0]
    for split, size in sizes.items():
        images = random.integers(0, 256, (size, *shape), dtype=np.uint8)
        labels = np.arange(size) % 3
        contents[split] = (images, labels)
        path = folder / f"{stem}-{split}.array_record-00000-of-00001"
        writer = ArrayRecordWriter(str(path), "group_size:1")
        for pixels, label in zip(changes.get("images", images), labels, strict=False):
            writer.write(example(image=png(pixels), label=int(label), other=2))
        writer.close()
        splits.append(
            {
                "name": split,
                "shardLengths": [str(size)],
                "numBytes": "1",
                "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
            }
        )
    features = {"image": image_feature(*shape), "label": LABEL, "other": LABEL}
    features = changes.get("features", features)
    keys = [{"featureKey": key} for key in changes.get("keys", ("image", "label"))]
    info = {
        "name": stem,
        "version": version,
        "fileFormat": changes.get("file_format", "array_record"),
        "moduleName": "shapes",
        "splits": splits,
        **({"supervisedKeys": {"tuple": {"items": keys}}} if keys else {}),
    }
    (folder / "dataset_info.json").write_text(json.dumps(info))
    kind = "tensorflow_datasets.core.features.features_dict.FeaturesDict"
    described = {"pythonClassName": kind, "featuresDict": {"features": features}}
    (folder / "features.json").write_text(json.dumps(described))
    return contents


def assert_holds(images, contents, held_out="test"):
    for part, split in (("train", "train"), ("test", held_out)):
        pixels, labels = contents[split]
        np.testing.assert_array_equal(getattr(images, f"{part}_images"), pixels)
        np.testing.assert_array_equal(getattr(images, f"{part}_labels"), labels)


@pytest.fixture
def places(tmp_path):
    """A folder for data sets, and one for their decoded copies, which does not exist yet."""
    return tmp_path / "data", tmp_path / "cache" / "nested"


@pytest.fixture
def no_decoding(monkeypatch):
    """A function after whose call neither decoding nor TensorFlow Datasets is available."""

    def forbid():
        monkeypatch.delattr(_images, "_decode")
        monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)

    return forbid


# The bundled digits.


def test_digits_are_split_once_and_for_all():
    images = load_images("digits")
    assert images.name == "digits"
    assert images.train_images.shape == (1500, 8, 8, 1)
    assert images.test_images.shape == (297, 8, 8, 1)
    assert images.train_images.dtype == jnp.uint8
    assert (images.num_classes, images.max_value) == (10, 16)
    assert max(images.train_images.max(), images.test_images.max()) == 16
    # Published numbers depend on which rows are held out: these are the ones.
    rows = np.asarray(images.test_images).tobytes() + np.asarray(images.test_labels).tobytes()
    assert zlib.crc32(rows) == 2523235155


def test_digits_lose_and_repeat_no_row():
    images = load_images("digits")
    pixels = np.concatenate([images.train_images, images.test_images]).reshape(1797, 64)
    labels = np.concatenate([images.train_labels, images.test_labels])[:, None]
    got = np.concatenate([pixels, labels], axis=1)
    pixels, labels = load_digits(return_X_y=True)
    expected = np.concatenate([pixels, labels[:, None]], axis=1)
    np.testing.assert_array_equal(got[np.lexsort(got.T)], expected[np.lexsort(expected.T)])


def test_digits_have_equal_shares_of_the_classes():
    images = load_images("digits")
    train = np.bincount(images.train_labels, minlength=10)
    test = np.bincount(images.test_labels, minlength=10)
    np.testing.assert_allclose(test, (train + test) * 297 / 1797, atol=1)


# The set itself.


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
        ({"num_classes": 0}, "`num_classes` is 0"),
        ({"max_value": 0}, "`max_value` is 0"),
        ({"test_images": jnp.zeros((2, 2, 3, 1), jnp.uint8)}, r"of shape \(2, 3, 1\)"),
    ],
)
def test_image_set_refuses_what_does_not_fit(change, message, monkeypatch):
    # Users have no type hook; with it, shapes that disagree would be refused in its own words.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    pixels, labels = jnp.zeros((2, 2, 2, 1), jnp.uint8), jnp.array([0, 2])
    train = {"train_images": pixels, "train_labels": labels}
    test = {"test_images": pixels, "test_labels": labels}
    parts: dict[str, Any] = {"name": "made", **train, **test, "num_classes": 3, "max_value": 255}
    ImageSet(**parts)
    with pytest.raises(ValueError, match=message):
        ImageSet(**{**parts, **change})


# Prepared data sets.


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_reads_what_was_written(places, channels):
    data, cache = places
    contents = write(data, shape=(4, 5, channels))
    images = load_images("shapes", data_dir=data, cache_dir=cache)
    assert_holds(images, contents)
    assert (images.name, images.num_classes, images.max_value) == ("shapes", 3, 255)
    assert all(eqx.is_array(leaf) for leaf in (images.train_images, images.test_labels))
    assert images.train_images.dtype == jnp.uint8


def test_reads_more_rows_than_fit_a_batch(places):
    data, cache = places
    contents = write(data, sizes={"train": 2003, "test": 1}, shape=(2, 2, 1))
    assert_holds(load_images("shapes", data_dir=data, cache_dir=cache), contents)


def test_reads_the_features_that_the_set_names(places):
    data, cache = places
    write(data, keys=("image", "other"))
    images = load_images("shapes", data_dir=data, cache_dir=cache)
    np.testing.assert_array_equal(images.train_labels, np.full(6, 2))


def test_reads_image_and_label_where_the_set_names_none(places):
    data, cache = places
    contents = write(data, keys=())
    assert_holds(load_images("shapes", data_dir=data, cache_dir=cache), contents)


def test_validation_is_held_out_where_there_is_no_test(places):
    data, cache = places
    contents = write(data, sizes={"train": 6, "validation": 3})
    images = load_images("shapes", data_dir=data, cache_dir=cache)
    assert_holds(images, contents, held_out="validation")


def test_test_is_held_out_where_there_is_also_validation(places):
    data, cache = places
    contents = write(data, sizes={"train": 6, "validation": 3, "test": 4})
    assert_holds(load_images("shapes", data_dir=data, cache_dir=cache), contents)


def test_takes_the_newest_version_or_the_one_asked_for(places):
    data, cache = places
    old = write(data, version="9.0.0", seed=1)
    new = write(data, version="10.0.0", seed=2)
    (data / "shapes" / "11.0.0.incomplete" / "dataset_info.json").parent.mkdir()
    (data / "shapes" / "11.0.0.incomplete" / "dataset_info.json").write_text("{}")
    assert_holds(load_images("shapes", data_dir=data, cache_dir=cache), new)
    assert_holds(load_images("shapes:9.0.0", data_dir=data, cache_dir=cache), old)
    assert_holds(load_images("shapes", data_dir=data, cache_dir=cache), new)


def test_reads_a_configuration(places):
    data, cache = places
    contents = write(data, "shapes/small")
    assert_holds(load_images("shapes/small", data_dir=data, cache_dir=cache), contents)
    assert all(file.parent == cache for file in cache.rglob("*"))


# Copies kept between runs.


def test_second_reading_needs_no_decoding(places, no_decoding):
    data, cache = places
    contents = write(data)
    load_images("shapes", data_dir=data, cache_dir=cache)
    no_decoding()
    images = load_images("shapes", data_dir=data, cache_dir=cache)
    assert_holds(images, contents)
    assert (images.num_classes, images.max_value) == (3, 255)


def flipped(raw, place):
    return raw[:place] + bytes([raw[place] ^ 64]) + raw[place + 1 :]


def assert_repaired(spoil, places, monkeypatch, **content):
    """Each way of spoiling gives back the contents, and leaves a copy that is whole."""
    data, cache = places
    contents = write(data, **content)
    load_images("shapes", data_dir=data, cache_dir=cache)
    (copy,) = cache.iterdir()
    whole = copy.read_bytes()
    with monkeypatch.context() as patch:
        arrays = _image_cache._read(copy)
        patch.setattr(_images, "_decode", lambda *_: arrays)  # for speed
        for spoilt in spoil(whole):
            copy.write_bytes(spoilt)
            assert_holds(load_images("shapes", data_dir=data, cache_dir=cache), contents)
    assert copy.read_bytes()[:4] == whole[:4]
    monkeypatch.delattr(_images, "_decode")
    assert_holds(load_images("shapes", data_dir=data, cache_dir=cache), contents)


def test_flipped_bytes_are_found(places, monkeypatch):
    # In the pixels, in the headers of arrays and in the table of contents alike.
    assert_repaired(
        lambda whole: (flipped(whole, i) for i in range(0, len(whole), 3)), places, monkeypatch
    )


def test_lost_arrays_are_found(places, monkeypatch):
    # The table of contents says how long the comment to each entry is. Made longer, it swallows
    # the entries that follow, and what is left is a good archive.
    def swallow(whole):
        yield flipped(whole, whole.index(b"PK\x01\x02") + 33)

    assert_repaired(swallow, places, monkeypatch)


def test_lost_rows_are_found(places, monkeypatch):
    # NumPy reads as many rows as the header of the array says, and the check sum is looked at by
    # those who read to the end only; small arrays are, for zip reads 4 kB at the smallest.
    def shorten(whole):
        assert b"(6, 40, 50, 3)" in whole
        yield whole.replace(b"(6, 40, 50, 3)", b"(2, 40, 50, 3)")

    assert_repaired(shorten, places, monkeypatch, shape=(40, 50, 3))


def test_truncated_copies_are_found(places, monkeypatch):
    assert_repaired(
        lambda whole: (whole[:length] for length in range(0, len(whole), 97)), places, monkeypatch
    )


def test_changed_files_are_decoded_anew(places):
    data, cache = places
    write(data, seed=1)
    load_images("shapes", data_dir=data, cache_dir=cache)
    for file in (data / "shapes" / "1.0.0").iterdir():
        file.unlink()
    (data / "shapes" / "1.0.0").rmdir()
    contents = write(data, seed=2)
    assert_holds(load_images("shapes", data_dir=data, cache_dir=cache), contents)


@pytest.mark.parametrize("change", ["time", "size"])
def test_time_and_size_of_the_files_tell_them_apart(tmp_path, change):
    file = tmp_path / "file"
    file.write_bytes(b"123")
    os.utime(file, ns=(5, 5))
    before = _image_cache.cache_path(tmp_path, "name", tmp_path)
    assert _image_cache.cache_path(tmp_path, "name", tmp_path) == before
    if change == "size":
        file.write_bytes(b"1234")
    os.utime(file, ns=(5, 6 if change == "time" else 5))
    assert _image_cache.cache_path(tmp_path, "name", tmp_path) != before


def test_another_folder_is_not_answered_from_the_first(tmp_path):
    contents = [write(tmp_path / place, seed=i) for i, place in enumerate(("one", "two"))]
    for place in ("one", "two"):
        for file in (tmp_path / place).rglob("*"):
            os.utime(file, ns=(5, 5))
    for _ in range(2):
        for place, expected in zip(("one", "two"), contents, strict=True):
            images = load_images("shapes", data_dir=tmp_path / place, cache_dir=tmp_path / "cache")
            assert_holds(images, expected)


def test_nobody_reads_half_a_copy(places, monkeypatch):
    # Another process looks for the copy, and makes one itself, while this one is writing.
    data, cache = places
    contents = write(data)
    savez = np.savez

    def interrupted(file, **arrays):
        file.write(b"PK")
        monkeypatch.setattr(np, "savez", savez)
        assert not list(cache.glob("*.npz"))
        assert_holds(load_images("shapes", data_dir=data, cache_dir=cache), contents)
        file.seek(0)
        savez(file, **arrays)

    monkeypatch.setattr(np, "savez", interrupted)
    assert_holds(load_images("shapes", data_dir=data, cache_dir=cache), contents)
    assert [file.suffix for file in cache.iterdir()] == [".npz"]
    monkeypatch.delattr(_images, "_decode")
    assert_holds(load_images("shapes", data_dir=data, cache_dir=cache), contents)


def test_two_processes_fill_the_same_cache(places, no_decoding):
    data, cache = places
    contents = write(data, sizes={"train": 2000, "test": 4})
    code = (
        "import hashlib, sys; from spectral.tasks.labelled.sets._images import load_images;"
        "images = load_images('shapes', sys.argv[1], cache_dir=sys.argv[2]);"
        "print(hashlib.sha256(bytes(memoryview(images.train_images))).hexdigest())"
    )
    command = [sys.executable, "-c", code, str(data), str(cache)]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=300)[0].strip() for process in both]
    assert said == [hashlib.sha256(contents["train"][0].tobytes()).hexdigest()] * 2
    assert [file.suffix for file in cache.iterdir()] == [".npz"]
    no_decoding()
    assert_holds(load_images("shapes", data_dir=data, cache_dir=cache), contents)


def test_default_cache_folder(places, monkeypatch, tmp_path):
    data, _ = places
    write(data)
    monkeypatch.setenv("HOME", str(tmp_path / "unused"))
    for variable, folder in (("XDG_CACHE_HOME", "x/spectral"), ("HOME", "h/.cache/spectral")):
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        monkeypatch.setenv(variable, str(tmp_path / folder[0]))
        load_images("shapes", data_dir=data)
        assert len(list((tmp_path / folder).iterdir())) == 1
    monkeypatch.setenv("XDG_CACHE_HOME", "not/a/full/path")
    assert _image_cache.default_cache_dir() == tmp_path / "h/.cache/spectral"


def test_unusable_cache_folder_warns_and_does_not_stop(places, tmp_path):
    data, _ = places
    contents = write(data)
    (tmp_path / "file").write_text("in the way")
    with pytest.warns(UserWarning, match="pass a `cache_dir` that can be written to"):
        images = load_images("shapes", data_dir=data, cache_dir=tmp_path / "file" / "cache")
    assert_holds(images, contents)


def test_warns_once(places, monkeypatch):
    data, cache = places
    write(data)

    def full(*_):
        raise OSError(28, "No space left on device", "a name that differs each time")

    monkeypatch.setattr(os, "replace", full)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(2):
            load_images("shapes", data_dir=data, cache_dir=cache)
    assert len(caught) == 1
    assert "No space left on device" in str(caught[0].message)
    assert not list(cache.iterdir())


@contextlib.contextmanager
def ordinary_user():
    """Files are reached as by a user whom permissions bind, which the superuser is not."""
    superuser = os.geteuid() == 0
    if superuser:
        os.seteuid(65534)  # nobody
    try:
        yield
    finally:
        if superuser:
            os.seteuid(0)


def test_read_only_cache_folder():
    # Not in a folder of pytest, into which no other user may look.
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o755)
        data, cache = pathlib.Path(place) / "data", pathlib.Path(place) / "cache"
        contents = write(data)
        load_images(
            "shapes", data_dir=data, cache_dir=data / "first"
        )  # what it imports may be private
        cache.mkdir()
        cache.chmod(0o555)
        with ordinary_user(), pytest.warns(UserWarning, match="Permission denied"):
            images = load_images("shapes", data_dir=data, cache_dir=cache)
        assert_holds(images, contents)
        assert not list(cache.iterdir())


# What is refused.


def test_unknown_name_says_what_there_is_and_what_to_do(places):
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


def test_unknown_version_says_which_there_are(places):
    data, _ = places
    write(data)
    with pytest.raises(FileNotFoundError, match=r"'1\.0\.1' does not exist\. Allowed: 1\.0\.0"):
        load_images("shapes:1.0.1", data_dir=data)


def test_absent_folder_is_named(tmp_path):
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
def test_refuses_what_is_not_labelled_images(places, changes, message):
    data, cache = places
    write(data, **changes)
    with pytest.raises(ValueError, match=message):
        load_images("shapes", data_dir=data, cache_dir=cache)
    assert not cache.exists()


# Listing and preparing.


def test_what_is_prepared_is_listed(places, capsys):
    data, _ = places
    for version in ("9.0.0", "10.0.0"):
        write(data, version=version)
    write(data, "circles/small")
    assert main(["data", "list", "--data-dir", str(data)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "digits  (comes with scikit-learn)",
        "circles/small  1.0.0",
        "shapes  9.0.0, 10.0.0",
    ]
    assert prepared_images(data_dir=data / "nowhere") == {}


def test_preparing_needs_tensorflow(places, capsys, monkeypatch):
    data, _ = places
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(["data", "prepare", "cifar100", "--data-dir", str(data)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("spectral data: Preparing 'cifar100' needs TensorFlow")
    assert "pip install 'spectral-plasticity[data]'" in said


class Builder:
    """Stands for one of TensorFlow Datasets, and writes what it would have written."""

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


# The real thing, where there is one.


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
