import pytest
from tiny_experiment import TINY


@pytest.fixture
def tiny(tmp_path):
    """A function that writes an experiment to a file, with one piece of its text replaced."""

    def write(old: str = "", new: str = ""):
        assert old in TINY
        path = tmp_path / "tiny.yaml"
        path.write_text(TINY.replace(old, new) if old else TINY)
        return path

    return write
