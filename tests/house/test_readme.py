"""The examples of the README, of the pages in docs, and of the docstrings."""

import ast
import functools
import importlib
import inspect
import pathlib
import pkgutil
import re
from typing import Any

import equinox as eqx
import jax
import numpy as np
import optax
import pytest
import yaml

import spectral
from spectral import algorithms, curvature, models, probes, recording, studies, tasks


ROOT = pathlib.Path(__file__).parents[2]
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)

# Examples of docstrings that compile large programs. So do those that train.
LARGE = {
    "Brax",
    "Deflated",
    "ResNet18",
    "changing_body",
    "kronecker_rank_bound",
    "landscape",
    "lobpcg_eigenpairs",
    "persistence_radii",
    "residual_norm",
    "two_layer_residual",
}


def run_page(page: str, replacements: dict[str, str], names: dict) -> list[str]:
    """Runs the blocks of a page in order, as a reader would try them, at small size.

    Every replacement must apply somewhere, so that no block runs at full size unnoticed.
    """
    blocks = BLOCK.findall((ROOT / page).read_text())
    for large, small in replacements.items():
        assert any(large in block for block in blocks), large
        blocks = [block.replace(large, small) for block in blocks]
    for block in blocks:
        exec(compile(block, page, "exec"), names)
    return blocks


def test_readme():
    names: dict = {}
    sizes = {
        "num_tasks=200": "num_tasks=2",
        "steps_per_task=1500": "steps_per_task=200",
        "width=100": "width=8",
        "HessianSpectrum(every=20)": "HessianSpectrum(every=20, num_examples=20)",
        "[:100].reshape(100, 64)": "[:10].reshape(10, 64)",
        "train_labels[:100]": "train_labels[:10]",
        "batch_size=50": "batch_size=5",
        "num_tasks=10,": "num_tasks=2,",
        "epochs=20": "epochs=1",
        "width=20, depth=2": "width=4, depth=1",
    }
    assert len(run_page("README.md", sizes, names)) == 5
    assert names["own"]["test_accuracy"].shape == (2,)
    assert names["history"]["test_accuracy"].shape == (2,)
    assert names["rank"].lower <= names["rank"].value <= names["rank"].upper


@pytest.mark.slow
def test_page_on_curvature():
    assert run_page("docs/curvature.md", {}, {})


@pytest.mark.slow
def test_page_on_scale(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    assert len(run_page("docs/scale.md", {}, names)) == 3
    assert names["spectrum"].nodes.shape == (3, 10)


@pytest.mark.slow
def test_page_on_diagnostics():
    names: dict = {}
    assert run_page("docs/diagnostics.md", {}, names)
    even = names["history"]["even.end.balanced_feature_effective_rank"]
    assert even.shape == (2, 2)


@pytest.mark.slow
def test_page_on_networks(capsys):
    names: dict = {}
    assert run_page("docs/networks.md", {}, names)
    assert names["history"]["test_accuracy"].shape == (2,)


def test_page_on_parts_of_ones_own():
    names: dict = {}
    assert run_page("docs/own_parts.md", {}, names)
    assert names["history"].quantities["weights.end.largest"].label == "largest weight"
    # The YAML of the page is that of the example.
    text = (ROOT / "docs/own_parts.md").read_text()
    given, _ = (yaml.safe_load(b) for b in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL))
    example = yaml.safe_load((ROOT / "examples/own_everything/experiment.yaml").read_text())
    for section in ("stream", "model", "algorithms"):
        assert given[section] == example[section]


@pytest.mark.slow
def test_page_on_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    sizes = {"num_tasks=10": "num_tasks=2", "epochs=20": "epochs=2"}
    assert run_page("docs/data.md", sizes, names)
    assert names["history"]["test_loss"].shape == (5,)
    (block,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/data.md").read_text(), re.DOTALL)
    stream: Any = studies.make_experiment(yaml.safe_load(block)).stream
    assert stream.source.data.has_validation


@pytest.mark.slow
def test_page_on_sequences(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    blocks = run_page("docs/sequences.md", {"steps_per_task=200": "steps_per_task=20"}, names)
    assert names["history"]["test_excess"].shape == (3,)
    assert names["stream"].context == 3
    # The YAML of the page, with the network of its first block in a file.
    (tmp_path / "bigram.py").write_text(blocks[0].partition("\n\n\nloader")[0])
    (tmp_path / "notes.txt").write_text("All work and no play. " * 20)
    (block,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/sequences.md").read_text(), re.DOTALL)
    experiment = studies.make_experiment(yaml.safe_load(block), folder=tmp_path)
    assert experiment.member(0)[0].table.shape == (13, 13)


@pytest.mark.slow
def test_page_on_experiments(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    sizes = {"steps_per_task=500": "steps_per_task=20", "width=20": "width=4"}
    assert run_page("docs/experiments.md", sizes, names)
    assert eqx.tree_equal(names["model"], names["learner"].model)
    assert names["history"]["test_accuracy"].shape == (3,)


@pytest.mark.slow
def test_page_on_reinforcement_learning(tmp_path, monkeypatch):
    """The blocks run with an environment that compiles faster."""
    monkeypatch.chdir(tmp_path)
    names: dict = {n: getattr(spectral, n) for n in ("algorithms", "models", "tasks")}
    names |= {"jax": jax, "pathlib": pathlib, "train_continual": spectral.train_continual}
    sizes = {
        'SlipperyAnt(backend="mjx", steps_per_task=100_000)': (
            'ChangingGravity(name="inverted_pendulum", steps_per_task=2048)'
        ),
        "stream.out_size,": "stream.out_size, width=4,",
        "num_tasks=4": "num_tasks=2",
    }
    run_page("docs/reinforcement.md", sizes, names)
    assert names["history"]["episode_return"].shape == (2, 1)
    assert (tmp_path / "ant.html").stat().st_size > 1000


@pytest.mark.slow
def test_page_on_value_based_reinforcement_learning():
    names: dict = {n: getattr(spectral, n) for n in ("algorithms", "models", "probes", "tasks")}
    names |= {"jax": jax, "jnp": jax.numpy, "train_continual": spectral.train_continual}
    run_page("docs/value_based.md", {}, names)
    # In the second task the way to the end is worth twice as much.
    np.testing.assert_allclose(names["history"]["evaluation_return"], [1.0, 2.0])


def examples() -> list:
    found = []
    for info in pkgutil.walk_packages(spectral.__path__, "spectral."):
        module = importlib.import_module(info.name)
        if info.name.startswith("spectral.studies"):
            continue  # The examples need files. The tests of studies cover them.
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            if not isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module):
                continue
            for block in BLOCK.findall(ast.get_docstring(node) or ""):
                name = getattr(node, "name", info.name)
                large = name in LARGE or re.search(r"\btrain_\w+\(", block)
                marks = pytest.mark.slow if large else ()
                id = f"{info.name}.{name}"
                found.append(pytest.param(block, vars(module), id=id, marks=marks))
    return found


@functools.cache
def setting() -> dict[str, Any]:
    """What the examples take as given."""
    model = models.MLP(64, 10, width=4, depth=1, key=jax.random.key(0))
    algo = algorithms.bp(0.01)
    return {
        "stream": tasks.PermutedImages(
            tasks.load_images("digits"), num_tasks=2, steps_per_task=100
        ),
        "model": model,
        "algo": algo,
        "optimiser": spectral.Optimiser(algo.optimiser.make, learning_rate=0.01).init(model),
        "grads": jax.tree.map(jax.numpy.zeros_like, eqx.filter(model, eqx.is_inexact_array)),
    }


@functools.cache
def history() -> spectral.History:
    parts = setting()
    return spectral.train_continual(parts["model"], parts["stream"], parts["algo"])[1]


EXAMPLES = examples()


def test_large_examples_exist():
    found = {param.id.rpartition(".")[2] for param in EXAMPLES if param.marks}
    assert found >= LARGE


@pytest.mark.parametrize(("block", "module"), EXAMPLES)
def test_docstring(block, module, tmp_path, monkeypatch):
    """An example of a docstring runs with the names that a reader would have imported."""
    monkeypatch.chdir(tmp_path)
    names = vars(algorithms) | vars(models) | vars(curvature) | module
    names |= {n: getattr(spectral, n) for n in dir(spectral)}
    names |= {
        "algorithms": algorithms,
        "models": models,
        "probes": probes,
        "recording": recording,
        "studies": studies,
        "tasks": tasks,
        "jax": jax,
        "jnp": jax.numpy,
        "optax": optax,
    }
    names |= setting()
    if "history" in block and "train_continual" not in block:
        names["history"] = history()
    exec(compile(block, "docstring", "exec"), names)
