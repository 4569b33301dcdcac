"""Transformers in experiments, with the sizes of the stream."""

from typing import Any

import pytest

from spectral import models, studies
from spectral.studies.experiment._make import _check_sizes
from spectral.studies.experiment._parse import parse
from spectral.studies.experiment._settings import SettingsError


def test_a_network_may_take_longer_sequences_than_the_stream_has():
    sizes = {"vocabulary_size": 10, "context": 8}
    parsed = lambda **given: parse({"type": "GPT"} | given, models.AbstractNetwork, "model", sizes)
    call = parsed(
        norm="rms_norm", activation={"type": "swiglu"}, positions={"type": "RotaryPositions"}
    )
    assert (call.arguments["vocabulary_size"], call.arguments["context"]) == (10, 8)
    for larger in ({"context": 9}, {"vocabulary_size": 11}):
        _check_sizes(parsed(**larger), sizes)
    for name, small in (("context", 7), ("vocabulary_size", 9)):
        with pytest.raises(SettingsError, match=f"`model.{name}` is {small}, but the stream needs"):
            _check_sizes(parsed(**{name: small}), sizes)


SETTINGS: Any = {
    "stream": {
        "type": "SplitClasses",
        "data": {"type": "load_images", "name": "digits"},
        "classes_per_task": 2,
        "num_tasks": 2,
        "loader": {"type": "Loader", "epochs": 1, "minibatch_size": 20},
    },
    "model": {"type": "ViT", "patch_size": 4, "width": 8, "depth": 1, "num_heads": 2},
    "algorithms": {"bp": {"type": "bp", "lr": 0.01}},
    "probes": {"rank": {"type": "FeatureRank", "num_examples": 10}},
}


@pytest.mark.slow
def test_an_experiment_with_a_vision_transformer():
    experiment = studies.make_experiment(SETTINGS)
    assert experiment.settings["model"]["in_shape"] == [1, 8, 8]
    assert isinstance(experiment.member(0)[0], models.ViT)
    with pytest.raises(SettingsError, match="patch_size` is 3, but must divide"):
        studies.make_experiment(SETTINGS | {"model": SETTINGS["model"] | {"patch_size": 3}})
