"""Parts of one's own, named in YAML as `package.module:Name`."""

import importlib
import json
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_experiment import PLAIN

from spectral import studies
from spectral._ensemble import same_program
from spectral.curvature import Lanczos
from spectral.probes import HessianSpectrum
from spectral.studies import (
    load_experiment,
    load_results,
    make_experiment,
    run_experiment,
    SettingsError,
)
from spectral.studies.experiment._own_parts import own_parts


PARTS = '''
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from spectral import Learner, Optimiser, algorithms, curvature, probes, tasks


class Network(eqx.Module):
    """Not derived from a class of ours."""

    layers: list
    scale: float = eqx.field(static=True)

    def __init__(self, in_size: int, out_size: int, width: int = 3, *, scale=1.0, key):
        a, b = jax.random.split(key)
        self.layers = [eqx.nn.Linear(in_size, width, key=a), eqx.nn.Linear(width, out_size, key=b)]
        self.scale = scale

    def __call__(self, x):
        hidden = jax.nn.relu(self.layers[0](x))
        return self.scale * self.layers[1](hidden), {"hidden": hidden}


def gentle(lr: float = 0.01, *, names=("a",)) -> algorithms.Algorithm:
    return algorithms.bp(lr)


def untold(factor):
    return algorithms.bp(factor)


class Norm(probes.AbstractProbe):
    when: tuple[Any, ...] = eqx.field(static=True, default=("end",))
    every: int = eqx.field(static=True, default=1)
    order: int = eqx.field(static=True, default=2)

    def __call__(self, learner, stream, stream_state, *, key):
        leaves = jax.tree.leaves(eqx.filter(learner.model, eqx.is_inexact_array))
        return {"norm": sum(jnp.sum(jnp.abs(x) ** self.order) for x in leaves)}


def digits_of(num_tasks: int) -> tasks.PermutedImages:
    images = tasks.load_images("digits")
    return tasks.PermutedImages(images, num_tasks=num_tasks, steps_per_task=20)


def estimator(order: int) -> curvature.Lanczos:
    return curvature.Lanczos(order=order)


def half_hessian(risk: curvature.Risk, params) -> curvature.AbstractOperator:
    return 0.5 * curvature.Hessian(risk, params)


number = 3


def broken():
    raise RuntimeError("no luck")
'''

OWN = """
stream: {type: "parts:digits_of", num_tasks: 2}
model: {type: "parts:Network", width: 4}
algorithms:
  gentle: {type: "parts:gentle", lr: 1e-2}
  ours: {type: bp, lr: 1e-2}
probes:
  norm: {type: "parts:Norm", order: 1}
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A function that writes an experiment with parts of one's own, in a folder of its own."""
    monkeypatch.setattr(sys, "path", list(sys.path))

    def write(text=OWN, old="", new=""):
        assert old in text
        (tmp_path / "parts.py").write_text(PARTS)
        path = tmp_path / "own.yaml"
        path.write_text(text.replace(old, new) if old else text)
        importlib.invalidate_caches()
        return path

    yield write
    sys.modules.pop("parts", None)


def test_a_run_with_own_parts(own):
    """Stream, network, algorithm and probe; the run is recorded, read, drawn and resumed."""
    path = own()
    folder = path.parent / "run"
    results = run_experiment(load_experiment(path), folder)
    first, second = (results.of(name)[0].history for name in ("gentle", "ours"))
    np.testing.assert_array_equal(first["online_accuracy"], second["online_accuracy"])
    assert np.all(first["norm.end.norm"] > 0)
    about = results.recorded["own_parts"]
    assert about["folders"] == [str(path.parent)]
    assert about["modules"]["parts"]["distribution"] is None
    assert len(about["modules"]["parts"]["source"]) == 64
    given = results.settings["algorithms"]["gentle"]
    assert given == {"type": "parts:gentle", "lr": 1e-2, "names": ["a"]}

    # What was recorded can be read where the module is gone ...
    (path.parent / "parts.py").rename(path.parent / "gone.py")
    del sys.modules["parts"]
    again = load_results(folder)
    json.dumps(studies.summarise(again), allow_nan=False)
    assert studies.load(folder).sizes["run"] == 2
    assert "parts" not in sys.modules
    # ... and cannot be run.
    importlib.invalidate_caches()
    with pytest.raises(SettingsError, match=r"`stream.type` is 'parts:digits_of', but the module"):
        load_experiment(path)

    # The file of the run finds the module where the first file lay; a resumed run warns of changes.
    (path.parent / "gone.py").rename(path.parent / "parts.py")
    importlib.invalidate_caches()
    load_experiment(folder / "config.yaml")
    with (path.parent / "parts.py").open("a") as file:
        file.write("\nmore = 1\n")
    with pytest.warns(UserWarning, match="source of parts has changed"):
        run_experiment(load_experiment(path), folder, mode="resume")


@pytest.mark.usefixtures("untraced")
def test_arguments_of_all_kinds(own):
    text = OWN + (
        '  hessian: {type: HessianSpectrum, matrix: "parts:half_hessian", num_examples: 9, '
        'estimator: {type: "parts:estimator", order: 3}}\n'
    )
    experiment = load_experiment(own(text))
    probe = experiment.probes["hessian"]
    assert isinstance(probe, HessianSpectrum)
    assert isinstance(probe.estimator, Lanczos)
    assert probe.estimator.order == 3
    assert probe.matrix is sys.modules["parts"].half_hessian
    assert experiment.settings["probes"]["hessian"]["matrix"] == "parts:half_hessian"
    # Every default that YAML can hold is recorded, and arguments by position are kept.
    assert experiment.settings["model"]["width"] == 4
    assert experiment.settings["model"]["scale"] == 1.0
    by_place = own(OWN, 'parts:gentle", lr: 1e-2', 'parts:gentle", args: [0.5]')
    experiment = load_experiment(by_place)
    given = {"type": "parts:gentle", "args": [0.5], "names": ["a"]}
    assert experiment.settings["algorithms"]["gentle"] == given
    assert float(experiment.algorithms["gentle"].optimiser.hyper["learning_rate"]) == 0.5


@pytest.mark.usefixtures("untraced")
@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("parts:Network", "nowhere:Network", r"`model.type` is 'nowhere:Network', but the module"),
        ("parts:Network", "parts:Netwrk", r"`model.type`: Name in 'parts' 'Netwrk'.*'Network'"),
        ("parts:Network", "parts:number", r"type int, which cannot be called, but must make a net"),
        ("parts:Network", "parts:gentle", r"it makes an object of the type Algorithm, but must"),
        ("parts:Norm", "parts:Network", r"`probes.norm.type` is 'parts:Network': it makes"),
        ("parts:gentle", "parts:Norm", r"`algorithms.gentle.type`.*must make an Algorithm"),
        ("parts:digits_of", "parts:broken", r"`stream.num_tasks`: Argument of parts:broken"),
        ('parts:gentle", lr: 1e-2', 'parts:broken"', r"In `algorithms.gentle`: RuntimeError: no l"),
        ('parts:gentle", lr: 1e-2', 'parts:untold"', r"`algorithms.gentle.factor` is missing"),
        ('parts:gentle", lr: 1e-2', 'parts:gentle", lr: x', r"`algorithms.gentle.lr` is 'x', but"),
        ('parts:gentle", lr', 'parts:gentle", rl', r"Argument of parts:gentle 'rl'"),
        ("lr: 1e-2}\n  ours", "args: [1, 2, 3]}\n  ours", r"`algorithms.gentle.args` has 3 elem"),
        ("lr: 1e-2}\n  ours", "args: [1], lr: 1}\n  ours", r"by name and by position"),
        ("parts:gentle", "json:loads", r"`algorithms.gentle.s` is missing.*: give any value"),
    ],
)
def test_messages(own, old, new, message):
    with pytest.raises(SettingsError, match=message):
        load_experiment(own(OWN, old, new))


OPTAX = """{type: bp, lr: {type: "optax:adamw", weight_decay: 0.1, learning_rate: %s}}"""
COSINE = """{type: "optax:cosine_decay_schedule", init_value: 0.1, decay_steps: 100}"""
WARM = "{type: WarmupCosine, peak: 0.1, warmup_steps: 2, decay_steps: 9, restart: task}"
CLIPPED = """{type: bp, lr: {type: "optax:chain", args: [
    {type: "optax:clip_by_global_norm", max_norm: 1.0},
    {type: "optax:sgd", learning_rate: 0.1}]}}"""


@pytest.mark.usefixtures("untraced")
def test_optax_in_settings(own):
    """Optimisers, schedules and chains. Numbers of optimisers are data: cells share a program."""
    names = {"one": OPTAX % "0.1", "other": OPTAX % "1", "cosine": OPTAX % COSINE, "clip": CLIPPED}
    names |= {"warm": OPTAX % WARM, "cold": OPTAX % WARM.replace("peak: 0.1", "peak: 0.2")}
    section = "\n  ".join(f"{name}: {text}" for name, text in names.items())
    text = OWN.replace('gentle: {type: "parts:gentle", lr: 1e-2}', section)
    experiment = load_experiment(own(text))
    made = experiment.algorithms
    assert same_program(made["one"], made["other"])
    assert float(made["other"].optimiser.hyper["learning_rate"]) == 1.0
    # Schedules of the package follow the clock, and their numbers are data too.
    assert same_program(made["warm"], made["cold"])
    warmed = made["cold"].optimiser.scheduled(jnp.asarray(50), jnp.asarray(1))
    assert float(warmed.hyper["learning_rate"]) == pytest.approx(0.1)
    chained = CLIPPED.replace("learning_rate: 0.1", f"learning_rate: {WARM}")
    with pytest.raises(SettingsError, match="args.1` has the schedule WarmupCosine, .* of a chain"):
        load_experiment(own(text.replace(CLIPPED, chained)))
    weights = {"w": jnp.ones(3)}
    updates = {}
    for name in names:
        optimiser = made[name].optimiser.init(weights)
        updates[name] = optimiser.apply({"w": jnp.full(3, 10.0)}, weights)[0]["w"] - 1
    np.testing.assert_allclose(updates["cosine"], updates["one"], rtol=1e-6)
    np.testing.assert_allclose(updates["clip"], -0.1 / 3**0.5, rtol=1e-6)
    given = experiment.settings["algorithms"]["clip"]["lr"]
    assert given["args"][0]["type"] == "optax:clip_by_global_norm"
    # What is recorded makes the same program again.
    again = make_experiment(experiment.settings)
    for name, algo in made.items():
        assert jax.tree.structure(again.algorithms[name].optimiser.hyper) == jax.tree.structure(
            algo.optimiser.hyper
        )
    recorded = own_parts(experiment.settings, ())
    assert recorded is not None
    assert recorded["modules"]["optax"]["distribution"].startswith("optax ")


@pytest.mark.usefixtures("untraced")
def test_a_module_that_fails_or_hides_another(own, tmp_path):
    path = own()
    (tmp_path / "parts.py").write_text("import not_there_at_all")
    with pytest.raises(SettingsError, match="module 'not_there_at_all' is not on the import path"):
        load_experiment(path)
    (tmp_path / "parts.py").write_text("def f(:")
    with pytest.raises(SettingsError, match="import of 'parts' raised SyntaxError"):
        load_experiment(path)
    # A module of this name is installed, and comes first on the import path.
    (tmp_path / "textwrap.py").write_text(PARTS)
    path = own(OWN, "parts:Network", "textwrap:Network")
    assert textwrap.__file__ != str(tmp_path / "textwrap.py")
    with pytest.raises(SettingsError, match="has the same name: rename one of them"):
        load_experiment(path)


def test_an_error_in_a_part_of_ones_own_names_it(own, tmp_path):
    """Its kind, and the line."""
    path = own()
    (tmp_path / "parts.py").write_text(PARTS.replace("self.order) for x", "self.nothing) for x"))
    line = PARTS[: PARTS.index("self.order) for x")].count("\n") + 1
    message = rf"In `probes.norm`: AttributeError: 'Norm' object.*parts.py, line {line}\)"
    with pytest.raises(SettingsError, match=message):
        load_experiment(path)


@pytest.mark.usefixtures("untraced")
def test_few_names_of_a_large_module_are_listed(own):
    with pytest.raises(SettingsError, match="'adm' does not exist") as caught:
        load_experiment(own(OWN, "parts:gentle", "optax:adm"))
    assert "did you mean 'adam'" in str(caught.value)
    assert len(str(caught.value)) < 500


def test_plain_settings_name_no_module():
    assert own_parts({"a": PLAIN, "b": ["x: y"]}, ()) is None


def test_a_folder_that_holds_no_module_is_not_recorded(tmp_path, monkeypatch):
    """A run of installed packages names no place of this machine."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    about = own_parts({"lr": {"type": "optax:adamw"}}, (tmp_path,))
    assert about is not None
    assert about["folders"] == []
    assert list(about["modules"]) == ["optax"]
