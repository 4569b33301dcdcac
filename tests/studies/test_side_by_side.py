"""Several runs in one figure."""

import dataclasses

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from recorded_history import recorded

from spectral.studies import draw_side_by_side, Member, Results, SettingsError
from spectral.studies.figures._style import COLOURS


PROBES = {"d": {"type": "DeadUnits"}}


def results(folder, columns, algorithms=("bp", "l2")):
    """A run of two seeds in which all values of the second algorithm are larger by 0.5."""
    own = lambda i: recorded({c: x + i / 2 for c, x in columns.items()}, PROBES)
    members = [
        Member(name, seed, "finished", "", own(i))
        for i, name in enumerate(algorithms)
        for seed in range(2)
    ]
    settings = {"probes": PROBES, "algorithms": dict.fromkeys(algorithms, {}), "seeds": 2}
    return Results(folder, settings, tuple(members))


@pytest.fixture
def runs(tmp_path):
    first = {"test_accuracy": np.full(6, 0.2), "d.start.fraction": np.full((6, 2), 0.25)}
    images = results(tmp_path / "images", first)
    ant = results(tmp_path / "ant", {"episode_return": np.full((4, 3), 90.0)}, ("l2", "cbp"))
    return images, ant


@pytest.fixture
def saved(monkeypatch):
    """The figures by name, in place of their files."""
    figures = {}
    keep = lambda figure, path, **_: figures.update({path.stem: figure})
    monkeypatch.setattr(Figure, "savefig", keep)
    return figures


def lines(axes):
    """The lines of the means: those that have a label of their own."""
    return {
        name: (to_hex(line.get_color()), line.get_ydata()[0])
        for line in axes.lines
        if not (name := line.get_label()).startswith("_child")
    }


def test_one_panel_per_run(runs, saved, tmp_path):
    files = draw_side_by_side(runs, tmp_path / "out")
    assert {f.name for f in files} == {f"{n}.{k}" for n in saved for k in ("png", "pdf")}
    assert saved.keys() == {"performance", "units"}
    images, ant = saved["performance"].axes
    shades = [to_hex(c) for c in COLOURS]
    assert lines(images) == {"BP": (shades[0], 0.2), "L2": (shades[1], 0.7)}
    assert lines(ant) == {"L2": (shades[1], 90.0), "CBP": (shades[2], 90.5)}
    assert images.get_ylabel().startswith("Accuracy")
    assert ant.get_ylabel().startswith("Episode return")
    dead, none = saved["units"].axes
    assert lines(dead)["L2"] == (shades[1], 0.75)
    assert not none.lines
    (legend,) = saved["performance"].legends
    assert [text.get_text() for text in legend.get_texts()] == ["BP", "L2", "CBP", "guessing"]


def test_titles_name_unfinished_seeds(runs, saved, tmp_path):
    images, ant = runs
    lost = dataclasses.replace(images.members[0], status="diverged")
    images = dataclasses.replace(images, members=(lost, *images.members[1:]))
    draw_side_by_side((images, ant), tmp_path / "out", only=["performance"])
    left, right = saved["performance"].axes
    assert left.get_title() == "images\nBP (1 of 2 seeds, 1 diverged)"
    assert right.get_title() == "ant"
    # An algorithm without finished seeds has no line and no colour.
    without = tuple(m for m in images.members if m.algorithm != "bp")
    draw_side_by_side((dataclasses.replace(images, members=without), ant), tmp_path / "out")
    (legend,) = saved["performance"].legends
    assert [text.get_text() for text in legend.get_texts()] == ["L2", "CBP", "guessing"]


def test_rejects_figures_without_data(runs, tmp_path):
    with pytest.raises(
        SettingsError,
        match="`--only`: Figure 'perform' does not exist. Allowed: performance, units",
    ):
        draw_side_by_side(runs, tmp_path / "out", only=["perform"])
    images, ant = runs
    empty = dataclasses.replace(ant, members=())
    with pytest.raises(SettingsError, match="'.*ant' has nothing to draw as performance: none"):
        draw_side_by_side((images, empty), tmp_path / "out")
    with pytest.raises(SettingsError, match="nothing to draw as units: no finished training run"):
        draw_side_by_side((ant, ant), tmp_path / "out", only=["units"])
    assert not (tmp_path / "out").exists()
