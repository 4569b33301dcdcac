"""Streams of sequences from settings: runs, sweeps, figures and the report."""

import copy
import hashlib
import json
from typing import Any

import numpy as np
import pytest
import yaml
from token_network import TokenNetwork

from spectral import studies


SETTINGS = """
seeds: 2
stream:
  type: PermutedVocabulary
  text: notes.txt
  context: 6
  num_tasks: 3
  loader: {type: SequenceLoader, steps_per_task: 8, minibatch_size: 2}
model: {type: token_network:TokenNetwork, width: 3}
algorithms:
  bp: {type: bp, lr: 0.1}
"""
OTHERS: dict[str, Any] = {
    "markov": {"type": "MarkovSources", "num_symbols": 4, "entropy_rate": 0.5, "context": 6},
    "formal": {
        "type": "FormalTasks",
        "rules": [{"type": "SortSymbols"}, {"type": "ModularAddition", "modulus": 3}],
        "num_symbols": 4,
        "length": 2,
    },
    "texts": {
        "type": "TextSequence",
        "texts": ["notes.txt", {"type": "load_text", "string": "ab" * 50}],
        "context": 4,
    },
    "default": {"type": "PermutedVocabulary"},
}


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("abcd" * 30)
    return yaml.safe_load(SETTINGS)


@pytest.mark.slow
def test_a_sweep_is_run_drawn_and_reported(settings, tmp_path):
    """And the hash of the text is in its folder and in its summary."""
    settings["algorithms"]["bp"]["lr"] = {"grid": [0.1, 0.01]}
    settings["score"] = {"measure": "test loss", "over": "all"}
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(settings))
    table = studies.run_sweep(studies.load_sweep("sweep.yaml"), "swept")
    assert table["selected"].tolist().count(True) == 1
    digest = hashlib.sha256(b"abcd" * 30).hexdigest()[:16]
    noted = json.loads((tmp_path / "swept" / "quantities.json").read_text())
    assert noted["test_loss"]["note"] == f"Text 'notes', SHA-256 {digest}."
    assert noted["test_loss"]["guess"] == pytest.approx(np.log(4))
    results = studies.load_results("swept")
    assert digest in json.dumps(studies.summarise(results))
    assert studies.load("swept")["test_loss"].shape == (2, 2, 3)
    names = {path.stem for path in studies.draw_figures("swept", folder=tmp_path / "figures")}
    assert {"performance", "training"} <= names
    assert "test loss" in studies.write_report(["swept"], "report.html").read_text()


@pytest.mark.slow
def test_a_network_is_given_the_sizes_of_the_stream(settings):
    model = studies.make_experiment(settings).member(0)[0]
    assert isinstance(model, TokenNetwork)
    assert (model.context, model.vocabulary_size) == (6, 4)


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_every_stream_can_be_named(settings, name):
    settings = copy.deepcopy(settings) | {"stream": OTHERS[name] | {"num_tasks": 2}, "seeds": 1}
    experiment = studies.make_experiment(settings)
    assert experiment.stream.num_tasks == 2
    assert list(experiment.quantities)[:2] == ["test_loss", "test_accuracy"]


def test_sizes_that_do_not_fit_are_rejected(settings):
    settings["model"]["context"] = 5
    with pytest.raises(studies.SettingsError, match="`model.context` is 5, but the stream needs 6"):
        studies.make_experiment(settings)
    settings["model"] |= {"context": 6, "vocabulary_size": 3}
    with pytest.raises(studies.SettingsError, match="`model.vocabulary_size` is 3, .* needs 4"):
        studies.make_experiment(settings)
    settings["stream"]["context"] = 12
    with pytest.raises(studies.SettingsError, match="`stream.context` is 12, which needs 13"):
        studies.make_experiment(settings)
