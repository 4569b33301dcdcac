"""Transformers in experiments, with the sizes of the stream."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import yaml

from spectral import algorithms, models, studies
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


ALGORITHM = """
type: l2_er
er_layers: ["block_*_mlp", block_3]
lr:
  type: adamw
  weight_decay: 0.1
  lr: {type: WarmupCosine, peak: 0.001, warmup_steps: 10, decay_steps: 100, restart: task}
"""


def test_adamw_with_warm_up_and_cosine_in_each_task():
    settings = yaml.safe_load(ALGORITHM)
    algo = parse(settings, algorithms.Algorithm, "algorithms.a", {}).make()
    assert algo.transforms[0].transform.layers == ("block_*_mlp", "block_3")
    assert algo.optimiser.make is algorithms.entrywise_adamw
    np.testing.assert_allclose(algo.optimiser.hyper["weight_decay"], 0.1)
    rates = [
        float(algo.optimiser.scheduled(jnp.asarray(200 + i), jnp.asarray(i)).hyper["learning_rate"])
        for i in (0, 5, 10, 55, 100)
    ]
    np.testing.assert_allclose(rates, [0, 5e-4, 1e-3, 5e-4, 0], atol=1e-9)


@pytest.mark.parametrize(
    ("part", "found"),
    [
        ("head", "head"),
        ("blocks.0.mlp", ("blocks.0.mlp",)),
        (["embedding", "blocks.*.mlp"], ("embedding", "blocks.*.mlp")),
    ],
)
def test_parts_to_reset(part, found):
    call = parse({"type": "reset", "part": part}, algorithms.Algorithm, "algorithms.a", {})
    assert call.make().transforms[0].part == found


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
