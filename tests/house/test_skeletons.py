"""The skeletons of new parts run, and each part that they define can be used."""

import pathlib
import runpy

import jax
import pytest


SKELETONS = sorted((pathlib.Path(__file__).parents[2] / "docs" / "skeletons").glob("*.py"))
# The last line that each prints, as its comment says.
PRINTS = {
    "new_environment": "[0.1 0.5 0.1]",
    "new_estimator": "1.0",
    "new_figure": "True",
    "new_operator": "25.0",
    "new_penalty": "1.5",
    "new_probe": "(2,)",
    "new_question": "0.25",
    "new_stream": "(2,)",
    "new_theorem": "holds on 100 random matrices",
    "new_transform": "0.5",
}


@pytest.mark.parametrize("path", SKELETONS, ids=lambda path: path.stem)
def test_a_skeleton_runs(path, capsys):
    # A skeleton is written for a reader, whose JAX allows adding a vector to rows.
    with jax.numpy_rank_promotion("allow"):
        runpy.run_path(str(path), run_name="__main__")
    assert capsys.readouterr().out.splitlines()[-1] == PRINTS[path.stem]


def test_every_skeleton_is_known():
    assert {path.stem for path in SKELETONS} == set(PRINTS)
