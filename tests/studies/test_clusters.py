"""Groups that workers train: the numbers of this process, lost workers, and what workers lack.

The cluster is a fake whose workers are calls in this process. `test_ray.py` and `test_slurm.py`
have real ones.
"""

import importlib
import os
import pickle
import socket
import sys
import types
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
import pytest
from fake_cluster import FakeCluster, FakePool

from spectral import algorithms, models, studies, tasks
from spectral._recorders import AbstractMeter
from spectral.studies import (
    load_experiment,
    RayCluster,
    run_experiment,
    SettingsError,
    SlurmCluster,
    ThisProcess,
)
from spectral.studies.command_line._cluster_options import cluster_of
from spectral.studies.command_line._parser import parser
from spectral.studies.runs.cluster import _ray, _software, _supervise, _worker
from spectral.studies.runs.cluster._entry import entry
from spectral.studies.runs.cluster._group_lock import is_trained, sole_trainer
from spectral.studies.runs.cluster._pool import LostWorkerError
from spectral.studies.runs.protection._clear import clear


class Dies(AbstractMeter):
    """Ends the worker after two tasks, the first time."""

    def __init__(self, folder, *, names):
        self._once = folder / "cluster" / "token-d1ed"

    def update(self, done, total, history):
        if done >= 2 and not self._once.exists():
            self._once.touch()
            raise SystemExit(3)


def lose(*_):
    raise LostWorkerError("its machine is gone")


def lose_if_it_ends(wanted, payload):
    try:
        return entry()(wanted, payload)
    except SystemExit as error:
        raise LostWorkerError("its machine is gone") from error


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(_supervise, "_BETWEEN_LOOKS", 0.01)
    monkeypatch.setattr(_worker, "_PATIENCE", 0.0)


def histories(folder):
    return {(m.algorithm, m.seed): dict(m.history) for m in studies.load_results(folder).members}


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name, columns in one.items():
        for column, values in columns.items():
            np.testing.assert_array_equal(values, other[name][column], err_msg=column)


@pytest.mark.slow
def test_workers_compute_the_numbers_of_this_process(plain, tmp_path, quick):
    """The worker is lost in mid-run. Another one continues from the checkpoint."""
    here, there = tmp_path / "here", tmp_path / "there"
    experiment = load_experiment(plain)
    run_experiment(experiment, here, keep_every=1)
    pool = FakePool(lose_if_it_ends)
    told = (
        r"The worker of bp, 2 seeds was lost \(its machine is gone\). Another one continues after"
    )
    with pytest.warns(UserWarning, match=told + r" [12] of 4 tasks \(retry 1 of 1\)"):
        results = run_experiment(
            experiment, there, keep_every=1, loggers=[Dies], cluster=FakeCluster(pool)
        )
    assert [m.status for m in results.members] == ["finished"] * 2
    assert len(pool.jobs) == 2
    assert_same(histories(here), histories(there))
    assert [path.name for path in (there / "cluster").glob("token-*")] == ["token-d1ed"]  # of Dies
    # A folder without anything left needs no worker.
    run_experiment(experiment, there, mode="resume", cluster=FakeCluster(FakePool(lose)))
    clear(there, set())
    assert [path.name for path in there.iterdir()] == [".spectral-run"]


@pytest.fixture
def run(plain, untraced, tmp_path, quick):
    """A function that runs two groups on a fake cluster, whose workers train nothing."""
    experiment = load_experiment(plain)

    def run(*fates, retries=1, gpus=0, mode: Any = "new", **options):
        pool = FakePool(*fates, gpus=gpus)
        cluster = FakeCluster(pool, retries)
        run_experiment(
            experiment, tmp_path / "out", apart=True, mode=mode, cluster=cluster, **options
        )
        return pool

    return run


def ended(*_):
    return {"kind": "ended"}


def test_a_group_that_only_loses_workers(run):
    with pytest.warns(UserWarning, match=r"after 0 of 4 tasks \(retry [12] of 2\)") as warned:
        with pytest.raises(
            SettingsError, match="bp, seed 0 lost its worker 3 times in a"
        ) as raised:
            run(lose, ended, lose, lose, retries=2)
    assert len(warned) == 2
    assert "its machine is gone. What was trained is kept: continue with" in str(raised.value)


def test_a_worker_that_makes_progress_may_be_lost_often(run, monkeypatch):
    counts = iter([1, 2, 3])
    monkeypatch.setattr(_supervise.SavedTasks, "of", lambda *_: next(counts))
    monkeypatch.setattr(_supervise.SavedTasks, "show", lambda *_: None)
    with pytest.warns(UserWarning, match="retry 1 of 1"):
        assert len(run(lose, ended, lose, lose, ended).jobs) == 5


def test_the_others_continue_when_a_group_fails(run):
    failed = lambda *_: {"kind": "failed", "message": "On host: the disk is full.", "warnings": ()}
    with pytest.raises(SettingsError, match="bp, seed 0 failed. On host: the disk is full. What"):
        run(failed, ended)
    fault = lambda *_: {"kind": "fault", "message": "On host: Traceback", "warnings": ("Odd.",)}
    with pytest.warns(UserWarning, match="bp, seed [01]: Odd."):
        with pytest.raises(RuntimeError, match="seed 0 failed. On host: Traceback So did 1 others"):
            run(fault, fault, mode="resume")


def test_a_worker_that_cannot_train_ends_the_run(plain, untraced, tmp_path):
    """The other group is cancelled."""
    pool = FakePool(lambda *_: {"kind": "rejected", "message": "The worker on host has no GPU."})
    with pytest.raises(SettingsError, match="The worker on host has no GPU. What was trained is"):
        run_experiment(
            load_experiment(plain), tmp_path / "out", apart=True, cluster=FakeCluster(pool)
        )
    assert pool.cancelled == [1]


def test_groups_that_others_train_are_waited_for(run, tmp_path):
    """As after a kill of the process that started their workers."""
    lock = tmp_path / "out" / "cluster" / "0.lock"
    held = sole_trainer(lock, seconds=0)
    assert held.__enter__()
    assert is_trained(lock)
    with sole_trainer(lock, seconds=0) as alone:
        assert not alone

    def release(*_):
        held.__exit__(None, None, None)
        return {"kind": "ended"}

    groups = []

    def note(wanted, payload):
        groups.append(pickle.loads(payload).group.index)
        return {"kind": "ended"}

    (tmp_path / "out" / ".spectral-run").touch()
    told = rf"seed 0 is still trained by another process \(host and id: \S+ {os.getpid()}\)"
    with pytest.warns(UserWarning, match=told):
        run(release, note, mode="resume")
    assert groups == [0]
    assert not is_trained(lock)


def job_of(run):
    """The packed job of the first group, and the software that is wanted."""
    jobs = []
    run(lambda *job: jobs.append(job) or ended(), ended)
    return jobs[0]


@pytest.fixture
def job(run):
    """A packed job, whose token has been written again."""
    wanted, payload = job_of(run)
    pickle.loads(payload).token.touch()
    return wanted, payload


def test_a_worker_without_the_package(job, monkeypatch):
    def absent(name):
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(importlib, "import_module", absent)
    outcome = entry()(*job)
    assert outcome["kind"] == "rejected"
    assert "cannot import the package (ModuleNotFoundError: No mod" in outcome["message"]
    assert "install spectral-plasticity there" in outcome["message"]


def test_a_worker_of_another_version(job, monkeypatch):
    wanted, payload = job
    for name, message in [
        ("jax", "has jax 0.0.1, but this process has"),
        ("source of spectral", "has source of spectral 0.0.1, but this process has"),
    ]:
        other = _software.software() | {name: "0.0.1"}
        monkeypatch.setattr(_worker, "software", lambda other=other: other)
        # It must not be unpacked by another version.
        outcome = _worker.work(wanted, b"")
        assert outcome["kind"] == "rejected"
        assert message in outcome["message"]
        assert "install the same packages there" in outcome["message"]


def test_a_worker_that_makes_other_settings(job, monkeypatch):
    wanted, payload = job
    changed = pickle.loads(payload)
    changed.settings["algorithms"]["bp"]["lr"] = 1
    make = _worker.make_experiment
    monkeypatch.setattr(_worker, "make_experiment", lambda _: make(pickle.loads(payload).settings))
    outcome = _worker.work(wanted, pickle.dumps(changed))
    assert outcome["kind"] == "rejected"
    assert "another experiment of the settings (`algorithms.bp.lr` was 1" in outcome["message"]


def test_a_worker_with_another_folder(job):
    wanted, payload = job
    pickle.loads(payload).token.unlink()
    outcome = _worker.work(wanted, payload)
    assert outcome["kind"] == "rejected"
    assert "does not see the files of" in outcome["message"]
    assert "a folder that all machines have under one path" in outcome["message"]


def test_a_worker_without_a_gpu(run):
    jobs = []
    run(lambda *given: jobs.append(given) or ended(), ended, gpus=1)
    wanted, payload = jobs[0]
    pickle.loads(payload).token.touch()
    if jax.default_backend() != "gpu":
        outcome = _worker.work(wanted, payload)
        assert outcome["kind"] == "rejected"
        assert "has no GPU that JAX can use" in outcome["message"]


def test_what_a_worker_reports(job, monkeypatch):
    """Errors that name what has to be changed, and others with their traceback."""
    wanted, payload = job
    given = pickle.loads(payload)
    trained = []
    monkeypatch.setattr(_worker, "train_group", lambda *what: trained.append(what))
    assert _worker.work(wanted, payload) == {"kind": "ended", "message": "", "warnings": ()}
    ((work, group),) = trained
    assert (work.folder, group.names) == (given.folder, (("bp", 0),))
    assert work.experiment.settings == given.settings
    with sole_trainer(given.token.parent / "0.lock", seconds=0):
        monkeypatch.setattr(_worker, "_PATIENCE", 0.0)
        assert _worker.work(wanted, payload)["kind"] == "busy"
    for error, kind, message in [
        (OSError(28, "No space left on device"), "failed", "free some space and continue"),
        (SettingsError("Prepare it."), "failed", ": Prepare it."),
        (MemoryError("all of it"), "failed", "needs more memory than this machine has"),
        (KeyError("odd"), "fault", "KeyError: 'odd'"),
        (_worker.Terminated(), "lost", "it was ended by SIGTERM"),
    ]:

        def fail(*_, error=error):
            raise error

        monkeypatch.setattr(_worker, "train_group", fail)
        outcome = _worker.work(wanted, payload)
        assert outcome["kind"] == kind
        assert message in outcome["message"]


def test_loggers_that_cannot_travel(run, tmp_path):
    class Local(Dies):
        pass

    run(ended, ended)
    with pytest.raises(SettingsError, match="`loggers` are .*pass functions or classes of a mod"):
        run(loggers=[Local], mode="overwrite")
    assert (tmp_path / "out" / "config.yaml").exists()  # the run before is still there


def test_parts_made_in_python_stay_here(untraced):
    experiment = studies.experiment_of(
        stream=tasks.PermutedLabels(tasks.load_images("digits"), num_tasks=1),
        model=lambda *, key: models.MLP(64, 10, width=2, key=key),
        algorithms={"bp": algorithms.bp(0.1)},
    )
    for cluster in (RayCluster(), SlurmCluster(local=True)):
        with pytest.raises(SettingsError, match="were made in Python.*describe them in a YAML"):
            with cluster.open(experiment, ()):
                pass


def test_extras_that_are_absent(plain, untraced, monkeypatch):
    for name, cluster in (("ray", RayCluster()), ("submitit", SlurmCluster(local=True))):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(SettingsError, match=f"{name} is not installed.*plasticity.cluster"):
            with cluster.open(load_experiment(plain), ()):
                pass


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:1", "'127.0.0.1:1', but no Ray cluster answers there .*Errno"),
        ("127.0.0.1:99999", "no Ray cluster answers there"),
        ("nowhere", "'nowhere', but must be the host and the port of a Ray cluster"),
    ],
)
def test_an_address_where_nothing_answers(address, message):
    with pytest.raises(SettingsError, match=message):
        with _ray._connected(types.SimpleNamespace(is_initialized=lambda: False), address):
            pass


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n", b"", None])
def test_an_address_where_another_program_answers(answer, monkeypatch):
    """Ray itself would try for minutes. None: the program says nothing."""
    monkeypatch.setattr(_ray, "_ANSWER_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as thread:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        checked = thread.submit(_ray._check_answer, address)
        connection, _ = server.accept()
        with connection:
            if answer is not None:
                connection.sendall(answer)
                connection.close()
            with pytest.raises(SettingsError, match=f"'{address}', but no Ray cluster answers"):
                checked.result()


@pytest.mark.parametrize(
    ("options", "cluster"),
    [
        ([], ThisProcess()),
        (["--cluster", "ray"], RayCluster()),
        (
            "--cluster ray --address a:1 --cpus 2 --gpus 1 --retries 0".split(),
            RayCluster(address="a:1", cpus=2, gpus=1, retries=0),
        ),
        (
            "--cluster slurm --minutes 5 --slurm partition=gpu --slurm account=me".split(),
            SlurmCluster(minutes=5, options={"partition": "gpu", "account": "me"}),
        ),
    ],
)
def test_options(options, cluster):
    for command in ("run", "sweep"):
        assert cluster_of(parser().parse_args([command, "x.yaml", *options])) == cluster


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--cpus", "2"], "`--cpus` is 2, but is an option of --cluster ray and --cluster slurm"),
        ("--cluster ray --minutes 3".split(), "is an option of --cluster slurm: add it, or leave"),
        ("--cluster ray --cpus 0".split(), "`cpus` is 0, but must be an integer of at least 1"),
        ("--cluster slurm --slurm gpu".split(), "`--slurm` is 'gpu', but must be NAME=VALUE"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(SettingsError, match=message):
        cluster_of(parser().parse_args(["sweep", "x.yaml", *options]))


def test_a_job_that_still_trains_keeps_its_group(plain, untraced, run, tmp_path):
    """Such as one of Slurm whose starter was killed."""
    run(ended, ended)
    out, experiment = tmp_path / "out", load_experiment(plain)
    with sole_trainer(out / "cluster" / "0.lock", seconds=0):
        with pytest.raises(SettingsError, match="seed 0 is still trained by a job of a cluster"):
            run_experiment(experiment, out, mode="resume")
        for command in (run_experiment, studies.dry_run):
            with pytest.raises(SettingsError, match="has jobs of a cluster that still train"):
                command(experiment, out, mode="overwrite")
    assert (out / "config.yaml").exists()


def test_options_of_slurm_that_are_numbers():
    options = dict(SlurmCluster(options={"array_parallelism": "16", "qos": "long"}).options)
    assert options == {"array_parallelism": 16, "qos": "long"}
    with pytest.raises(ValueError, match="'array_parallelism' as 'many', but it must be a whole"):
        SlurmCluster(options={"array_parallelism": "many"})
