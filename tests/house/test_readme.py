"""The examples of the README, at small size, and those of the docstrings."""

import ast
import importlib
import inspect
import pathlib
import pkgutil
import re

import equinox as eqx
import jax
import optax
import pytest

import spectral
from spectral import algorithms, curvature, models, probes, studies, tasks


ROOT = pathlib.Path(__file__).parents[2]
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)


def test_readme():
    blocks = BLOCK.findall((ROOT / "README.md").read_text())
    assert len(blocks) == 4
    names: dict = {}
    for block in blocks:
        small = block.replace("num_tasks=200", "num_tasks=2").replace("width=100", "width=8")
        small = small.replace("HessianSpectrum(every=20)", "HessianSpectrum(every=20, examples=20)")
        small = small.replace("[:100]", "[:10]").replace("chunk=50", "chunk=5")
        exec(compile(small, "README.md", "exec"), names)
    assert names["history"]["test_accuracy"].shape == (2,)
    assert names["rank"].lower <= names["rank"].value <= names["rank"].upper


def test_page_on_curvature():
    """The blocks of the page run one after the other, as a reader would try them."""
    names: dict = {}
    for block in BLOCK.findall((ROOT / "docs" / "curvature.md").read_text()):
        exec(compile(block, "curvature.md", "exec"), names)


def test_page_on_reinforcement_learning(tmp_path, monkeypatch):
    """At small size, on a body that compiles faster."""
    monkeypatch.chdir(tmp_path)
    names: dict = {n: getattr(spectral, n) for n in ("algorithms", "models", "tasks")}
    names |= {"jax": jax, "pathlib": pathlib, "train_continual": spectral.train_continual}
    blocks = BLOCK.findall((ROOT / "docs" / "reinforcement.md").read_text())
    large = 'SlipperyAnt(backend="mjx", steps_per_task=100_000)'
    assert large in blocks[0]
    small = 'ChangingGravity("inverted_pendulum", steps_per_task=2048)'
    for block in blocks:
        block = block.replace(large, small).replace("stream.out_size,", "stream.out_size, width=4,")
        block = block.replace("num_tasks=4", "num_tasks=2")
        exec(compile(block, "reinforcement.md", "exec"), names)
    assert names["history"]["episode_return"].shape == (2, 1)
    assert (tmp_path / "ant.html").stat().st_size > 1000


def examples() -> list:
    found = []
    for info in pkgutil.walk_packages(spectral.__path__, "spectral."):
        module = importlib.import_module(info.name)
        if info.name.startswith("spectral.studies"):
            continue  # they need files; the tests of studies go through them
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            if not isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module):
                continue
            for block in BLOCK.findall(ast.get_docstring(node) or ""):
                name = getattr(node, "name", info.name)
                found.append(pytest.param(block, vars(module), id=f"{info.name}.{name}"))
    return found


@pytest.mark.parametrize(("block", "module"), examples())
def test_docstring(block, module, tmp_path, monkeypatch):
    """Every example of a docstring runs, among names that a reader would have at hand."""
    monkeypatch.chdir(tmp_path)
    stream = tasks.PermutedImages(tasks.load_images("digits"), num_tasks=2, steps_per_task=100)
    model = models.MLP(64, 10, width=4, depth=1, key=jax.random.key(0))
    algo = algorithms.bp(0.01)
    names = vars(algorithms) | vars(models) | vars(curvature) | module
    names |= {n: getattr(spectral, n) for n in dir(spectral)}
    names |= {
        "algorithms": algorithms,
        "models": models,
        "probes": probes,
        "studies": studies,
        "tasks": tasks,
        "jax": jax,
        "jnp": jax.numpy,
        "optax": optax,
        "stream": stream,
        "model": model,
        "algo": algo,
        "optimiser": spectral.Optimiser(algo.optimiser.make, learning_rate=0.01).init(model),
    }
    if "history" in block and "train_continual" not in block:
        names["history"] = spectral.train_continual(model, stream, algo)[1]
    if "grads" in block:
        names["grads"] = jax.tree.map(jax.numpy.zeros_like, eqx.filter(model, eqx.is_inexact_array))
    exec(compile(block, "docstring", "exec"), names)
