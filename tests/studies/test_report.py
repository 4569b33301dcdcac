"""The report page: its contents, and its behaviour in a browser if one is installed."""

import json
import pathlib
import re
import shutil
import subprocess
from typing import Any

import numpy as np
import pytest
from PIL import Image
from recorded_history import recorded

from spectral import History, studies
from spectral.studies import load, Member, SettingsError, tidy, write_report
from spectral.studies.analysis._curvature_points import fit_line
from spectral.studies.command_line._main import main
from spectral.studies.runs._folder import open_folder
from spectral.studies.runs._quantities import save_quantities
from spectral.studies.runs._results import save_member


TASKS = 12
RANK = "hessian.start.normalised_epsilon_rank"
PROBES = {"dead": {"type": "DeadUnits"}, "hessian": {"type": "HessianSpectrum", "epsilon": 0.1}}


def history(level: float, seed: int, tasks: int = TASKS) -> History:
    """A history in which the spectrum shrinks, and is measured in every third task."""
    rng = np.random.default_rng(seed)
    shrinking = np.linspace(1.0, 0.1, TASKS)[:tasks, None, None]
    nodes = np.sort(rng.normal(size=(tasks, 1, 6)), axis=2) * shrinking * 5
    weights = rng.dirichlet(np.ones(6), size=(tasks, 1))
    measured = np.arange(tasks) % 3 == 0
    sparse = lambda x: np.where(measured.reshape(-1, *[1] * (x.ndim - 1)), x, np.nan)
    fraction = (weights * (np.abs(nodes) > 0.1)).sum(axis=(1, 2))
    fraction[9:] = 0.0  # the last spectrum has no eigenvalue beyond epsilon
    columns = {
        "test_accuracy": level + 0.02 * rng.normal(size=tasks),
        "online_accuracy": level + 0.02 * rng.normal(size=(tasks, 2)),
        "dead.start.fraction": rng.random(tasks),
        "hessian.start.nodes": sparse(nodes),
        "hessian.start.weights": sparse(weights),
    }
    ends = {"": fraction, "_lower": fraction * 0.9, "_upper": fraction + 0.01}
    ends["_smallest"] = np.full(tasks, 1e-4)
    columns |= {f"{RANK}{e}": sparse(end) for e, end in ends.items()}
    return recorded(columns, PROBES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run of two algorithms and three seeds. One member diverged, one is unfinished."""
    folder = tmp_path_factory.mktemp("runs") / "mine"
    settings = {
        "seeds": 3,
        "stream": {"type": "X"},
        "model": {"type": "Y"},
        "algorithms": {"good": {"type": "l2", "lr": 0.1}, "bad": {"type": "bp", "lr": 0.2}},
        "probes": PROBES,
    }
    open_folder(folder, settings, {"command": "spectral run </script> x.yaml"}, "new")
    save_quantities(folder, history(0.9, 0).quantities)
    for name, level in (("good", 0.9), ("bad", 0.4)):
        for seed in range(3):
            status, message, tasks = "finished", "", TASKS
            if name == "bad" and seed:
                status, tasks = ("diverged", 7) if seed == 1 else ("unfinished", 4)
                message = "the loss in task 6, step 9" if seed == 1 else ""
            own = history(level, seed, tasks)
            save_member(folder, Member(name, seed, status, message, own, seconds=1.5, together=3))
    return folder


def test_load(folder):
    data: Any = load(folder)
    assert dict(data.sizes) == {
        "run": 2,
        "seed": 3,
        "task": TASKS,
        "chunk": 2,
        "vector": 1,
        "node": 6,
    }
    assert data["run"].values.tolist() == data["algorithm"].values.tolist() == ["good", "bad"]
    assert data["test_accuracy"].dims == ("run", "seed", "task")
    assert data["online_accuracy"].dims == ("run", "seed", "task", "chunk")
    spectra = data["hessian.start.nodes"]
    assert spectra.dims == ("run", "seed", "task", "vector", "node")
    for member in studies.load_results(folder).members:
        own = data.sel(run=member.algorithm, seed=member.seed)
        for name, column in member.history.items():
            np.testing.assert_array_equal(own[name].values[: len(column)], column)
            assert np.isnan(own[name].values[len(column) :]).all()
    assert data["status"].values.tolist()[1] == ["finished", "diverged", "unfinished"]
    assert "task 6" in str(data["message"].sel(run="bad", seed=1).values)
    assert (data["seconds"] == 1.5).all()


def test_load_several(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "other")
    (tmp_path / "other" / "good" / "seed_2" / "status.json").unlink()
    data = load([folder, tmp_path / "other"])
    assert data.sizes["run"] == 4
    assert data["run"].values.tolist()[3] == f"{tmp_path / 'other'}/bad"
    assert data["status"].values[2].tolist() == ["finished", "finished", ""]
    assert np.isnan(data["test_accuracy"].values[2, 2]).all()
    shutil.rmtree(tmp_path / "other" / "good")
    shutil.rmtree(tmp_path / "other" / "bad")
    for reader in (load, lambda f: write_report([f], tmp_path / "x.html")):
        with pytest.raises(SettingsError, match="Nothing has been recorded yet"):
            reader(tmp_path / "other")
        with pytest.raises(SettingsError, match="does not hold a run"):
            reader(tmp_path / "none")


def test_load_during_a_run(tmp_path):
    """The first algorithm is ahead of the second, and the third has not started."""
    settings = {"seeds": 1, "algorithms": {"bp": {}, "l2": {}, "er": {}}, "probes": {}}
    open_folder(tmp_path / "run", settings, {}, "new")
    for name, tasks in (("bp", 5), ("l2", 3)):
        columns = {"test_accuracy": np.arange(float(tasks)), "loss": np.ones((tasks, 2))}
        save_member(tmp_path / "run", Member(name, 0, "unfinished", "", History(columns)))
    data: Any = load(tmp_path / "run")
    assert np.isfinite(data["test_accuracy"]).sum("task").values.tolist() == [[5], [3], [0]]
    assert data["status"].values.tolist() == [["unfinished"], ["unfinished"], [""]]


def test_load_joins_folders_of_different_sizes(folder, tmp_path):
    other = tmp_path / "other"
    settings = {"seeds": 1, "algorithms": {"bp": {}}, "probes": {}}
    open_folder(other, settings, {}, "new")
    columns = {
        "test_accuracy": np.arange(3.0),
        "online_accuracy": np.ones((3, 5)),
        "hessian.start.nodes": np.ones((3, 2, 4)),
        "more.start.nodes": np.full((3, 2, 8), 7.0),  # a second probe, of higher order
        "rank.start.feature_effective_rank": np.ones((3, 2)),
    }
    save_member(other, Member("bp", 0, "finished", "", History(columns)))
    data: Any = load([folder, other])
    assert dict(data.sizes) | {"task": TASKS, "chunk": 5, "node": 8, "run": 3} == dict(data.sizes)
    own = data.sel(run=f"{other}/bp")
    assert own["status"].values.tolist() == ["finished", "", ""]
    assert own["message"].values.tolist() == [""] * 3
    assert own["together"].values.tolist() == [0] * 3
    more = own["more.start.nodes"].sel(seed=0, task=range(3))
    assert more.values.tolist() == [[[7.0] * 8] * 2] * 3
    assert np.isfinite(own["hessian.start.nodes"]).sum() == 3 * 2 * 4
    alone: Any = load(folder)
    for name in ("test_accuracy", "hessian.start.nodes"):
        old = alone[name].sel(run="bad")
        same = data[name].sel({"run": f"{folder}/bad"} | {d: old[d] for d in old.dims})
        np.testing.assert_array_equal(same, old)


def test_tidy(folder):
    data = load(folder)
    frame: Any = tidy(data)
    assert len(frame) == 3 * TASKS + TASKS + 7 + 4
    assert {"run", "seed", "task", "test_accuracy", "dead.start.fraction"} <= set(frame.columns)
    chunks: Any = tidy(data, names=["online_accuracy"])
    assert set(chunks.columns) == {"run", "seed", "task", "chunk", "online_accuracy"}
    mean = chunks[chunks["run"] == "good"]["online_accuracy"].mean()
    assert mean == pytest.approx(float(data["online_accuracy"].sel(run="good").mean()))
    with pytest.raises(ValueError, match="'loss', which was not recorded"):
        tidy(data, names=["loss"])
    with pytest.raises(ValueError, match="different axes"):
        tidy(data, names=["online_accuracy", "test_accuracy"])


def page(folder, tmp_path) -> str:
    assert main(["report", str(folder), "--out", str(tmp_path / "report.html")]) == 0
    return (tmp_path / "report.html").read_text()


def embedded(text: str) -> dict:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found
    return json.loads(found.group(1))


def test_page_is_complete_and_self_contained(folder, tmp_path, capsys):
    text = page(folder, tmp_path)
    assert capsys.readouterr().out.strip() == str(tmp_path / "report.html")
    addresses = set(re.findall(r"https?://[^\"'\s]+", text))
    assert addresses == {"http://www.w3.org/2000/svg"}  # a namespace, which is not fetched
    assert not re.search(r"<(link|script|img)[^>]+(src|href)=\"(?!data:)", text)
    data = embedded(text)
    good, bad = data["runs"]
    assert (good["name"], good["settings"]) == ("good", {"type": "l2", "lr": 0.1})
    assert (bad["finished"], bad["unfinished"]) == ([0], [2])
    assert bad["diverged"] == ["seed 1: the loss in task 6, step 9"]
    assert data["folders"][0]["command"] == "spectral run </script> x.yaml"
    assert data["spectrum_tasks"] == [0, 3, 6, 9]
    members = studies.load_results(folder).of("good")
    curve = good["curves"]["accuracy"]
    own = np.stack([m.history["test_accuracy"] for m in members])
    assert curve["mean"]["low"] == pytest.approx(own.mean(axis=0), rel=1e-4)
    assert curve["seeds"]["1"]["low"] == pytest.approx(own[1], rel=1e-4)
    assert curve["band"] is None  # three seeds
    by_name = {measure["name"]: measure for measure in data["measures"]}
    assert by_name["normalised epsilon-rank"]["zero"] == 1e-4
    assert good["spectrum"]["tasks"] == [0, 3, 6, 9]
    x, y = good["points"]["quadrature"], good["points"]["performance"]
    ranks = np.stack([m.history[RANK][::3] for m in members])
    assert x == pytest.approx(ranks.mean(axis=0), rel=1e-4)
    assert y == pytest.approx(own[:, ::3].mean(axis=0), rel=1e-4)


def test_page_of_a_sweep_shows_the_best_cells(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "sweep")
    (tmp_path / "sweep" / "sweep.csv").write_text("cell,selected\ngood,False\nbad,True\n")
    data = embedded(page(tmp_path / "sweep", tmp_path))
    assert [run["shown"] for run in data["runs"]] == [False, True]
    assert data["runs"][1]["colour"] == "#0072B2"
    assert [run["shown"] for run in embedded(page(folder, tmp_path))["runs"]] == [True, True]


def test_fit():
    fit = fit_line(np.array([0.0, 1.0, 2.0, 3.0]), np.array([1.0, 3.0, 5.0, 7.0]))
    assert fit == pytest.approx((2.0, 1.0, 1.0))
    assert fit_line(np.ones(3), np.arange(3.0)) is None
    assert fit_line(np.ones(1), np.ones(1)) is None


def test_plot_rejects_bad_options(folder, capsys):
    assert main(["plot", str(folder), "--only", "performance", "--smooth", "5"]) == 0
    drawn = capsys.readouterr().out.splitlines()
    assert [pathlib.Path(p).name for p in drawn] == ["performance.png", "performance.pdf"]
    assert all(pathlib.Path(p).stat().st_size > 1000 for p in drawn)
    assert {pathlib.Path(p).parent for p in drawn} == {folder / "figures"}
    assert main(["plot", str(folder), "--only", "performance", "--smooth", "50"]) == 2
    assert "`--smooth` is 50, but must be more than 2 and at most" in capsys.readouterr().err
    assert main(["plot", str(folder), "--only", "performnce"]) == 2
    assert "did you mean 'performance'" in capsys.readouterr().err


def test_plot_into_another_folder(folder, tmp_path, capsys):
    out = tmp_path / "here" / "drawn"
    assert main(["plot", str(folder), "--only", "units", "--out", str(out)]) == 0
    assert capsys.readouterr().out.splitlines() == [f"{out}/units.png", f"{out}/units.pdf"]
    assert sorted(p.name for p in out.iterdir()) == ["units.pdf", "units.png"]


@pytest.mark.parametrize("out", [".", "..", "/"])
def test_report_into_a_folder(out, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["report", str(folder), "--out", out]) == 2
    message = capsys.readouterr().err
    assert message.startswith(f"spectral report: `--out` is {out!r}, which is a folder: name a fi")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "text", "part"),
    [
        ("config.yaml", "seeds: 1", "`algorithms` is None"),
        ("good/seed_0/status.json", "[]", "good/seed_0' holds a damaged"),
        ("good/seed_0/status.json", "{", "good/seed_0' holds a damaged"),
        ("good/seed_0/history.npz", "", "good/seed_0' holds a damaged"),
        ("good/seed_0/history.npz", "PK", "good/seed_0' holds a damaged"),
        ("sweep.csv", "", "sweep.csv' is not the table of a sweep"),
        ("sweep.csv", "a,b\n1,2\n", "sweep.csv' is not the table of a sweep"),
    ],
)
def test_damaged_files_give_one_message(name, text, part, folder, tmp_path, capsys):
    shutil.copytree(folder, tmp_path / "mine", ignore=shutil.ignore_patterns("figures"))
    (tmp_path / "mine" / name).write_text(text)
    assert main(["report", str(tmp_path / "mine"), "--out", str(tmp_path / "x.html")]) == 2
    message = capsys.readouterr().err
    assert part in message
    assert message.count("\n") == 1


def test_plot_without_data(folder, tmp_path, capsys):
    assert main(["plot", str(folder), "--only", "returns"]) == 2
    message = capsys.readouterr().err
    assert "has nothing to draw as returns: 4 of 6 training runs have finished" in message


def test_system_errors_are_one_line(folder, tmp_path, capsys):
    shutil.copytree(folder, tmp_path / "mine", ignore=shutil.ignore_patterns("figures"))
    (tmp_path / "mine" / "figures").write_text("a file where the folder should be")
    assert main(["plot", str(tmp_path / "mine"), "--only", "performance"]) == 2
    message = capsys.readouterr().err
    assert message.startswith("spectral plot: Figures cannot be written to '")
    assert message.endswith("mine/figures': File exists. Choose another folder.\n")
    assert message.count("\n") == 1


NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((path for name in NAMES if (path := shutil.which(name))), None)
# Moves the slider, clicks the switches, and records what the page shows each time.
ACT = """
<script>
const result = { errors: [] };
window.addEventListener("error", (event) => result.errors.push(event.message));
const spectra = () => [...document.querySelectorAll("svg.spectrum path[stroke-width='1.3']")]
  .map((p) => p.getAttribute("d"));
const shownRuns = () => [...document.querySelector("svg.curve").querySelectorAll("g")]
  .map((g) => [g.dataset.run, g.querySelectorAll("path").length]);
const all = (selector) => [...document.querySelectorAll(selector)];
// What is outside of a page of this width, except in a part that scrolls.
const outside = (width) => {
  document.documentElement.style.width = `${width}px`;
  const found = all("body *").filter((e) => {
    const box = e.getBoundingClientRect();
    const scroll = e.closest(".scroll table") && getComputedStyle(e.closest(".scroll")).overflowX;
    return (box.right > width || box.left < 0) && box.width && scroll !== "auto";
  });
  document.documentElement.style.width = "";
  return found.map((e) => `${e.tagName} ${e.textContent.slice(0, 40)}`);
};
const numbers = (path) => path.getAttribute("d").match(/-?[\\d.]+/g).map(Number);
const click = (selector) => document.querySelector(selector).click();
const slider = document.getElementById("task");
result.spectra = [];
for (let i = 0; i <= Number(slider.max); i++) {
  slider.value = i;
  slider.dispatchEvent(new Event("input"));
  const task = document.getElementById("task-shown").textContent;
  result.spectra.push({ task, paths: spectra() });
}
result.all = shownRuns();
click("input[data-run='bad']");
result.without_bad = shownRuns();
result.panels_without_bad = document.querySelectorAll("svg.spectrum").length;
click("input[data-run='bad']");
click("input[data-seed='1']");
result.without_seed = shownRuns();
click("input[data-seed='1']");
result.again = shownRuns();
result.dots = document.querySelectorAll("svg.scatter circle").length;
result.outside = [1300, 420].map(outside);
const rank = "svg[data-measure='normalised epsilon-rank']";
result.ranks = all(`${rank} g[data-run='good'] path[stroke-width='2']`).map(numbers);
result.zeros = all(`${rank} g[data-run='good'] path.zero`)
  .map((p) => p.getAttribute("d").split("z").length - 1);
result.brackets = all(`${rank} path.bracket`).length;
result.guesses = all(`svg[data-measure='accuracy'] line.guess`).length;
// A steep cloud, whose line leaves the panel.
data.runs[0].points.performance = [0, 0, 0, 1];
data.runs[1].points.performance = [0, 0, 1, 1];
for (const { points } of data.runs) points.published = points.quadrature = [0, 0.1, 0.2, 1];
drawScatter();
result.fits = all("svg.scatter").map((svg) => ({
  dots: [...svg.querySelectorAll("circle")].map((c) => [c.cx.baseVal.value, c.cy.baseVal.value]),
  ends: numbers(svg.querySelector("path.fit")),
}));
result.text = document.body.innerText;
const place = document.createElement("script");
place.type = "application/json"; place.id = "result";
place.textContent = JSON.stringify(result).replaceAll("<", "\\\\u003c");
document.body.append(place);
</script>
"""


def browse(page: pathlib.Path, *options: str) -> subprocess.CompletedProcess:
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
    flags += [f"--user-data-dir={page.parent / 'profile'}", "--disable-dev-shm-usage"]
    command = [str(CHROMIUM), *flags, *options, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_page_in_a_browser(folder, tmp_path):
    acting = tmp_path / "acting.html"
    acting.write_text(page(folder, tmp_path).replace("</body>", f"{ACT}</body>"))
    done = browse(acting, "--dump-dom")
    found = re.search(r'id="result">(.*?)</script>', done.stdout, re.DOTALL)
    assert found, done.stderr[-2000:]
    result = json.loads(found.group(1))
    assert result["errors"] == []
    assert "CONSOLE" not in done.stderr
    assert [s["task"] for s in result["spectra"]] == ["0", "3", "6", "9"]
    drawn = [tuple(s["paths"]) for s in result["spectra"]]
    assert all(len(paths) == 2 for paths in drawn)
    assert len(set(drawn)) == 4  # the slider moves the spectra
    # A mean and a line for each seed; no band, because fewer than five seeds finished.
    assert result["all"] == result["again"] == [["good", 4], ["bad", 4]]
    assert result["without_bad"] == [["good", 4]]
    assert result["panels_without_bad"] == 1
    assert result["without_seed"] == [["good", 3], ["bad", 3]]
    assert result["dots"] == 2 * 2 * 4
    assert "spectral run </script> x.yaml" in result["text"]
    assert result["outside"] == [[], []]
    assert result["guesses"] == 1
    assert result["brackets"] == 2
    assert result["zeros"] == [1]
    # The axis is logarithmic: equal ratios are equal distances, and the last rank is at 1e-4.
    (line,) = result["ranks"]
    own = np.stack([m.history[RANK] for m in studies.load_results(folder).of("good")])
    ranks = np.maximum(own.mean(axis=0)[::3], 1e-4)
    slope, _ = np.polyfit(np.log10(ranks), line[1::2], 1)
    assert slope == pytest.approx(-(220 - 36 - 8) / 4, rel=0.01)  # pixels for a power of ten
    for fit in result["fits"]:
        across, down = np.array(fit["dots"]).T
        slope, start = np.polyfit(across, down, 1)
        x, y = np.array(fit["ends"]).reshape(2, 2).T
        assert y == pytest.approx(start + slope * x, abs=0.2)
        assert 0 < x[1] - x[0] < 265  # the line leaves a panel of 270 pixels


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_screenshot_shows_all_algorithms(folder, tmp_path):
    text = page(folder, tmp_path)
    options = (f"--screenshot={tmp_path / 'page.png'}", "--window-size=1150,1400")
    browse(tmp_path / "report.html", *options)
    shown = np.asarray(Image.open(tmp_path / "page.png").convert("RGB")).reshape(-1, 3)
    for run in embedded(text)["runs"]:
        colour = [int(run["colour"][i : i + 2], 16) for i in (1, 3, 5)]
        assert (np.abs(shown - np.array(colour)).max(axis=1) < 12).sum() > 50
    assert (shown > 240).all(axis=1).mean() > 0.5  # on a light page


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_page_of_many_tasks_is_small_and_not_empty(tmp_path):
    settings = {"seeds": 1, "algorithms": {"bp": {}}, "probes": {}}
    open_folder(tmp_path / "run", settings, {}, "new")
    long = recorded({"test_accuracy": np.random.default_rng(0).random(150_000)})
    save_quantities(tmp_path / "run", long.quantities)
    save_member(tmp_path / "run", Member("bp", 0, "finished", "", long))
    text = page(tmp_path / "run", tmp_path)
    assert len(text) < 60_000
    done = browse(tmp_path / "report.html", "--dump-dom")
    assert "CONSOLE" not in done.stderr
    (line,) = re.findall(r'<path d="([^"]+)"[^>]*stroke-width="2"', done.stdout)
    assert line.count("L") == 2 * 270 - 1
