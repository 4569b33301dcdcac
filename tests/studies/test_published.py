"""The published benchmarks: their presets, and that the experiments can be made."""

import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml

from spectral import studies, tasks, train_continual
from spectral.algorithms import Algorithm
from spectral.models import AbstractInitialiser
from spectral.studies import (
    continual_imagenet,
    incremental_cifar,
    permuted_mnist,
    slippery_ant,
)
from spectral.studies.command_line._main import main
from spectral.studies.experiment._parse import parse
from spectral.studies.experiment._settings import differences
from spectral.studies.published._load import read_experiment
from spectral.studies.runs.cluster import _this_process


ROOT = pathlib.Path(__file__).parents[2]
BENCHMARKS = {b.__name__: b for b in (permuted_mnist, continual_imagenet, incremental_cifar)}
PRESETS = ("paper", "dohare", "small")
SHAPES = {"mnist": (28, 28, 1), "cifar100": (32, 32, 3)}


@pytest.fixture
def synthetic(monkeypatch):
    """Small random data sets of the right shape replace all that are loaded. Lists the loads."""
    loaded = []

    def load_images(
        name: str, data_dir: str | None = None, *, cache_dir: str | None = None
    ) -> tasks.ImageSet:
        loaded.append((name, data_dir))
        rng = np.random.default_rng(0)
        classes = {"mnist": 10, "cifar100": 100}.get(name, 8)
        rows = 2000 if name == "mnist" else classes * (20 if name == "cifar100" else 60)
        labels = jnp.asarray(np.arange(rows) % classes)
        pixels = rng.integers(0, 256, (rows, *SHAPES.get(name, (32, 32, 3)))).astype(np.uint8)
        parts = (jnp.asarray(pixels), labels)
        test = tuple(p[: 2 * classes] for p in parts)
        return tasks.ImageSet(name, *parts, *test, num_classes=classes, max_value=255)

    monkeypatch.setattr(tasks, "load_images", load_images)
    return loaded


@pytest.mark.parametrize("name", BENCHMARKS)
@pytest.mark.parametrize("preset", PRESETS)
def test_preset_makes_an_experiment(name, preset, synthetic, untraced):
    check_experiment(name, preset, synthetic)


@pytest.mark.slow
@pytest.mark.parametrize("name", BENCHMARKS)
@pytest.mark.parametrize("preset", PRESETS)
def test_programs_of_presets_can_be_traced(name, preset, synthetic):
    check_experiment(name, preset, synthetic)


def check_experiment(name, preset, synthetic):
    benchmark = BENCHMARKS[name](preset)
    assert (benchmark.name, benchmark.preset, benchmark.scale) == (name, preset, 1.0)
    assert benchmark.smaller == ()
    algorithms = benchmark.settings["algorithms"]
    assert set(algorithms) >= ({"l2", "snp_l2"} if preset == "dohare" else set(PAPER))
    for algorithm, section in algorithms.items():
        parse(section, Algorithm, algorithm, {}).make()
    # One algorithm and few residual blocks, because tracing the whole takes seconds.
    small = _few_steps(BENCHMARKS[name](preset, scale=0.1).settings)
    small["model"] |= {"blocks": [1, 1]} if name == "incremental_cifar" else {}
    experiment = studies.make_experiment(small, data_dir="somewhere")
    assert synthetic[0][1] == "somewhere"
    for part in ("stream", "model"):
        assert experiment.settings[part]["type"] == benchmark.settings[part]["type"]


PAPER = ("bp", "l2", "er", "l2_er", "cbp")


def _few_steps(settings):
    """One step of one task with L2, without probes."""
    stream = settings["stream"]
    if "loader" in stream:
        loader = stream["loader"] | {"epochs": 1, "max_minibatches": 1, "minibatch_size": 100}
        images = {"type": "fewer_images", "images": stream["data"]["images"], "test_per_class": 1}
        stream = stream | {"loader": loader, "num_tasks": 1, "data": images}
    else:
        stream = stream | {"num_tasks": 1, "steps_per_task": 1}
    algorithms = {"l2": settings["algorithms"]["l2"]}
    return settings | {"stream": stream, "algorithms": algorithms, "probes": {}, "seeds": 1}


@pytest.mark.parametrize("make", [*BENCHMARKS.values(), slippery_ant])
@pytest.mark.parametrize("preset", PRESETS)
def test_presets_do_not_change(make, preset):
    expected = yaml.safe_load((pathlib.Path(__file__).parent / "presets.yaml").read_text())
    expected = expected[make.__name__][preset]
    settings = make(preset).settings
    assert {name: settings[name] for name in expected} == expected
    assert settings.keys() - expected.keys() <= {"algorithms"}


def test_published_numbers():
    paper = continual_imagenet("paper").settings
    assert paper["stream"]["num_tasks"] == 2000
    assert paper["stream"]["loader"] == {"type": "Loader", "epochs": 250, "minibatch_size": 100}
    rate = {"type": "sgd", "lr": 1e-3, "momentum": 0.9}
    numbers = {"er_lr": 1e-4, "er_period": 12, "weight_decay": 1e-3}
    assert paper["algorithms"]["l2_er"] == {"type": "l2_er", "lr": rate, **numbers}
    dohare = continual_imagenet("dohare").settings
    assert dohare["model"]["padding"] == "valid"
    cbp = dohare["algorithms"]["cbp"]
    assert cbp["transforms"] == [{"type": "Reset", "part": "head", "to": "zero"}]
    assert cbp["algorithm"]["replacement_rate"] == 3e-4
    cifar = incremental_cifar("dohare").settings
    (falling,) = cifar["algorithms"]["cbp_l2"]["transforms"]
    assert falling == {"type": "StepDecay", "factor": 0.2, "chunks": [60, 120, 160]}
    assert cifar["algorithms"]["cbp_l2"]["algorithm"]["utility"] == "contribution"
    assert list(cifar["algorithms"])[-2:] == ["retrained_network", "head_resetting"]
    for name, part in (("retrained_network", "network"), ("head_resetting", "head")):
        reset, lr = cifar["algorithms"][name]["transforms"]
        assert (reset, lr) == ({"type": "Reset", "part": part}, falling)
        assert cifar["algorithms"][name]["algorithm"] == cifar["algorithms"]["l2"]["algorithm"]
    paper = incremental_cifar("paper").settings
    assert paper["model"]["width"] == 64
    assert paper["algorithms"]["reset"] == paper["algorithms"]["bp"] | {"type": "reset"}
    assert slippery_ant("paper").settings["algorithms"]["cbp_l2"]["weight_decay"] == 1e-3
    assert permuted_mnist("dohare").settings["model"]["width"] == 2000


def test_the_heads_of_dohare_have_a_gain_of_one():
    """The standard deviation of the weights of the last layer, times the root of their fan-in."""
    cifar = incremental_cifar("dohare").settings["model"]
    mnist = permuted_mnist("dohare").settings["model"]
    assert cifar["dense_sizes"] == []  # the only dense layer is that of the outputs
    for section, bound in ((cifar["dense_initialiser"], 6.0), (mnist["head_initialiser"], 3**0.5)):
        draw = parse(section, AbstractInitialiser, "model", {}).make()
        weights = np.asarray(draw(jax.random.key(0), (100, 512))[0]) * 512**0.5
        assert weights.std() == pytest.approx(1.0, rel=0.02)
        assert bound / 2 < np.abs(weights).max() <= bound  # neither distribution is truncated


@pytest.mark.parametrize("name", BENCHMARKS)
@pytest.mark.parametrize("preset", PRESETS)
def test_scale_shrinks_sizes_and_lists_them(name, preset):
    full, small = BENCHMARKS[name](preset), BENCHMARKS[name](preset, scale=0.1)
    assert list(small.smaller) == list(differences(full.settings, small.settings))
    text = "\n".join(small.smaller)
    assert "`stream.num_tasks` was" in text
    assert re.search("`model.(width|channels)` was", text)
    assert re.search("`stream.(data.train_per_class|steps_per_task)` was", text)
    for path in re.findall(r"`([\w.]+)` was", text):
        if "seeds" in path or "epochs" in path or path.endswith(("lr", "minibatch_size")):
            raise AssertionError(f"{path} is not a size")
    assert small.facts["smaller_than_the_preset"] == list(small.smaller)
    ratio = small.settings["stream"]["num_tasks"] / full.settings["stream"]["num_tasks"]
    assert ratio == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize("scale", [0.01, 0.1, 0.2, 1.0])
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("make", [*BENCHMARKS.values(), slippery_ant])
def test_probes_have_examples_at_every_scale(make, preset, scale):
    """Not more than the data set has, and whole batches."""
    settings = make(preset, scale=scale).settings
    images = settings["stream"].get("data", {})
    classes = {continual_imagenet: 2, incremental_cifar: 5}.get(make, 1)
    rows = classes * images.get("train_per_class", 2000)
    for probe in settings["probes"].values():
        if "num_examples" in probe:
            assert 0 < probe["num_examples"] <= rows
            assert probe["num_examples"] % probe.get("batch_size", 1) == 0


@pytest.mark.slow
def test_probes_at_a_small_scale(synthetic):
    settings = continual_imagenet("small", scale=0.2).settings
    probes = {"hessian": settings["probes"]["hessian"]}
    experiment = studies.make_experiment(_few_steps(settings) | {"probes": probes})
    assert experiment.settings["probes"]["hessian"]["num_examples"] == 50


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "preset"), [(n, p) for n in BENCHMARKS for p in ("paper", "dohare")]
)
def test_one_step_at_full_size(name, preset, synthetic):
    settings = _few_steps(BENCHMARKS[name](preset).settings)
    experiment = studies.make_experiment(settings)
    (algo,) = experiment.algorithms.values()
    model, state, key = experiment.member(0)
    _, history = train_continual(model, experiment.stream, algo, model_state=state, key=key)
    assert np.isfinite(history["loss"]).all()


def test_documentation_lists_the_settings_of_every_preset():
    page = (ROOT / "docs" / "benchmarks.md").read_text()
    for make in BENCHMARKS.values():
        for preset in PRESETS:
            stream = make(preset).settings["stream"]
            assert str(stream["num_tasks"]) in page
            if "loader" in stream:
                epochs, batch = stream["loader"]["epochs"], stream["loader"]["minibatch_size"]
                assert re.search(rf"\| {epochs}(, |, with \d+ minibatches of ){batch} ", page)


EXAMPLES = ["continual_imagenet.yaml", "incremental_cifar.yaml"]


@pytest.mark.parametrize("file", EXAMPLES)
def test_examples_with_preset_and_changes(file):
    options = ["stream.num_tasks=2", "preset=small", "probes={}"]
    settings, benchmark = read_experiment(ROOT / "examples" / file, options)
    assert settings["stream"]["num_tasks"] == 2
    assert settings["probes"] == {}
    assert benchmark is not None
    assert benchmark.preset == "small"
    assert tuple(settings["algorithms"]) == PAPER


MISTAKES = [
    (["preset=smal"], "`preset`: Preset 'smal' does not exist. Allowed: dohare, paper, small"),
    (["scale=0"], "`scale` is 0, but must be a number above 0 and at most 1"),
    (["scale=2"], "`scale` is 2"),
    (["scale=true"], "`scale` is True"),
    (["benchmark=imagenet"], "`benchmark`: Benchmark 'imagenet' does not exist"),
]


@pytest.mark.parametrize(("options", "message"), MISTAKES)
def test_mistakes(options, message, capsys):
    path = ROOT / "examples" / EXAMPLES[0]
    given = [x for option in options for x in ("--set", option)]
    assert main(["run", str(path), *given]) == 2
    assert message in capsys.readouterr().err


def test_preset_needs_a_benchmark(tmp_path, capsys):
    path = tmp_path / "x.yaml"
    path.write_text("preset: small")
    assert main(["run", str(path)]) == 2
    assert "`preset` is 'small', but the settings have no `benchmark`" in capsys.readouterr().err


def test_run_records_its_benchmark(synthetic, untraced, tmp_path, monkeypatch):
    monkeypatch.setattr(_this_process, "train_group", lambda *arguments: None)
    few = ["scale=0.5", "stream.num_tasks=2", "stream.steps_per_task=20", "model.width=3"]
    path = tmp_path / "x.yaml"
    path.write_text(
        "benchmark: permuted_mnist\npreset: small\nprobes: {}\nalgorithms: {bp: {type: bp}}"
    )
    experiment = studies.load_experiment(path, assignments=few)
    recorded = studies.run_experiment(experiment, tmp_path / "out").recorded
    assert recorded["benchmark"]["preset"] == "small"
    assert recorded["benchmark"]["scale"] == 0.5
    assert "`model.width` was 100 and is now 50" in recorded["benchmark"]["smaller_than_the_preset"]
