"""Every example runs, at small size and without a warning."""

import json
import pathlib
import runpy
import sys

import jax
import matplotlib
import pytest


FOLDER = pathlib.Path(__file__).parents[2] / "examples"
EXAMPLES = sorted(FOLDER.glob("*.py"))
FOREIGN = sorted(FOLDER.glob("foreign_transformers/*.py"))
NOTEBOOKS = sorted(FOLDER.rglob("*.ipynb"))
# What is replaced so that a notebook runs in seconds.
SMALLER = {
    "first_steps": {
        "num_tasks=100, steps_per_task=1500": "num_tasks=2, steps_per_task=100",
        "width=100, depth=3": "width=8, depth=1",
        "num_examples=500": "num_examples=20",
    },
    "own_parts": {
        "num_tasks=20": "num_tasks=2, epochs=1",
        "width=16": "width=4",
        "every=5, num_examples=50": "num_examples=20",
        "seeds=2": "seeds=1",
    },
}


# These compile more than a quick test may.
SLOW = {"linearised_network"}


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=pytest.mark.slow if path.stem in SLOW else (), id=path.stem)
        for path in EXAMPLES
    ],
)
def test_example(path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.setattr(sys, "argv", [str(path), "--small"])
    # Examples are written for a reader, who need not forbid adding a vector to rows.
    with jax.numpy_rank_promotion("allow"):
        runpy.run_path(str(path), run_name="__main__")
    assert capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("path", FOREIGN, ids=lambda path: path.stem)
def test_foreign_transformers(path, capsys):
    if path.stem != "nano_gpt":
        reason = "Flax is not installed: pip install 'spectral-plasticity[flax]'"
        pytest.importorskip("flax", reason=reason)
    with jax.numpy_rank_promotion("allow"):
        runpy.run_path(str(path), run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) >= 4
    assert all("eigenvalues" in line for line in lines)
    assert len(path.read_text(encoding="utf-8").splitlines()) < 40


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook(path, monkeypatch):
    monkeypatch.syspath_prepend(path.parent)
    book = json.loads(path.read_text(encoding="utf-8"))
    assert (book["nbformat"], book["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in book["cells"]}) == len(book["cells"])
    cells = [cell for cell in book["cells"] if cell["cell_type"] == "code"]
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in cells)
    sources = ["".join(cell["source"]) for cell in cells]
    for large, small in SMALLER[path.stem].items():
        assert any(large in source for source in sources), large
        sources = [source.replace(large, small) for source in sources]
    matplotlib.use("Agg")
    names: dict = {}
    with jax.numpy_rank_promotion("allow"):
        for source in sources:
            exec(compile(source, str(path), "exec"), names)
    if path.stem == "own_parts":
        assert {"clipping", "weights"} <= {figure.stem for figure in names["figures"]}
        return
    for axes in names["panels"]:
        assert [len(line.get_xdata()) > 0 for line in axes.lines] == [True, True]
    names["plt"].close(names["figure"])
