"""Settings that no experiment can have: numbers that are not finite, YAML without end, paths."""

import math
import pathlib

import jaxtyping
import pytest

from spectral import History, probes, recording, studies, tasks
from spectral.algorithms import Algorithm
from spectral.probes import AbstractProbe
from spectral.studies import load_experiment, Score, SettingsError
from spectral.studies.command_line._main import main
from spectral.studies.experiment._numbers import check_number
from spectral.studies.experiment._parse import parse
from spectral.studies.experiment._settings import override, read_settings
from spectral.studies.runs import _sweep
from spectral.tasks import AbstractTaskStream


DRIFT = {"type": "DriftingInputs", "data": {"type": "load_images", "name": "digits"}}
SLOW = {"type": "SlowlyChangingRegression"}
OWN = f"{__name__}:with_limit"
MUON = {"type": "equinox_muon"}


def test_numbers_that_become_zero():
    check_number(0.0, "lr")
    check_number(1e-30, "lr")
    for value in (1e-50, -1e-40):
        with pytest.raises(SettingsError, match="`algorithms.bp.lr` is .*at least 1.18e-38"):
            check_number(value, "algorithms.bp.lr")


@pytest.mark.parametrize(
    ("section", "wanted", "part"),
    [
        (DRIFT | {"step": math.inf}, AbstractTaskStream, "`x.step` is inf, but must be a finite"),
        (SLOW | {"threshold": math.nan}, AbstractTaskStream, "`x.threshold` is nan"),
        (SLOW | {"threshold": 1e300}, AbstractTaskStream, "`x.threshold` is 1e.300.* 3.4e.38"),
        (SLOW | {"num_tasks": 10**400}, AbstractTaskStream, "an integer of 1329 bits"),
        (
            {"type": "bp", "lr": MUON | {"learning_rate": 1.0, "beta": math.inf}},
            Algorithm,
            "`x.lr.beta` is inf",
        ),
        ({"type": "bp", "lr": -math.inf}, Algorithm, "`x.lr` is -inf"),
        ({"type": "DormantUnits", "threshold": math.nan}, AbstractProbe, "`x.threshold` is nan"),
        (
            {"type": OWN, "args": [math.nan]},
            AbstractProbe,
            "`x.args.0` is nan",
        ),
    ],
)
def test_numbers_are_finite(section, wanted, part):
    with pytest.raises(SettingsError, match=part):
        parse(section, wanted, "x", {})


def with_limit(limit: float = math.inf) -> AbstractProbe:
    return probes.DormantUnits(threshold=min(limit, 1.0))


def test_a_default_may_be_infinite():
    """A run records defaults, and its file can be run again."""
    name = {"type": f"{__name__}:with_limit"}
    call = parse(name, AbstractProbe, "x", {})
    assert call.settings["limit"] == math.inf
    assert parse(call.settings, AbstractProbe, "x", {}).settings == call.settings
    with pytest.raises(SettingsError, match=r"`x\.limit` is nan"):
        parse(name | {"limit": math.nan}, AbstractProbe, "x", {})


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("a: " + "[" * 400 + "]" * 400, "nested more than 50 deep"),
        ("a: " + "[" * 60 + "]" * 60, "nested more than 50 deep"),
        ("a: &a [*a]", "contains itself"),
        ("a: &a {b: *a}", "contains itself"),
        ("a: " + "9" * 5000, "not valid YAML: Exceeds the limit"),
        ("a: 2020-13-45", "not valid YAML: month must be"),
        (
            "\n".join(
                f"x{i}: &x{i} [{', '.join(9 * [f'*x{i - 1}' if i else '1'])}]" for i in range(6)
            ),
            "more than 100000 values",
        ),
    ],
)
def test_yaml_without_end(text, part, tmp_path, capsys):
    path = tmp_path / "x.yaml"
    path.write_text(text)
    assert main(["run", str(path)]) == 2
    told = capsys.readouterr().err
    assert part in told
    assert told.count("\n") == 1


def test_options_without_end():
    with pytest.raises(SettingsError, match="--set a: this is nested more than"):
        override({}, "a=" + "[" * 400 + "]" * 400)


def test_nested_yaml_is_read(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("a: &a [1, {b: [2, [3]]}]\nc: [*a, *a]\n")
    assert read_settings(path)["c"] == [[1, {"b": [2, [3]]}]] * 2


def test_home_folder_in_every_argument(tmp_path, monkeypatch):
    """Histories and checkpoints of a run are in one folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    home = [
        lambda: studies.load_results("~/x"),
        lambda: studies.load(["~/x"]),
        lambda: load_experiment("~/x.yaml"),
        lambda: studies.write_report(["~/x"], "~/x.html"),
    ]
    for call in home:
        with pytest.raises(SettingsError, match=f"{tmp_path}/x"):
            call()
    assert studies.write_example("digits", "~/new.yaml") == tmp_path / "new.yaml"
    recording.TensorBoard("~/x").update(0, 1, History({}))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["new.yaml", "x"]
    nobody = "~nobody-of-this-name/x"
    for call in (
        lambda: studies.load_results(nobody),
        lambda: load_experiment(nobody),
        lambda: tasks.load_images("mnist", data_dir=nobody),
        lambda: tasks.load_arrays(nobody),
        lambda: recording.OrbaxCheckpointer(nobody),
        lambda: recording.TensorBoard(nobody),
    ):
        with pytest.raises(ValueError, match="home folder of a user who does not exist"):
            call()
    assert not pathlib.Path("~").exists()


def test_a_wrong_score_is_rejected_before_the_sweep(plain, untraced, tmp_path, monkeypatch):
    def trained(*arguments, **options):
        raise AssertionError("the sweep has begun")

    monkeypatch.setattr(_sweep, "run_experiment", trained)
    experiment = load_experiment(plain)
    cells = {"bp": ["bp"]}
    sweep = studies.sweep_of(experiment, cells=cells)
    for score in (Score("acuracy", "all"), Score("accuracy", "all", reported="tets accuracy")):
        wrong = studies.Sweep(experiment, sweep.cells, score, {})
        with pytest.raises(SettingsError, match=r"`score.measure`: Measure .* does not exist"):
            studies.run_sweep(wrong, tmp_path / "out")
    with pytest.raises(SettingsError, match="`over`: Choice 'Last' does not exist.*'last'"):
        Score("accuracy", "Last")
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as for users
    with pytest.raises(SettingsError, match="`kind`: Kind 'stream' does not exist"):
        studies.known_parts(kind="stream")  # pyright: ignore[reportArgumentType]
