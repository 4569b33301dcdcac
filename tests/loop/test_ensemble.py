"""Ensembles: each member has the numbers of a single run, also when another member diverges."""

import os
import pathlib
import subprocess
import sys
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from networks import drawn
from tables import ALGORITHMS, permuted, STREAMS
from watching import DrawingProbe, StopAfter, StoppedError, Traces

from spectral import _programs, algorithms, Ensemble, models, train_continual
from spectral._check_parts import check_parts
from spectral._ensemble import labels_of, spread
from spectral.curvature import Lanczos
from spectral.probes import HessianSpectrum
from spectral.recording import OrbaxCheckpointer


KEYS = jax.random.split(jax.random.key(3), 3)
RATES = (0.05, 0.01, 0.02)
PROBES = {"a": DrawingProbe(every=2)}


def arrays(tree):
    return jax.tree.leaves(eqx.filter(tree, eqx.is_array))


def assert_same(a, b):
    for x, y in zip(arrays(a), arrays(b), strict=True):
        np.testing.assert_array_equal(x, y)


def seeds_and_rates(algorithm, stream):
    """A setting, and networks and algorithms that differ in weights and learning rates."""
    setting = STREAMS[stream]()
    fresh = lambda key: drawn(lambda key: setting.model.fresh(key=key), key)
    own = [fresh(k) if stream != "growing_classes" else setting.model for k in KEYS]
    algos = [ALGORITHMS[algorithm](lr) for lr in RATES]
    return setting, own, algos


def together(setting, own, algos, **options: Any):
    options = {"probes": PROBES, "model_state": setting.model_state} | options
    nets, algos = Ensemble.of(own), Ensemble.of(algos)
    return train_continual(nets, setting.stream, algos, key=Ensemble(KEYS), **options)


def assert_as_single_runs(setting, own, algos, learners, history):
    for i in range(len(own)):
        learner, single = train_continual(
            own[i],
            setting.stream,
            algos[i],
            key=KEYS[i],
            model_state=setting.model_state,
            probes=PROBES,
        )
        assert_same(learner, learners[i])
        for name in single:
            np.testing.assert_array_equal(single[name], history[name][:, i], err_msg=name)
    assert np.isnan(history["diverged_step"]).all()


TRACES = Traces(_programs.run_tasks)


@pytest.fixture(scope="module", autouse=True)
def count_traces():
    """Counts the traces of the training program. All tests of this file share the program."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_programs, "segment", eqx.filter_jit(spread(TRACES)))
        yield


PAIRS = [
    ("l2_er", "permuted_online"),
    pytest.param("cbp", "permuted_online", marks=pytest.mark.slow),
    pytest.param("l2_er", "point_mass", marks=pytest.mark.slow),
    pytest.param("rewriter", "growing_classes", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("algorithm", "stream"), PAIRS)
def test_a_member_equals_a_single_run(algorithm, stream):
    setting, own, algos = seeds_and_rates(algorithm, stream)
    learners, history = together(setting, own, algos)
    assert len(learners) == 3
    assert history["loss"].shape == (3, 3, setting.stream.chunks_per_task)
    assert history["a.start.noise"].shape == (3, 3)
    assert_as_single_runs(setting, own, algos, learners, history)


def _on_devices() -> None:
    """In another process with two host devices: three members on two devices."""
    assert len(jax.devices()) == 2
    setting, own, algos = seeds_and_rates("l2_er", "permuted_online")
    learners, history = together(setting, own, algos, segment_tasks=2)
    assert len(arrays(learners)[0].devices()) == 2
    assert_as_single_runs(setting, own, algos, learners, history)
    # A batch of tridiagonal matrices in LAPACK would block two devices that share a thread pool.
    hessian = HessianSpectrum(num_examples=20, estimator=Lanczos(order=4, num_vectors=3))
    _, history = together(setting, own, algos, probes={"hessian": hessian})
    assert np.isfinite(history["hessian.start.nodes"]).all()


def _traced_on_devices() -> None:
    """In another process with two host devices: the programs of an ensemble are traced."""
    assert len(jax.devices()) == 2
    setting = permuted()
    algos = Ensemble.of([algorithms.l2_er(lr, er_period=4) for lr in (0.05, 0.01)])
    check_parts(setting.model, setting.stream, algos)


@pytest.mark.parametrize(
    "work", ["_traced_on_devices", pytest.param("_on_devices", marks=pytest.mark.slow)]
)
def test_members_are_spread_over_host_devices(work):
    here = pathlib.Path(__file__)
    cache = str(here.parents[2] / ".cache" / "jax")
    settings = {"JAX_COMPILATION_CACHE_DIR": cache, "JAX_NUM_CPU_DEVICES": "2"}
    settings["PYTHONPATH"] = os.pathsep.join([str(here.parents[1]), *sys.path])
    code = f"import test_ensemble; test_ensemble.{work}()"
    environment = os.environ | settings | {"JAX_PLATFORMS": "cpu"}
    program = [sys.executable, "-c", code]
    subprocess.run(program, cwd=here.parent, check=True, env=environment, timeout=600)


def watched(algo, **options: Any):
    setting, options = permuted(), {"probes": {"a": DrawingProbe()}} | options
    return train_continual(setting.model, setting.stream, algo, **options)


@pytest.mark.slow
def test_members_share_plain_arguments():
    """Members may share a network or a key. Columns and learners keep their order."""
    before = TRACES.count
    algos = Ensemble.of([algorithms.bp(lr) for lr in (0.05, 0.01, 0.05)])
    _, history = watched(algos)
    assert TRACES.count == before + 1
    loss = history["loss"]
    np.testing.assert_array_equal(loss[:, 0], loss[:, 2])
    assert (loss[:, 0] != loss[:, 1]).all()
    learners, history = watched(algorithms.bp(0.05), key=Ensemble(KEYS), probes={})
    assert len({float(x) for x in history["loss"][0, :, 0]}) == 3
    assert len(learners) == 3


def test_a_member_that_diverges_leaves_the_others_untouched(tmp_path):
    """Its rows and its measurements become NaN, and the step is recorded. A resumed run agrees."""
    wild = Ensemble.of([algorithms.bp(lr) for lr in (0.05, 1e30, 0.02)])
    tame = Ensemble.of([algorithms.bp(lr) for lr in (0.05, 0.01, 0.02)])
    learners, history = watched(wild)
    others, untouched = watched(tame)
    for i in (0, 2):
        assert_same(learners[i], others[i])
        for name in untouched:
            np.testing.assert_array_equal(history[name][:, i], untouched[name][:, i], err_msg=name)
    assert np.isnan(history["test_accuracy"][:, 1]).all()
    assert np.isfinite(history["a.start.noise"][0, 1])
    assert np.isnan(history["a.end.noise"][:, 1]).all()
    assert np.isnan(history["a.start.noise"][1:, 1]).all()
    step = history["diverged_step"][:, 1]
    assert 0 < step[0] < 16
    assert (step == step[0]).all()
    assert (history["diverged_in_weights"][:, 1] == 0).all()
    assert np.isnan(history["diverged_step"][:, 0]).all()

    with pytest.raises(StoppedError):
        watched(wild, checkpointer=StopAfter(tmp_path, 2))
    resumed, again = watched(wild, checkpointer=OrbaxCheckpointer(tmp_path))
    assert_same(learners, resumed)
    for name in history:
        np.testing.assert_array_equal(history[name], again[name], err_msg=name)


def test_vmapped_members_agree_over_a_short_horizon(monkeypatch):
    """The layout for GPUs, tested on a CPU, agrees up to rounding."""
    setting, own, algos = seeds_and_rates("l2_er", "permuted_online")
    _, mapped = together(setting, own, algos)
    vmapping = []

    def vmapped_map(function, xs):
        vmapping.append(True)
        return jax.vmap(function)(xs)

    monkeypatch.setattr(jax.lax, "map", vmapped_map)
    vmapped_segment = eqx.filter_jit(lambda *a: spread(_programs.run_tasks)(*a))
    monkeypatch.setattr(_programs, "segment", vmapped_segment)
    _, vmapped = together(setting, own, algos)
    assert vmapping
    np.testing.assert_allclose(vmapped["loss"][0], mapped["loss"][0], rtol=1e-5)


def test_an_array_of_keys_is_rejected(monkeypatch):
    # The type checker of the tests would reject it first.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    setting = permuted()
    with pytest.raises(ValueError, match=r"`key` is an array of keys of shape \(3,\).*Ensemble"):
        train_continual(setting.model, setting.stream, algorithms.bp(), key=KEYS)


def test_members_that_do_not_fit_are_rejected():
    make = lambda width: lambda key: models.MLP(6, 3, width=width, depth=1, key=key)
    mlp = lambda width, key=KEYS[0]: drawn(make(width), key)
    with pytest.raises(ValueError, match=r"`members\[1\]` .* in `\['a'\]` \(float32\[3\] and f"):
        Ensemble.of([{"a": jnp.zeros(3)}, {"a": jnp.zeros(4)}])
    with pytest.raises(ValueError, match=r"`members\[1\]` .* a static field"):
        Ensemble.of([mlp(3), mlp(4)])
    with pytest.raises(ValueError, match=r"`members\[2\]` .* a static field"):
        Ensemble.of([algorithms.er(), algorithms.er(0.5), algorithms.er(er_period=50)])
    with pytest.raises(ValueError, match="`members` is empty"):
        Ensemble.of([])
    with pytest.raises(ValueError, match="the same leading axis over members"):
        Ensemble({"a": jnp.zeros((2, 3)), "b": jnp.zeros((3, 3))})
    with pytest.raises(ValueError, match="`stacked` is None, which has no arrays"):
        Ensemble(None)
    pair = Ensemble.of([mlp(3), mlp(3, KEYS[1])])
    assert_same(pair[1], mlp(3, KEYS[1]))
    assert_same(pair[-2], mlp(3))
    with pytest.raises(IndexError, match="no member 2 among 2"):
        pair[2]
    with pytest.raises(ValueError, match="ensembles of 2 and 3 members"):
        train_continual(pair, permuted().stream, algorithms.bp(), key=Ensemble(KEYS))
    algos = Ensemble.of([algorithms.er(0.05, er_period=3)])
    with pytest.raises(ValueError, match="period of 3 steps does not fit"):
        train_continual(permuted().model, permuted().stream, algos)


def test_labels_are_coordinates_and_not_part_of_the_program():
    rates = (0.05, 0.01)
    make = lambda labels: Ensemble.of([algorithms.bp(lr) for lr in rates], labels=labels)
    watched(make(None))
    before = TRACES.count
    _, plain = watched(make(None))
    learners, named = watched(make(["fast", "slow"]))
    _, mapped = watched(make([{"lr": lr, "kind": "sgd"} for lr in rates]))
    assert TRACES.count == before
    assert plain.members == {"member": (0, 1)}
    assert learners.labels == named.members == {"member": ("fast", "slow")}
    assert mapped.members == {"member": (0, 1), "lr": rates, "kind": ("sgd", "sgd")}
    loss = named.to_xarray()["loss"]
    assert loss.dims == ("task", "member", "chunk")
    np.testing.assert_array_equal(loss.sel(member="slow"), plain["loss"][:, 1])
    frame = mapped.to_dataframe()
    assert frame.shape[0] == 6
    slow = frame[frame["lr"] == 0.01]
    np.testing.assert_array_equal(slow["test_accuracy"], plain["test_accuracy"][:, 1])


def test_labels_survive_a_checkpoint(tmp_path):
    algos = [algorithms.bp(lr) for lr in (0.05, 0.01)]
    with pytest.raises(StoppedError):
        watched(Ensemble.of(algos), checkpointer=StopAfter(tmp_path, 2))
    labelled = Ensemble.of(algos, labels=["fast", "slow"])
    _, history = watched(labelled, checkpointer=OrbaxCheckpointer(tmp_path))
    assert history.members == {"member": ("fast", "slow")}
    assert history["loss"].shape[:2] == (3, 2)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["a"], "must have one label for each of the 2 members"),
        ("ab", "must have one label for each of the 2 members"),
        (["a", "a"], r"names \['a', 'a'\], but all must differ"),
        ([{"lr": 1}, {"b": 1}], r"`labels\[1\]` has the names \['b'\]"),
        ([{}, {}], r"`labels\[0\]` has the names \[\]"),
        ([{"task": 1}, {"task": 2}], "'task', which is an axis"),
        ([{"lr": [1, 2]}, {"lr": 2}], r"'lr' = \[1, 2\], but a coordinate must be a number"),
    ],
)
def test_bad_labels(labels, message):
    with pytest.raises(ValueError, match=message):
        Ensemble.of([jnp.zeros(2)] * 2, labels=labels)


def test_labels_of_two_ensembles_must_agree():
    one = Ensemble.of([jnp.zeros(2)] * 2, labels=[{"lr": jnp.asarray(1)}, {"lr": 2}])
    other = Ensemble.of([jnp.ones(2)] * 2, labels=[{"width": 3}, {"width": np.int64(4)}])
    assert labels_of(one, 3, other) == {"member": (0, 1), "lr": (1, 2), "width": (3, 4)}
    assert labels_of(3) == {}
    wrong = Ensemble.of([jnp.ones(2)] * 2, labels=[{"lr": 3}, {"lr": 4}])
    with pytest.raises(ValueError, match=r"'lr' twice, \(1, 2\) and \(3, 4\)"):
        labels_of(one, wrong)
