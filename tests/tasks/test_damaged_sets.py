"""Prepared data sets that were copied in part, damaged, or made to run code."""

import json
import pathlib
import shutil
import sys

import pytest
from prepared_sets import feature, image_feature, LABEL, write

from spectral.tasks import load_images


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A data set with two splits."""
    root = tmp_path_factory.mktemp("sound")
    write(root)
    return root


def copied(sound: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    return shutil.copytree(sound / "shapes", tmp_path / "data" / "shapes") / "1.0.0"


def message(folder: pathlib.Path) -> str:
    """The message with which loading a set is rejected; empty if it is loaded."""
    try:
        load_images("shapes", data_dir=folder.parents[1], cache_dir=folder.parents[2] / "cache")
    except (ValueError, FileNotFoundError) as error:
        return str(error)
    return ""


TRAIN = "shapes-train.array_record-00000-of-00001"


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        (TRAIN, ["the split 'train'", TRAIN]),
        (TRAIN.replace("train", "test"), ["the split 'test'", "test.array_record"]),
        ("features.json", ["features.json"]),
    ],
)
@pytest.mark.parametrize("damage", ["removed", "emptied"])
def test_a_file_is_missing(name, parts, damage, sound, tmp_path):
    folder = copied(sound, tmp_path)
    (folder / name).unlink() if damage == "removed" else (folder / name).write_bytes(b"")
    told = message(folder)
    for part in ["Data set 'shapes' is damaged", *parts, "Copy or prepare"]:
        assert part in told


def test_a_row_is_damaged(sound, tmp_path):
    """The image of the last row, and the whole end of a file."""
    folder = copied(sound, tmp_path)
    record = bytearray((folder / TRAIN).read_bytes())
    last = record.rindex(b"\x89PNG")
    record[last : last + 4] = b"XXXX"
    (folder / TRAIN).write_bytes(record)
    assert "row 5 of the split 'train' cannot be read" in message(folder)
    (folder / TRAIN).write_bytes(record[: len(record) // 2])
    told = message(folder)
    assert "Data set 'shapes' is damaged" in told
    assert "the split 'train'" in told


def test_labels_beyond_the_classes(tmp_path):
    two = {**LABEL, "classLabel": {"numClasses": "2"}}
    write(tmp_path / "data", features={"image": image_feature(4, 5, 3), "label": two})
    told = message(tmp_path / "data" / "shapes" / "1.0.0")
    assert "declares 2 classes, but row 2 of 'train' has the label 2" in told


@pytest.mark.parametrize("key", ["pythonClassName", "python_class_name", "type"])
def test_features_import_no_other_module(key, tmp_path, monkeypatch):
    """A data set comes from elsewhere, and reading it must not run its code."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "planted.py").write_text("raise SystemExit('imported')")
    kind = feature("Tensor", "tensor_feature")
    del kind["pythonClassName"]
    inner = {"feature": kind | {key: "planted.Feature"}}
    features = {"image": image_feature(4, 5, 3), "label": LABEL, "x": {"sequence": inner}}
    write(tmp_path / "data", features=features)
    told = message(tmp_path / "data" / "shapes" / "1.0.0")
    assert "has the feature 'planted.Feature'" in told
    assert "must be classes of `tensorflow_datasets`" in told
    assert "planted" not in sys.modules


@pytest.mark.slow
def test_every_file_damaged_in_every_way(sound, tmp_path):
    """Each set is loaded or rejected with a message that names it."""
    folder = copied(sound, tmp_path)
    for path in sorted(folder.iterdir()):
        whole = path.read_bytes()
        cuts = [whole[: len(whole) * k // 8] for k in range(8)]
        at = range(0, len(whole), max(1, len(whole) // 60))
        flips = [whole[:k] + bytes([whole[k] ^ 0x55]) + whole[k + 1 :] for k in at]
        for i, changed in enumerate([*cuts, *flips]):
            path.write_bytes(changed)
            told = message(folder)
            assert not told or "'shapes'" in told, (path.name, i, told)
        path.write_bytes(whole)
    info = json.loads((folder / "dataset_info.json").read_text())
    for key in list(info):
        for value in (None, 3, [], {}, "x", [None]):
            (folder / "dataset_info.json").write_text(json.dumps(info | {key: value}))
            told = message(folder)
            assert not told or "'shapes'" in told, (key, value, told)
