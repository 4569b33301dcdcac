"""Every example runs, at small size and without a warning."""

import pathlib
import runpy
import sys

import jax
import pytest


EXAMPLES = sorted((pathlib.Path(__file__).parents[2] / "examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example(path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.setattr(sys, "argv", [str(path), "--small"])
    # Examples are written for a reader, who need not forbid adding a vector to rows.
    with jax.numpy_rank_promotion("allow"):
        runpy.run_path(str(path), run_name="__main__")
    assert capsys.readouterr().out
