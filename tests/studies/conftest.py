import pytest
from tiny_experiment import PLAIN, TINY

from spectral.studies.experiment import _make


@pytest.fixture
def tiny(tmp_path):
    """A function that writes an experiment to a file, with one piece of its text replaced."""

    def write(old: str = "", new: str = ""):
        assert old in TINY
        path = tmp_path / "tiny.yaml"
        path.write_text(TINY.replace(old, new) if old else TINY)
        return path

    return write


@pytest.fixture
def plain(tmp_path):
    """The file of a tiny experiment without probes."""
    path = tmp_path / "plain.yaml"
    path.write_text(PLAIN)
    return path


@pytest.fixture
def untraced(monkeypatch):
    """Leave out the check that traces the programs of an experiment, which takes seconds. What is
    recorded is then known from the parts alone."""

    def declared(experiment):
        found = dict(experiment.stream.quantities())
        for name, probe in experiment.probes.items():
            own = probe.quantities().items()
            found |= {f"{name}.{when}.{what}": q for when in probe.when for what, q in own}
        return found

    monkeypatch.setattr(_make, "_check_parts", declared)
