"""What a run folder is protected from: deletion, another precision, signals, and full memory."""

import contextlib
import os
import pathlib
import shutil
import signal
import time

import jax
import jaxtyping
import numpy as np
import pytest
import yaml

from spectral import _loop, AbstractMeter, studies
from spectral.studies import load_experiment
from spectral.studies.command_line import _main
from spectral.studies.command_line._main import main
from spectral.studies.figures._figures import draw_figures
from spectral.studies.runs import _keeper
from spectral.studies.runs._folder import check_folder, CONFIG, MARKER, open_folder
from spectral.studies.runs.cluster import _train_group
from spectral.studies.runs.protection import _memory
from spectral.studies.runs.protection._clear import clear
from spectral.studies.runs.protection._memory import check_memory, within_memory
from spectral.studies.runs.protection._numerics import check_numerics, NUMERICS, numerics
from spectral.studies.runs.protection._stop import Terminated, watch_signals


HASH = "0123456789abcdef" * 2
WRITTEN = (
    "config.yaml",
    "quantities.json",
    "summary.json",
    "sweep.yaml",
    "sweep.csv",
    "selected.yaml",
    f"summary.json.{HASH}.part",
    "bp/seed_0/history.npz",
    "bp/seed_0/status.json",
    f"bp/seed_0/status.json.{HASH}.part",
    "figures/performance.png",
    "figures/replacement.pdf",
    "checkpoints/0/4/_CHECKPOINT_METADATA",
    "checkpoints/0/4/commit_success.txt",
    "checkpoints/0/4/about/metadata",
    "checkpoints/0/4/arrays/d/0a89c86268611ae2",
    "checkpoints/0/rejected-2/arrays/manifest.ocdbt",
    "checkpoints/0/5.orbax-checkpoint-tmp-17/arrays/manifest.ocdbt",
    "checkpoints/kept/1/2/about/metadata",
    "events/bp/seed_0/events.out.tfevents.1.host",
    "events/events.out.tfevents.1.host",
    "events/bp/seed_0.wandb-id",
    "events/wandb/offline-run-1/run.wandb",
)
MINE = (
    "notes.txt",
    "bp/notes.txt",
    "bp/seed_0/notes.txt",
    "bp/seed_of_doubt/history.npz",
    "bp2/history.npz",
    "figures/mine.png",
    "figures/performance.svg",
    "figures/inner/performance.png",
    "checkpoints/notes.txt",
    "checkpoints/0/notes.txt",
    "checkpoints/0/about/metadata",
    "events/notes.txt",
    "events/bp/seed_0/notes.txt",
    "other/config.yaml",
    "config.yaml.old",
)


def fill(folder: pathlib.Path, names) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


def files(folder: pathlib.Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def test_only_what_runs_write_is_deleted(tmp_path):
    fill(tmp_path, (*WRITTEN, *MINE, "checkpoints/0/4/notes.txt"))
    clear(tmp_path, {"replacement"})
    left = files(tmp_path)
    assert set(MINE) <= left
    # It has another name, because a folder `4` would be taken for a checkpoint.
    (moved,) = left - set(MINE)
    assert moved.startswith("checkpoints/0/other-")
    assert moved.endswith("-4/notes.txt")
    assert not (tmp_path / "checkpoints" / "kept").exists()


def test_overwrite_replaces_nothing_behind_links(tmp_path):
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    for link in ("bp", "bp/seed_0", "checkpoints", "checkpoints/0"):
        fill(elsewhere, ["seed_0/history.npz"])
        fill(out, [MARKER])
        (out / link).parent.mkdir(exist_ok=True)
        (out / link).symlink_to(elsewhere)
        with pytest.raises(studies.SettingsError, match=f"{link}' is a symbolic link.*delete the"):
            check_folder(out, {}, {}, "overwrite")
        clear(out, set())  # even so
        assert files(elsewhere) == {"seed_0/history.npz"}
        shutil.rmtree(out)


def test_modes_are_checked(tmp_path, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as for users
    with pytest.raises(studies.SettingsError, match="'Resume' does not exist.*mean 'resume'"):
        check_folder(tmp_path, {}, {}, "Resume")  # pyright: ignore[reportArgumentType]


def test_figures_have_known_names(tmp_path):
    """Those that are drawn whatever was recorded are deleted with their run."""
    doc = draw_figures.__doc__ or ""
    for name in ("performance", "returns", "units", "overview", "normalised_epsilon_rank"):
        assert f"`{name}`" in doc
        fill(tmp_path, [f"figures/{name}.png"])
    clear(tmp_path, set())
    assert files(tmp_path) == set()


def test_one_precision_in_a_run(tmp_path, float64):
    """Also among its algorithms that have not begun, which have no checkpoint to be compared."""
    settings = {
        "seeds": 1,
        "stream": {"type": "a"},
        "model": {},
        "algorithms": {"bp": {"type": "bp"}},
        "probes": {},
    }
    with jax.enable_x64(False):
        recorded = {NUMERICS: numerics()}
    open_folder(tmp_path, settings, recorded, "new", figures=set())
    assert yaml.safe_load((tmp_path / CONFIG).read_text())["recorded"] == recorded
    for mode in ("resume", "extend"):
        with pytest.raises(studies.SettingsError, match="`jax_enable_x64` is True, .* with False"):
            check_folder(tmp_path, settings, recorded, mode)
    with jax.enable_x64(False):
        check_folder(tmp_path, settings, recorded, "resume")
        check_numerics({}, "an earlier version")
        with pytest.raises(studies.SettingsError, match="`jax_default_prng_impl` is 'threefry"):
            check_numerics({NUMERICS: numerics() | {"jax_default_prng_impl": "rbg"}}, "x")


def test_full_memory():
    for error in (MemoryError("no"), jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of")):
        with pytest.raises(studies.SettingsError, match="The run needs more memory than"):
            with within_memory("The run"):
                raise error
    with pytest.raises(jax.errors.JaxRuntimeError), within_memory("The run"):
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")


def send(number: int) -> None:
    """Send a signal to this process, and wait until its handler has run."""
    os.kill(os.getpid(), number)
    time.sleep(0)


def test_networks_that_do_not_fit(plain, untraced, tmp_path, monkeypatch, capsys):
    """Before anything is drawn or written: Linux would kill the process without a message."""
    monkeypatch.setattr(_memory, "free_bytes", lambda: 6 * (64 * 100 + 100 + 100 * 10 + 10) * 4)
    run = lambda width: main(
        ["run", str(plain), "--out", str(tmp_path / "out"), "--set", f"model.width={width}"]
    )
    assert run(10_000_000) == 2
    told = capsys.readouterr().err
    assert "The networks of bp, 2 seeds need at least 18 GB, but" in told
    assert not (tmp_path / "out").exists()
    check_memory(load_experiment(plain, assignments=["model.width=100"]))
    with pytest.raises(studies.SettingsError, match="lower the sizes of the network"):
        check_memory(load_experiment(plain, assignments=["model.width=101"]))


def test_signals():
    usual = signal.getsignal(signal.SIGTERM)
    with watch_signals() as stop:
        stop.check()
        send(signal.SIGTERM)  # noted
        with pytest.raises(Terminated) as end:
            stop.check()
        assert end.value.code == 143
        with pytest.raises(Terminated):
            send(signal.SIGTERM)  # the second ends at once
    assert signal.getsignal(signal.SIGTERM) is usual
    with watch_signals() as stop:
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):  # not lost if the first was swallowed
            stop.check()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize(
    ("number", "status", "message"),
    [(signal.SIGTERM, 143, "What was trained is saved"), (signal.SIGINT, 130, "Interrupted")],
)
def test_signals_during_a_run(
    number, status, message, plain, untraced, tmp_path, monkeypatch, capsys
):
    """The state is saved although the last save was recent. An interrupt that a callback swallows
    ends the run at the next save."""

    class Acting(AbstractMeter):
        def __init__(self, *, label: str):
            pass

        def update(self, done, total, history):
            if done == 1:
                with contextlib.suppress(KeyboardInterrupt):
                    send(number)

        def close(self):
            pass

    monkeypatch.setattr(_train_group, "ProgressBar", Acting)
    monkeypatch.setattr(_keeper, "TIME_FRACTION", 0.0)
    monkeypatch.setattr(_loop, "_SEGMENT_SECONDS", 0.0)
    out = tmp_path / "out"
    assert main(["run", str(plain), "--out", str(out)]) == status
    assert message in capsys.readouterr().err
    member = studies.load_results(out).members[0]
    assert (member.status, member.history.num_tasks) == ("unfinished", 2)
    assert np.isfinite(member.history["test_accuracy"]).all()


def test_faults_of_the_package_have_their_own_status(monkeypatch, capsys):
    def wrong(kind):
        raise ZeroDivisionError("why?\nmore")

    monkeypatch.setattr(studies, "known_parts", lambda kind: wrong(kind), raising=False)
    assert main(["list"]) == 70
    told = capsys.readouterr().err
    assert told.startswith("spectral list: ZeroDivisionError: why?. This is a fault")
    (path,) = [word for word in told.split() if word.endswith(".txt")]
    assert "in wrong" in pathlib.Path(path).read_text()
    pathlib.Path(path).unlink()

    def full(given):
        raise MemoryError("unable to allocate")

    monkeypatch.setattr(_main, "_list", full)
    assert main(["list"]) == 2
    assert "The memory is full (unable to allocate)" in capsys.readouterr().err


def test_reports_replace_only_reports(tmp_path, capsys):
    precious = tmp_path / "thesis.html"
    precious.write_text("<title>thesis</title>")
    assert main(["report", str(tmp_path / "none"), "--out", str(precious)]) == 2
    assert "thesis.html', which exists and is not a report" in capsys.readouterr().err
    assert precious.read_text() == "<title>thesis</title>"
    page = pathlib.Path(studies.__file__).parent / "report" / "_report.html"
    shutil.copy(page, precious)
    assert main(["report", str(tmp_path / "none"), "--out", str(precious)]) == 2
    assert "does not hold a run" in capsys.readouterr().err  # it may be replaced
