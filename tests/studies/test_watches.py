"""Warnings while an experiment runs, when a column crosses a threshold."""

import logging
from dataclasses import replace

import numpy as np
import pytest
import yaml
from tiny_experiment import PLAIN, TINY

from spectral import History
from spectral.recording import Watch
from spectral.studies import make_experiment, SettingsError
from spectral.studies.command_line._main import main
from spectral.studies.experiment._watches import _IfRecorded, check_columns, parse_watches
from spectral.studies.experiment._yaml import load_yaml


DEAD = {"column": "dead.start.fraction", "threshold": 1, "direction": "above"}


def test_arguments_have_their_defaults():
    options = DEAD | {"relative": False, "patience": 1}
    found = parse_watches({"dying": DEAD})
    assert found == {"dying": options}
    assert isinstance(found["dying"]["threshold"], float)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"treshold": 1}, "`watch.dying.treshold`: .*did you mean 'threshold'"),
        ({"type": "Watch"}, "`watch.dying.type`: Argument of a watch"),
        ({"bar": None}, "`watch.dying.bar`: Argument of a watch"),
        ({"direction": "up"}, "`watch.dying.direction` is 'up', but must be 'above' or 'below'"),
        ({"threshold": "much"}, "`watch.dying.threshold` is 'much', but must be a number"),
        ({"patience": 0}, "`watch.dying.patience` is 0, but must be"),
    ],
)
def test_wrong_arguments(change, message):
    with pytest.raises(SettingsError, match=message):
        parse_watches({"dying": DEAD | change})


def test_missing_arguments():
    with pytest.raises(SettingsError, match="`watch.dying.threshold` is missing"):
        parse_watches({"dying": {"column": "x", "direction": "above"}})
    with pytest.raises(SettingsError, match="`watch.dying` is 0.3, but must be a mapping"):
        parse_watches({"dying": 0.3})


@pytest.mark.usefixtures("untraced")
def test_unknown_columns():
    settings = load_yaml(TINY) | {"watch": {"dying": DEAD}}
    experiment = make_experiment(settings)
    assert experiment.settings["watch"]["dying"]["patience"] == 1
    for column, message in (
        ("deed.start.fraction", "`watch.dying.column`: Probe 'deed' .*did you mean 'dead'"),
        ("dead.start.fractions", "`watch.dying.column`: .*did you mean 'dead.start.fraction'"),
        ("test_acuracy", "`watch.dying.column`: .*did you mean 'test_accuracy'"),
    ):
        other = replace(experiment, watches={"dying": DEAD | {"column": column}})
        with pytest.raises(SettingsError, match=message):
            check_columns(other)
    with pytest.raises(SettingsError, match=message):
        make_experiment(settings | {"watch": other.watches})


def test_an_algorithm_without_the_column_is_not_watched(caplog):
    watch = _IfRecorded(Watch("Reset.on", threshold=0.5, direction="above", names=["bp, seed 1"]))
    history = {"loss": np.ones((1, 1)), "Reset.on": np.ones((1, 1))}
    with caplog.at_level(logging.WARNING, logger="spectral"):
        watch.update(1, 2, History({"loss": history["loss"]}, members={"member": (0,)}))
        assert not caplog.records
        watch.update(1, 2, History(history, members={"member": (0,)}))
    message = "`Reset.on` is 1 at task 0 in bp, seed 1, above the threshold 0.5."
    assert [record.getMessage() for record in caplog.records] == [message]


@pytest.mark.slow
def test_a_run_warns(tmp_path, caplog):
    """The run is that without a watch, and can be resumed with another one."""
    path, out = tmp_path / "x.yaml", tmp_path / "out"
    path.write_text(
        f"{PLAIN}watch:\n"
        "  poor: {column: test_accuracy, threshold: 0.99, direction: below, patience: 2}\n"
    )
    with caplog.at_level(logging.WARNING, logger="spectral"):
        assert main(["run", str(path), "--out", str(out)]) == 0
    found = [record.getMessage() for record in caplog.records if record.name == "spectral"]
    assert len(found) == 2
    for seed, message in enumerate(found):
        assert message.startswith("`test_accuracy` is 0.")
        assert message.endswith(f" at task 1 in bp, seed {seed}, below the threshold 0.99.")
    config = yaml.safe_load((out / "config.yaml").read_text())
    assert config["watch"]["poor"]["patience"] == 2
    assert main(["run", str(path), "--out", str(out), "--resume", "--set", "watch={}"]) == 0
    path.write_text(PLAIN)
    assert main(["run", str(path), "--out", str(tmp_path / "plain")]) == 0
    load = lambda folder: np.load(folder / "bp" / "seed_0" / "history.npz")
    with load(out) as own, load(tmp_path / "plain") as plain:
        assert sorted(own) == sorted(plain)
        for name in own:
            np.testing.assert_array_equal(own[name], plain[name])
