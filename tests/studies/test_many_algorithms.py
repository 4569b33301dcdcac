"""Many algorithms, many tasks: what is shown of them, and that the work does not grow with them."""

import pathlib

import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from recorded_history import recorded

from spectral import algorithms
from spectral.studies import collapse_task, draw_figures, Member, Results
from spectral.studies.analysis import _collapse, _curvature_points, _published_names
from spectral.studies.analysis._foremost import foremost, MAX_SHOWN
from spectral.studies.analysis._labels import labels
from spectral.studies.analysis._spectra import as_spectrum
from spectral.studies.figures._style import COLOURS, palette
from spectral.studies.report._curves import COLUMNS, curves, panels
from spectral.studies.runs._results import Status


PROBES = {"h": {"type": "HessianSpectrum", "epsilon": 0.1}}
RANK = "h.start.normalised_epsilon_rank"


def results(folder, columns, algorithms, *, seeds=1):
    """A run in which every seed of every algorithm has recorded what `columns(index)` returns."""
    members = [
        Member(name, seed, "finished", "", recorded(columns(i), PROBES))
        for i, name in enumerate(algorithms)
        for seed in range(seeds)
    ]
    settings = {"probes": PROBES, "algorithms": algorithms, "seeds": seeds}
    return Results(pathlib.Path(folder), settings, tuple(members))


@pytest.fixture
def drawn(monkeypatch):
    """The figures by name, in place of their files."""
    figures = {}
    keep = lambda figure, path, **_: figures.update({path.stem: figure})
    monkeypatch.setattr(Figure, "savefig", keep)
    return figures


def texts(figure):
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def test_the_spectra_of_all_algorithms_share_a_program(monkeypatch, tmp_path):
    """Also if their numbers of tasks differ."""
    rng, count = np.random.default_rng(0), []
    original = _curvature_points.smoothed_density_mass

    def counted(spectrum, epsilon):
        count.append(spectrum)
        return original(spectrum, epsilon)

    monkeypatch.setattr(_curvature_points, "smoothed_density_mass", counted)

    def columns(index):
        nodes, weights = rng.normal(size=(9, 1, 3)), rng.dirichlet(np.ones(3), size=(9, 1))
        nodes[3 + index :] = np.nan
        rank = np.where(np.arange(9) < 3 + index, 0.5, np.nan)
        named = {"h.start.nodes": nodes, "h.start.weights": weights, RANK: rank}
        return named | {"test_accuracy": rng.random(9)}

    run = results(tmp_path, columns, {"a": {}, "b": {}, "c": {}})
    points = _curvature_points.curvature_points(run)
    assert len(count) == 1
    assert [len(own.tasks) for own in points.values()] == [3, 4, 5]
    history = run.members[2].history
    pair = (jnp.asarray(history[f"h.start.{name}"][4]) for name in ("nodes", "weights"))
    np.testing.assert_allclose(
        points["c"].published[4], original(as_spectrum(*pair), 0.1), rtol=1e-5
    )
    few = _curvature_points.curvature_points(run, max_spectra=9)
    assert few["c"].tasks.tolist() == [0, 2, 4]
    assert few["c"].published.tolist() == points["c"].published[[0, 2, 4]].tolist()
    assert len(count) == 1


def test_a_collapse_is_found_without_a_loop_over_tasks(monkeypatch):
    rng, count, median = np.random.default_rng(0), [], np.median
    monkeypatch.setattr(np, "median", lambda *a, **k: (count.append(1), median(*a, **k))[1])
    collapse_task(rng.random(100))
    short = len(count)
    collapse_task(rng.random(1000))
    assert len(count) == 2 * short
    for length in (0, 1, 3, 4, 5, 6, 9):
        values = rng.normal(size=length)
        each = [median(values[max(0, i - 2) : i + 3]) for i in range(length)]
        assert _collapse._running_median(values).tolist() == each


def members(series, *, seeds, status: Status = "finished"):
    return [
        Member("a", s, status, "", recorded({"test_accuracy": series + s / 10}))
        for s in range(seeds)
    ]


def test_lines_have_the_extremes_of_each_column_of_pixels():
    tasks, rng = 20_000, np.random.default_rng(0)
    series = rng.random(tasks)
    series[777], series[12_345], series[5] = 40.0, -40.0, np.nan
    drawn = curves(members(series, seeds=2), num_tasks=tasks)["accuracy"]
    line = drawn["seeds"][0]
    column = np.arange(tasks) * COLUMNS // tasks
    assert len(drawn["tasks"]) == len(line["low"]) == COLUMNS
    for i in (0, 10, 166, COLUMNS - 1):
        own = series[column == i]
        assert line["low"][i] == pytest.approx(np.nanmin(own), rel=1e-4)
        assert line["high"][i] == pytest.approx(np.nanmax(own), rel=1e-4)
        assert line["mean"][i] == pytest.approx(np.nanmean(own), rel=1e-4)
        assert column[drawn["tasks"][i]] == i
    assert (max(line["high"]), min(line["low"])) == (40.0, -40.0)
    assert max(drawn["mean"]["high"]) == pytest.approx(40.05)
    assert drawn["band"] is None  # two seeds


def test_short_lines_are_complete():
    series = np.array([0.5, np.nan, 0.25])
    drawn = curves(members(series, seeds=5), num_tasks=3)["accuracy"]
    assert drawn["tasks"] == [0, 2]
    assert drawn["seeds"][1] == {"low": [0.6, 0.35]}
    assert drawn["mean"] == {"low": [0.7, 0.45]}
    # t(0.975, 4) = 2.776, and the standard error of 0, 0.1, ..., 0.4 is 0.0707.
    assert drawn["band"]["low"] == pytest.approx([0.7 - 0.1963, 0.45 - 0.1963], rel=1e-3)
    assert drawn["band"]["high"] == pytest.approx([0.7 + 0.1963, 0.45 + 0.1963], rel=1e-3)
    only = curves(members(series, seeds=1, status="diverged"), num_tasks=3)["accuracy"]
    assert (only["mean"], only["band"], only["bracket"]) == (None, None, None)
    (panel,) = panels(members(series, seeds=1))
    assert (panel["guess"], panel["zero"], panel["limits"]) == (0.1, None, (0.0, 1.0))


def test_brackets_and_the_place_of_zero():
    rank = np.array([0.5, 0.0, 0.25])
    columns = {RANK: rank, f"{RANK}_lower": rank / 2, f"{RANK}_upper": rank + 0.01}
    member = lambda columns: Member("a", 0, "finished", "", recorded(columns, PROBES))
    drawn = curves([member(columns)], num_tasks=3)["normalised epsilon-rank"]
    assert drawn["bracket"] == {"low": [0.25, 0.0, 0.125], "high": [0.51, 0.01, 0.26]}
    (panel,) = panels([member(columns)])
    assert (panel["zero"], panel["bracket"]) == (0.01, True)  # the smallest number above 0
    columns[f"{RANK}_smallest"] = np.full(3, 1e-5)
    (panel,) = panels([member(columns)])
    assert panel["zero"] == 1e-5  # 1 / dimension


def test_names_of_algorithms():
    settings = {
        "l2_er": {"type": "l2_er"},
        "mine": {"type": "bp", "lr": 0.1},
        "_bp": {"type": "bp"},
        "l2-1": {"type": "l2", "lr": 0.01, "weight_decay": 2e-3, "momentum": 0.9},
        "l2-2": {"type": "l2", "lr": {"type": "Constant", "lr": 1.0}, "weight_decay": 4e-4},
        "tuned-1": {"type": "cbp", "lr": 0.1},
        "tuned-2": {"type": "cbp_l2", "lr": 0.1},
        "own-1": {"type": "mine:New", "size": 1},
        "own-2": {"type": "mine:New", "size": 2},
        "alone-2": {"type": "bp"},
        "cbp": {"type": "cbp"},
    }
    assert labels(Results(pathlib.Path("x"), {"algorithms": settings}, ())) == {
        "l2_er": "L2-ER",
        "mine": "mine",
        "_bp": "_bp",
        "l2-1": "L2 (lr 0.01, weight_decay 0.002, momentum 0.9)",
        "l2-2": "L2 (weight_decay 0.0004, lr.type Constant, lr.lr 1)",
        "tuned-1": "CBP [tuned-1]",
        "tuned-2": "CBP + L2",
        "own-1": "own (size 1)",
        "own-2": "own (size 2)",
        "alone-2": "alone-2",
        "cbp": "CBP [cbp]",
    }


def test_published_names_are_of_recipes():
    assert set(_published_names._NAMES) <= set(dir(algorithms))
    assert _published_names.published_name("no_recipe") == "no_recipe"


def test_colours_do_not_repeat():
    assert palette(3) == list(COLOURS[:3])
    many = palette(400)
    assert len({colour.upper() for colour in many}) == 400
    assert all(len(colour) == 7 for colour in many)


def test_figures_show_the_foremost_algorithms(drawn, tmp_path):
    """The selected cells of a sweep first, then the best."""
    (tmp_path / "sweep.csv").write_text("cell,selected\nl2-1,True\nl2-30,False\n")
    cells = {f"l2-{i + 1}": {"type": "l2", "lr": i / 100} for i in range(30)}
    columns = lambda i: {"test_accuracy": np.full(4, i / 30), RANK: np.full(4, 0.5)}
    more = lambda i: {"h.start.nodes": np.ones((4, 1, 3)), "h.start.weights": np.ones((4, 1, 3))}
    ends = lambda i: {f"{RANK}_lower": np.full(4, 0.25), f"{RANK}_upper": np.full(4, 0.75)}
    run = results(tmp_path, lambda i: columns(i) | more(i) | ends(i), cells)
    assert foremost(run) == ["l2-1", *(f"l2-{i}" for i in range(12, 31))]
    draw_figures(run, only=["performance", "normalised_epsilon_rank"])
    (legend,) = drawn["performance"].legends
    names = [text.get_text() for text in legend.get_texts()]
    assert len(names) == MAX_SHOWN + 1
    assert names[:2] == ["L2 (lr 0)", "L2 (lr 0.11)"]
    lines = [line for line in drawn["performance"].axes[0].lines if line.get_label() in names]
    assert len({line.get_color() for line in lines}) == MAX_SHOWN
    assert len(drawn["normalised_epsilon_rank"].axes) == MAX_SHOWN
    for figure in drawn.values():
        assert "20 of 30 algorithms: selected cells first" in texts(figure).replace("\n", " ")


@pytest.mark.parametrize("seeds", [1, 2, 5])
def test_figures_explain_bands_and_seeds(seeds, drawn, tmp_path):
    run = results(
        tmp_path, lambda i: {"test_accuracy": np.full(4, 0.5)}, {"_bp": {}, "cbp": {}}, seeds=seeds
    )
    draw_figures(run, only=["performance"])
    figure = drawn["performance"]
    (legend,), (axes,) = figure.legends, figure.axes
    assert [text.get_text() for text in legend.get_texts()] == ["_bp", "CBP", "guessing"]
    said = texts(figure).replace("\n", " ")
    assert {1: "Lines: one seed.", 2: "means over 2 seeds. Thin lines: the seeds."}.get(
        seeds, "means over 5 seeds. Bands: 95 % confidence intervals"
    ) in said
    thin = [line for line in axes.lines if line.get_linewidth() == 0.5]
    assert len(thin) == (4 if seeds == 2 else 0)
    assert len(axes.collections) == (2 if seeds == 5 else 0)
    (guess,) = [line for line in axes.lines if line.get_linestyle() == ":"]
    assert list(guess.get_ydata()) == [0.1, 0.1]


@pytest.mark.parametrize("name", ["normalised_epsilon_rank", "curvature"])
def test_a_rank_of_zero_is_drawn_at_one_over_the_dimension(name, drawn, tmp_path):
    rank = np.array([0.5, 0.0, 0.25])
    ends = {"": rank, "_lower": rank / 2, "_upper": rank + 0.01, "_smallest": np.full(3, 1e-6)}
    spectra = {f"h.start.{n}": np.ones((3, 1, 2)) for n in ("nodes", "weights")}
    run = results(
        tmp_path, lambda i: {f"{RANK}{e}": x for e, x in ends.items()} | spectra, {"bp": {}}
    )
    draw_figures(run, only=[name])
    (axes,) = drawn[name].axes[:1]
    assert axes.get_yscale() == "log"
    assert axes.get_ylim()[0] < 1e-6
    (marks,) = [line for line in axes.lines if line.get_marker() == "v"]
    assert (list(marks.get_xdata()), list(marks.get_ydata())) == ([1], [1e-6])
    lines = [line for line in axes.lines if line.get_marker() != "v"]
    assert all(list(line.get_ydata()) == [0.5, 1e-6, 0.25] for line in lines)
    if name == "normalised_epsilon_rank":
        assert "0 (at 1 / dim)" in texts(drawn[name])
        assert "confidence" not in texts(drawn[name])  # its bands are brackets
