"""The cache of decoded images."""

import contextlib
import hashlib
import os
import pathlib
import subprocess
import sys
import tempfile
import warnings

import numpy as np
import pytest
from prepared_sets import assert_holds, write

from spectral.tasks import load_images
from spectral.tasks.labelled.sets import _image_cache, _images


def test_images_are_decoded_once(places, no_decoding):
    data, cache = places
    contents = write(data)
    load_images("shapes", data_dir=data, cache_dir=cache)
    no_decoding()
    images = load_images("shapes", data_dir=data, cache_dir=cache)
    assert_holds(images, contents)
    assert (images.num_classes, images.max_value) == (3, 255)


def flipped(raw, place):
    return raw[:place] + bytes([raw[place] ^ 64]) + raw[place + 1 :]


def assert_rebuilt(corrupt, places, monkeypatch, **options):
    """For each corrupt file the contents are right, and the file is rebuilt."""
    data, cache = places
    contents = write(data, **options)
    load_images("shapes", data_dir=data, cache_dir=cache)
    (copy,) = cache.iterdir()
    whole = copy.read_bytes()
    with monkeypatch.context() as patch:
        arrays = _image_cache._read(copy)
        patch.setattr(_images, "decode", lambda *_: arrays)  # for speed
        for content in corrupt(whole):
            copy.write_bytes(content)
            assert_holds(load_images("shapes", data_dir=data, cache_dir=cache), contents)
    assert copy.read_bytes()[:4] == whole[:4]
    monkeypatch.delattr(_images, "decode")
    assert_holds(load_images("shapes", data_dir=data, cache_dir=cache), contents)


def test_flipped_bytes(places, monkeypatch):
    # In the pixels, in the headers of arrays, and in the table of contents.
    assert_rebuilt(
        lambda whole: (flipped(whole, i) for i in range(0, len(whole), 13)), places, monkeypatch
    )


def test_missing_arrays(places, monkeypatch):
    # The table of contents has the length of the comment of each entry. A longer comment contains
    # the entries that follow, and the rest is a valid archive.
    def swallow(whole):
        yield flipped(whole, whole.index(b"PK\x01\x02") + 33)

    assert_rebuilt(swallow, places, monkeypatch)


def test_missing_rows(places, monkeypatch):
    # NumPy reads the number of rows in the header of the array. The checksum is only compared at
    # the end of an array, which is always read if the array is smaller than 4 kB.
    def shorten(whole):
        assert b"(6, 40, 50, 3)" in whole
        yield whole.replace(b"(6, 40, 50, 3)", b"(2, 40, 50, 3)")

    assert_rebuilt(shorten, places, monkeypatch, shape=(40, 50, 3))


def test_truncated_files(places, monkeypatch):
    assert_rebuilt(
        lambda whole: (whole[:length] for length in range(0, len(whole), 97)), places, monkeypatch
    )


def test_changed_files_are_decoded_again(places):
    data, cache = places
    write(data, seed=1)
    load_images("shapes", data_dir=data, cache_dir=cache)
    for file in (data / "shapes" / "1.0.0").iterdir():
        file.unlink()
    (data / "shapes" / "1.0.0").rmdir()
    contents = write(data, seed=2)
    assert_holds(load_images("shapes", data_dir=data, cache_dir=cache), contents)


@pytest.mark.parametrize("change", ["time", "size"])
def test_cache_path_depends_on_time_and_size(tmp_path, change):
    file = tmp_path / "file"
    file.write_bytes(b"123")
    os.utime(file, ns=(5, 5))
    before = _image_cache.cache_path(tmp_path, "name", tmp_path)
    assert _image_cache.cache_path(tmp_path, "name", tmp_path) == before
    if change == "size":
        file.write_bytes(b"1234")
    os.utime(file, ns=(5, 6 if change == "time" else 5))
    assert _image_cache.cache_path(tmp_path, "name", tmp_path) != before


def test_folders_have_separate_copies(tmp_path):
    contents = [write(tmp_path / place, seed=i) for i, place in enumerate(("one", "two"))]
    for place in ("one", "two"):
        for file in (tmp_path / place).rglob("*"):
            os.utime(file, ns=(5, 5))
    for _ in range(2):
        for place, expected in zip(("one", "two"), contents, strict=True):
            images = load_images("shapes", data_dir=tmp_path / place, cache_dir=tmp_path / "cache")
            assert_holds(images, expected)


def test_partial_files_are_not_read(places, monkeypatch):
    # Another process reads and writes the copy while this one is writing.
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
    monkeypatch.delattr(_images, "decode")
    assert_holds(load_images("shapes", data_dir=data, cache_dir=cache), contents)


@pytest.mark.slow
def test_two_processes_fill_the_same_cache(places, no_decoding):
    data, cache = places
    contents = write(data, sizes={"train": 2000, "test": 4})
    code = (
        "import hashlib, sys; from spectral.tasks.labelled.sets._images import load_images;"
        "images = load_images('shapes', data_dir=sys.argv[1], cache_dir=sys.argv[2]);"
        "print(hashlib.sha256(bytes(memoryview(images.train_images))).hexdigest())"
    )
    command = [sys.executable, "-c", code, str(data), str(cache)]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(2)
    ]
    digests = [process.communicate(timeout=300)[0].strip() for process in both]
    assert digests == [hashlib.sha256(contents["train"][0].tobytes()).hexdigest()] * 2
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


def test_unusable_cache_folder_warns(places, tmp_path):
    data, _ = places
    contents = write(data)
    (tmp_path / "file").write_text("in the way")
    with pytest.warns(UserWarning, match="pass a `cache_dir` that is writable"):
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
    """Access files as an ordinary user, because permissions do not bind the superuser."""
    superuser = os.geteuid() == 0
    if superuser:
        os.seteuid(65534)  # nobody
    try:
        yield
    finally:
        if superuser:
            os.seteuid(0)


def test_read_only_cache_folder():
    # Folders of pytest are not readable for other users.
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o755)
        data, cache = pathlib.Path(place) / "data", pathlib.Path(place) / "cache"
        contents = write(data)
        # Other users may not be able to read what this imports.
        load_images("shapes", data_dir=data, cache_dir=data / "first")
        cache.mkdir()
        cache.chmod(0o555)
        with ordinary_user(), pytest.warns(UserWarning, match="Permission denied"):
            images = load_images("shapes", data_dir=data, cache_dir=cache)
        assert_holds(images, contents)
        assert not list(cache.iterdir())
