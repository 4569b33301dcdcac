"""Folders of data sets."""

import sys

import pytest

from spectral.tasks.labelled.sets import _images


@pytest.fixture
def places(tmp_path):
    """A folder of data sets, and one for their decoded copies, which does not exist yet."""
    return tmp_path / "data", tmp_path / "cache" / "nested"


@pytest.fixture
def no_decoding(monkeypatch):
    """A function after whose call neither decoding nor TensorFlow Datasets is available."""

    def forbid():
        monkeypatch.delattr(_images, "decode")
        monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)

    return forbid
