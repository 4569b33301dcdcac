"""Run folders with damaged or changed files: every command gives one message, or repairs them."""

import errno
import json
import math
import os
import pathlib
import shutil
import warnings

import numpy as np
import pytest
import yaml
from tiny_experiment import PLAIN

from spectral import studies
from spectral.studies.command_line import _main
from spectral.studies.command_line._main import main
from spectral.studies.experiment import _make
from spectral.studies.runs import _run
from spectral.studies.runs._folder import MARKER
from spectral.studies.runs.protection._obstacles import check_places, check_writable, told


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A folder with the file of an experiment and its finished run `out`."""
    root = tmp_path_factory.mktemp("sound")
    (root / "plain.yaml").write_text(PLAIN)
    assert main(["run", str(root / "plain.yaml"), "--out", str(root / "out")]) == 0
    return root


@pytest.fixture
def out(sound, tmp_path, monkeypatch):
    """A copy of the run."""
    # The parts are those of the sound run, whose check takes a second.
    known = studies.load_results(sound / "out").members[0].history.quantities
    quantities = json.loads((sound / "out" / "quantities.json").read_text())
    assert known.keys() == quantities.keys()
    monkeypatch.setattr(_make, "_check_parts", lambda experiment: known)
    return shutil.copytree(sound / "out", tmp_path / "out")


def command(name: str, out: pathlib.Path, sound: pathlib.Path) -> int:
    page = out.parent / "page.html"
    known = {
        "resume": ["run", str(sound / "plain.yaml"), "--out", str(out), "--resume"],
        "plot": ["plot", str(out), "--only", "performance"],
        "report": ["report", str(out), "--out", str(page)],
        "landscape": ["landscape", str(out), "--num-examples", "10"],
    }
    return main(known[name])


def cut(path: pathlib.Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def flip(path: pathlib.Path) -> None:
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 0x55
    path.write_bytes(whole)


def empty(path: pathlib.Path) -> None:
    path.write_bytes(b"")


def to_list(path: pathlib.Path) -> None:
    path.write_text("[1, 2]")


def same(one: studies.Results, other: studies.Results) -> None:
    for a, b in zip(one.members, other.members, strict=True):
        assert (a.algorithm, a.seed, a.status, a.together) == (b.algorithm, b.seed, b.status, 2)
        assert a.history.keys() == b.history.keys()
        assert a.history.quantities == b.history.quantities
        for name in a.history:
            np.testing.assert_array_equal(a.history[name], b.history[name])


def test_damaged_histories_are_rebuilt(out, sound, capsys):
    """From the checkpoint, without any training. Readers name the file and the way."""
    damages = {
        "bp/seed_0/history.npz": (cut, flip, empty, pathlib.Path.unlink),
        "bp/seed_1/status.json": (cut, empty, to_list),
        "quantities.json": (cut, empty, to_list),
    }
    for name, kinds in damages.items():
        for damage in kinds:
            damage(out / name)
            assert command("plot", out, sound) == 2, (name, damage)
            told = capsys.readouterr().err
            assert f"{str((out / name).parent)!r} holds a damaged {(out / name).name}" in told
            assert "--resume" in told
            assert told.count("\n") == 1
            if damage is kinds[-1]:
                assert command("resume", out, sound) == 0
                capsys.readouterr()
                same(studies.load_results(out), studies.load_results(sound / "out"))


def test_files_that_can_be_read_but_hold_something_else(out, sound, capsys):
    """A history that is not the one of the status is damaged; `--resume` writes it again."""
    own = out / "bp" / "seed_0"
    with np.load(own / "history.npz") as read:
        columns = dict(read)
    about = json.loads((own / "status.json").read_text())
    quantities = json.loads((out / "quantities.json").read_text())
    shortened = {name: column[:-1] for name, column in columns.items()}
    histories = {
        "'loss' has 3 tasks": columns | {"loss": columns["loss"][:-1]},
        "' has 3 tasks, but status.json says 4": shortened | {"loss": columns["loss"]},
        "'loss' is missing": {name: c for name, c in columns.items() if name != "loss"},
        "'loss' is float32[4, 3]": columns | {"loss": np.repeat(columns["loss"], 3, axis=1)},
        "'loss' is int64[4, 1]": columns | {"loss": columns["loss"].astype(np.int64)},
        "'more' is float64[4]": columns | {"more": np.zeros(4)},
        "'loss' has 0 tasks": columns | {"loss": columns["loss"][:0]},
    }
    absent = {"absent": quantities["test_accuracy"]}
    (out / "quantities.json").write_text(json.dumps(quantities | absent))
    for reason, changed in histories.items():
        np.savez(own / "history.npz", **changed)
        with pytest.raises(studies.SettingsError) as error:
            studies.load_results(out)
        assert "damaged history.npz ('" in str(error.value)
        assert reason in str(error.value)
    assert command("plot", out, sound) == 2
    assert capsys.readouterr().err.count("\n") == 1
    for changed in ({"tasks": 3}, {"tasks": math.nan}, {"columns": 3}, {"columns": {"loss": 3}}):
        (own / "status.json").write_text(json.dumps(about | changed))
        with pytest.raises(studies.SettingsError, match="holds a damaged"):
            studies.load_results(out)
    assert command("resume", out, sound) == 0
    same(studies.load_results(out), studies.load_results(sound / "out"))
    (own / "status.json").write_text(json.dumps(about | {"columns": None}))
    studies.load_results(out)  # of an earlier version
    quantities["test_accuracy"]["reduce"] = 99
    (out / "quantities.json").write_text(json.dumps(quantities))
    with pytest.raises(studies.SettingsError, match="damaged quantities.json"):
        studies.load_results(out)


CHANGES = [
    {"seeds": "two"},
    {"seeds": -1},
    {"seeds": True},
    {"seeds": None},
    {"algorithms": None},
    {"algorithms": []},
    {"algorithms": {}},
    {"algorithms": {"bp": None}},
    {"algorithms": {"../bp": {"type": "bp"}}},
    {"algorithms": {1: {"type": "bp"}}},
    {"algorithms": {"bp": {"type": 3}}},
    {"probes": 3},
    {"probes": {"x": []}},
    {"stream": "digits"},
    {"stream": None},
    {"recorded": 3},
    {"recorded": {"own_parts": 3}},
    {"recorded": {"own_parts": {"folders": [1]}}},
]


def test_a_changed_configuration(out, sound, capsys):
    """The message names the file and the section, and nothing changes."""
    path = out / "config.yaml"
    settings = yaml.safe_load(path.read_text())
    for index, change in enumerate(CHANGES):
        path.write_text(yaml.safe_dump(settings | change))
        for name in ("plot",) if index % 6 else ("resume",):
            assert command(name, out, sound) == 2, (name, change)
            told = capsys.readouterr().err
            assert f"`{next(iter(change))}" in told, (name, change, told)
            assert told.count("\n") == 1
        assert yaml.safe_load(path.read_text()) == settings | change
    for text in ("", "[", "&a [*a]", "[" * 400, "x: " + "9" * 5000, "a: !!python/x 1", "\0"):
        path.write_text(text)
        assert command("plot", out, sound) == 2, text[:9]
        assert "config.yaml" in capsys.readouterr().err


def test_a_lost_marker(out, sound, capsys):
    """As after a copy without hidden files: reading works, and writing says what to do."""
    (out / MARKER).unlink()
    same(studies.load_results(out), studies.load_results(sound / "out"))
    for option in ("--resume", "--overwrite"):
        arguments = ["run", str(sound / "plain.yaml"), "--out", str(out), option]
        assert main(arguments) == 2
        told = capsys.readouterr().err
        assert f"create it again with `touch {out / MARKER}`" in told
    (out / MARKER).touch()
    assert command("resume", out, sound) == 0


@pytest.mark.slow
def test_every_file_damaged_in_every_way(out, sound, capsys):
    """Every command succeeds or gives one message, and none ends with a traceback."""
    whole = {p: p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()}
    chosen = [p for p in whole if p.suffix in (".npz", ".json", ".yaml")]
    chosen += sorted(out.glob("checkpoints/0/4/about/metadata"))
    for path in chosen:
        content = whole[path]
        at = range(0, len(content), max(1, len(content) // 5))
        flips = [content[:k] + bytes([content[k] ^ 0x55]) + content[k + 1 :] for k in at]
        for changed in (b"", content[: len(content) // 2], *flips):
            path.write_bytes(changed)
            status = command("report", out, sound)
            told = capsys.readouterr().err
            assert status in (0, 2), (path, told)
            assert "Traceback" not in told
        path.write_bytes(content)


def test_something_else_in_the_place_of_a_file_or_folder(out, sound, capsys, monkeypatch):
    """The message names it, and nothing of the run has changed."""
    monkeypatch.setattr(_run, "check_extension", lambda experiment, folder: {})
    more = ["--extend", "--set", "stream.num_tasks=5"]
    extend = ["run", str(sound / "plain.yaml"), "--out", str(out), *more]
    config = (out / "config.yaml").read_text()
    names = ("bp/seed_0/history.npz", "bp/seed_1/status.json", "quantities.json", "checkpoints")
    for name in names:
        aside = out.parent / "aside"
        (out / name).rename(aside)
        if name == "checkpoints":
            (out / name).write_text("")
            kind = "is a file, and a folder belongs there"
        else:
            (out / name).mkdir()
            kind = "is a folder, "
            assert command("plot", out, sound) == 2
            assert f"{str(out / name)!r} {kind}" in capsys.readouterr().err
        if name != "checkpoints":
            assert command("resume", out, sound) == 2
            assert f"{str(out / name)!r} {kind}" in capsys.readouterr().err
        assert main(extend) == 2
        message = capsys.readouterr().err
        assert f"{str(out / name)!r} {kind}" in message
        assert "free some space" not in message
        assert (out / "config.yaml").read_text() == config
        (out / name).unlink() if name == "checkpoints" else (out / name).rmdir()
        aside.rename(out / name)
    same(studies.load_results(out), studies.load_results(sound / "out"))


def test_only_a_full_disk_needs_space(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "file").write_text("")
    ways = {
        tmp_path / "loop": "loop' is a link that leads to no folder",
        tmp_path / "loop" / "x": "loop' is a link that leads to no folder",
        tmp_path / "file" / "x": "file' is a file, and a folder belongs there",
        pathlib.Path("/proc/x"): "No such file or directory: '/proc/x'",
    }

    def open_for_writing(folder):
        check_places(folder, [], [])
        check_writable(folder)

    for folder, reason in ways.items():
        with pytest.raises(OSError) as error:  # noqa: PT011 (its text is that of the system)
            open_for_writing(folder)
        assert reason in told(error.value, folder)
        assert "free some space" not in told(error.value, folder)
    for number in (errno.ENOSPC, errno.EDQUOT):
        assert "free some space" in told(OSError(number, os.strerror(number)), tmp_path)
    wrapped = OSError("a checkpoint could not be saved: No space left on device")
    assert "free some space" in told(wrapped, tmp_path)
    assert "free some space" not in told(OSError(errno.EACCES, "Permission denied"), tmp_path)


@pytest.mark.filterwarnings("default")
def test_warnings_are_one_line(capsys, monkeypatch):
    warn = lambda given: warnings.warn("The checkpoint\nis damaged.", stacklevel=1) or 0
    monkeypatch.setattr(_main, "_list", warn)
    assert main(["list"]) == 0
    assert capsys.readouterr().err == "spectral list: Warning: The checkpoint is damaged.\n"
