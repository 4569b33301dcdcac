"""The laws of the loop, over the tables of algorithms and streams."""

import collections
import functools
import inspect
import os
import pathlib
import subprocess
import sys
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tables import ALGORITHMS, PAIRS, permuted, Setting, STREAMS
from watching import (
    CallMeter,
    CountSteps,
    DrawingProbe,
    KeyRecorder,
    Poison,
    PythonCounter,
    RecordingStream,
    StopAfter,
    StoppedError,
    Traces,
)

import spectral._loop as loop
from spectral import (
    _check_parts,
    _measuring,
    _programs,
    algorithms,
    Diverged,
    History,
    Learner,
    Optimiser,
    probes,
    train_continual,
    train_tasks,
)
from spectral._core import begin_task, run_tasks, start_run
from spectral._ensemble import spread
from spectral.algorithms import Periodic
from spectral.recording import OrbaxCheckpointer


KEY = jax.random.key(7)
PROBES = {"first": DrawingProbe(), "second": DrawingProbe(every=2, when=("end",))}


def train(setting: Setting, algo, **options):
    options = {"key": KEY, "model_state": setting.model_state} | options
    return train_continual(setting.model, setting.stream, algo, **options)


class Reference(NamedTuple):
    """A run in a single segment, without probes."""

    setting: Setting
    learner: Learner
    history: History
    traces: int


TRACES = Traces(_programs.run_tasks)


@functools.cache
def reference(algorithm: str, stream: str) -> Reference:
    setting, before = STREAMS[stream](), TRACES.count
    learner, history = train(setting, ALGORITHMS[algorithm](0.05))
    return Reference(setting, learner, history, TRACES.count - before)


@pytest.fixture(scope="module", autouse=True)
def count_traces():
    """Counts the traces of the training program. All tests of this file share the program."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_programs, "segment", eqx.filter_jit(spread(TRACES)))
        yield


def assert_same_weights(a, b):
    leaves = lambda learner: jax.tree.leaves(eqx.filter(learner, eqx.is_array))
    for x, y in zip(leaves(a), leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


def assert_same_history(a: History, b: History):
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


@pytest.mark.parametrize(("algorithm", "stream"), PAIRS)
def test_probes_change_nothing_and_numbers_do_not_retrace(algorithm, stream):
    """A run is traced once. Probes divide it into segments of one task, and do not change a bit of
    the weights and the history. Another learning rate, key or probe traces nothing."""
    setting, learner, history, traces = reference(algorithm, stream)
    assert traces == 1
    before = jax.tree.leaves(eqx.filter(setting.model, eqx.is_array))
    after = jax.tree.leaves(eqx.filter(learner.model, eqx.is_array))
    moved = [not np.array_equal(a, b) for a, b in zip(before, after, strict=True)]
    # A bias ahead of BatchNorm has no gradient.
    assert len(moved) - sum(moved) <= (stream == "growing_classes")
    known = [column for name, column in history.items() if not name.endswith(".on_since")]
    assert all(np.isfinite(column).all() for column in known)
    assert history["loss"].shape == (3, setting.stream.chunks_per_task)

    traced = TRACES.count
    probed, measured = train(setting, ALGORITHMS[algorithm](0.05), probes=PROBES)
    assert_same_weights(learner, probed)
    assert_same_history(history, measured)
    assert np.isfinite(measured["first.start.noise"]).all()
    assert np.isnan(measured["second.end.noise"]).tolist() == [False, True, False]
    train(setting, ALGORITHMS[algorithm](jnp.asarray(0.02)), key=jax.random.key(8))
    assert TRACES.count == traced


def quick_only(*ids: str) -> list:
    """All pairs, of which only these are quick."""
    mark = lambda p: () if p.id in ids else pytest.mark.slow
    return [pytest.param(*p.values, id=p.id, marks=mark(p)) for p in PAIRS]


@pytest.mark.parametrize(("algorithm", "stream"), quick_only("l2_er-permuted_online"))
def test_the_length_of_segments_changes_nothing(algorithm, stream):
    setting, learner, history, _ = reference(algorithm, stream)
    single, pieces = train(setting, ALGORITHMS[algorithm](0.05), segment_tasks=2)
    assert_same_weights(learner, single)
    assert_same_history(history, pieces)


def test_algorithms_share_the_programs_of_probes(monkeypatch):
    """A measurement depends on the learner and the stream, not on the algorithm."""
    counted = Traces(_measuring._measured)
    monkeypatch.setattr(_measuring, "_measurement", eqx.filter_jit(spread(counted)))
    watch = {"weights": probes.WeightNorm(when=("start",))}
    for name in ("bp", "l2_er"):
        train(reference(name, "permuted_online").setting, ALGORITHMS[name](0.05), probes=watch)
    assert counted.count == 1


def test_probes_do_not_change_each_other():
    setting, algo = permuted(), algorithms.bp(0.05)
    _, alone = train(setting, algo, probes={"a": DrawingProbe()})
    _, beside = train(setting, algo, probes={"b": DrawingProbe(), "a": DrawingProbe()})
    assert_same_history(alone, beside)
    assert not np.array_equal(beside["a.start.noise"], beside["b.start.noise"])
    for when in ("start", "end"):
        np.testing.assert_array_equal(beside[f"a.{when}.data"], beside[f"b.{when}.data"])
    assert not np.array_equal(beside["a.start.data"], beside["a.end.data"])
    draws = np.concatenate([beside[f"{n}.{w}.noise"] for n in "ab" for w in ("start", "end")])
    assert len(set(draws.tolist())) == draws.size


# A penalty and a transform; BatchNorm, and units rewritten under Adam.
RESUMED = ("l2_er-permuted_online", "rewriter-growing_classes")


def _part(folder: str, ids: list[str]) -> None:
    """In another process: run the first two tasks of these pairs, and leave checkpoints."""
    for pair in PAIRS:
        if pair.id not in ids:
            continue
        algorithm, stream = pair.values
        setting = STREAMS[stream]()
        stop = StopAfter(pathlib.Path(folder) / str(pair.id), 2)
        try:
            train(setting, ALGORITHMS[algorithm](0.05), probes=PROBES, checkpointer=stop)
        except StoppedError:
            jax.clear_caches()
            continue
        raise AssertionError("The run was not stopped.")


# A process for each pair would spend most of its time on imports. One for all pairs would run for
# half an hour, although a time limit may skip most of their tests.
PAIRS_OF_A_PROCESS = 6


@pytest.fixture(scope="module")
def stopped(request, tmp_path_factory):
    """A function that returns the folder of checkpoints of a pair, made by another process for this
    pair and the next ones that the selected tests need."""
    folder = tmp_path_factory.mktemp("checkpoints")
    here = pathlib.Path(__file__)
    cache = here.parents[2] / ".cache" / "jax"
    wanted = [item.callspec.id for item in request.session.items if "stopped" in item.fixturenames]

    def of(pair: str) -> pathlib.Path:
        if not (folder / pair).exists():
            ids = wanted[wanted.index(pair) :][:PAIRS_OF_A_PROCESS]
            code = f"import test_laws; test_laws._part({str(folder)!r}, {ids!r})"
            settings = {"JAX_COMPILATION_CACHE_DIR": str(cache), "JAX_PLATFORMS": "cpu"}
            settings["PYTHONPATH"] = os.pathsep.join(sys.path)
            subprocess.run(
                [sys.executable, "-c", code], cwd=here.parent, check=True, env=os.environ | settings
            )
        return folder / pair

    return of


@pytest.mark.parametrize(("algorithm", "stream"), quick_only(*RESUMED))
def test_resume_in_another_process(algorithm, stream, stopped):
    setting, learner, history, _ = reference(algorithm, stream)
    begun_at = []
    meter = CallMeter(lambda done, total, history: begun_at.append(done))
    resumed, whole = train(
        setting,
        ALGORITHMS[algorithm](0.05),
        probes=PROBES,
        checkpointer=OrbaxCheckpointer(stopped(f"{algorithm}-{stream}")),
        meter=meter,
    )
    assert begun_at[0] == 2
    assert_same_weights(learner, resumed)
    assert_same_history(history, whole)
    _, measured = train(setting, ALGORITHMS[algorithm](0.05), probes=PROBES)
    assert_same_history(measured, whole)


def test_a_checkpoint_of_another_configuration_is_rejected(tmp_path):
    setting, algo = reference("l2_er", "permuted_online").setting, ALGORITHMS["l2_er"](0.05)
    with pytest.raises(StoppedError):
        train(setting, algo, checkpointer=StopAfter(tmp_path, 1))
    keep = OrbaxCheckpointer(tmp_path)
    for options in ({"key": jax.random.key(9)}, {"probes": PROBES}):
        with pytest.raises(ValueError, match="another configuration: `(key|probes)"):
            train(setting, algo, checkpointer=keep, **options)
    other = algorithms.l2_er(0.05, er_period=4, weight_decay=2e-2)
    with pytest.raises(
        ValueError, match="weight_decay` was float32 0.0099.*, is now float32 0.0199"
    ):
        train(setting, other, checkpointer=keep)
    with pytest.raises(ValueError, match="`stream.minibatch_size` was 1, is now 2"):
        train(permuted(minibatch_size=2), algo, checkpointer=keep)


def test_no_key_is_used_twice():
    """All keys that streams, algorithms and probes receive in a run differ from each other, and
    from the keys that a user may derive from the key of the run.

    There is one exception. All probes of a boundary draw their examples with one key, so that
    their measurements can be compared. Their other keys differ.
    """
    setting, keys = permuted({"depth": 0}), []
    recorder = KeyRecorder(keys)
    stream = RecordingStream(setting.stream, recorder)
    algo = algorithms.Algorithm(
        algorithms.bp(0.05).optimiser, transforms=(recorder, Periodic(recorder, 2))
    )
    measured = {"a": DrawingProbe(note=recorder.note), "b": DrawingProbe(note=recorder.note)}
    train(setting._replace(stream=stream), algo, probes=measured)
    jax.effects_barrier()
    steps = 3 * 16
    expected = 1 + 2 + 3 * (1 + 2) + 3 * 2 + steps + steps + steps // 2 + 3
    common, own = 2 * 3, 2 * 2 * 3
    assert len(keys) == expected + 2 * common + own
    counts = collections.Counter(keys)
    assert sorted(counts.values()) == [1] * (expected + own) + [2] * common
    keys = list(counts)
    derived = [KEY, *jax.random.split(KEY, 16), *(jax.random.fold_in(KEY, i) for i in range(16))]
    keys += {tuple(np.asarray(jax.random.key_data(k)).tolist()) for k in derived}
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("where", ["begin_task", "update"])
def test_a_change_that_would_be_lost_is_rejected(where):
    algo = algorithms.Algorithm(algorithms.bp(0.05).optimiser, transforms=(PythonCounter(where),))
    with pytest.raises(TypeError, match=f"`PythonCounter.{where}` returned the value 1 at"):
        train(permuted(), algo)


def test_draws_depend_only_on_the_clock():
    """A longer stream has the same first tasks."""
    short, long = permuted(num_tasks=3), permuted(num_tasks=4)
    _, a = train(short, algorithms.bp(0.05), probes={"a": DrawingProbe()})
    _, b = train(long, algorithms.bp(0.05), probes={"a": DrawingProbe()}, segment_tasks=3)
    for name in a:
        np.testing.assert_array_equal(a[name], b[name][:3], err_msg=name)


def _conditionals(jaxpr) -> int:
    count = 0
    for equation in jaxpr.eqns:
        count += equation.primitive.name == "cond"
        for inner in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns")
        ):
            inner = getattr(inner, "jaxpr", inner)
            if hasattr(inner, "eqns"):
                count += _conditionals(inner)
    return count


@pytest.mark.parametrize(
    "stream",
    [
        "permuted_online",
        *(pytest.param(s, marks=pytest.mark.slow) for s in ("growing_classes", "replay")),
    ],
)
def test_a_branch_on_the_clock_survives_vmap(stream):
    setting = STREAMS[stream]()
    final_loss = losses_of("l2_er", setting)
    keys, rates = jax.random.split(KEY, 2), jnp.array([0.05, 0.01])
    solo = jax.make_jaxpr(final_loss)(KEY, 0.05)
    together = jax.make_jaxpr(jax.vmap(final_loss))(keys, rates)
    # One branch checks the data of a member that diverged; the members do so at different times.
    assert _conditionals(together.jaxpr) == _conditionals(solo.jaxpr) - 1 >= 2


@pytest.mark.parametrize(
    ("algorithm", "stream"),
    [
        ("bp", "permuted_online"),
        pytest.param("l2_er", "permuted_online", marks=pytest.mark.slow),
        pytest.param("l2_er", "growing_classes", marks=pytest.mark.slow),
    ],
)
def test_a_vmapped_member_agrees_with_a_single_run(algorithm, stream):
    setting = reference(algorithm, stream).setting
    final_loss = losses_of(algorithm, setting)
    keys, rates = jax.random.split(KEY, 2), jnp.array([0.05, 0.01])
    found = jax.jit(jax.vmap(final_loss))(keys, rates)
    for key, rate, losses in zip(keys, rates, found, strict=True):
        _, history = train(setting, ALGORITHMS[algorithm](rate), key=key)
        np.testing.assert_allclose(losses, history["loss"], rtol=1e-4)


def losses_of(algorithm: str, setting: Setting):
    def losses(key, lr):
        algo, state = ALGORITHMS[algorithm](lr), setting.model_state
        _, table = train_tasks(setting.model, setting.stream, algo, key=key, model_state=state)
        return table["loss"]

    return losses


def test_minibatches_not_in_use_are_skipped():
    """Chunks use 2, 4 and 6 of 8 minibatches, two chunks in each of three tasks. The other
    minibatches are not trained on, and neither metrics nor cadences count them."""
    setting = STREAMS["growing_classes"]()
    head = lambda m: (m.last.weight, m.last.bias)
    model = eqx.tree_at(head, setting.model, replace_fn=lambda x: 0 * x)
    periods = {2: 12, 4: 2 * (0 + 1 + 1), 8: 6, 16: 3}  # and how often each fires
    transforms = (CountSteps(), *(Periodic(CountSteps(), period) for period in periods))
    algo = algorithms.Algorithm(algorithms.bp(1e-6).optimiser, transforms=transforms)

    @jax.jit
    def whole_run():
        run = start_run(model, setting.model_state, setting.stream, algo, KEY)
        run = begin_task(run, setting.stream, algo, jnp.asarray(0), KEY)
        count = jnp.asarray(3)
        run, table = run_tasks(run, setting.stream, algo, jnp.asarray(0), count, 3, KEY)
        return run.algorithm.transforms, table["loss"]

    (counts, *cadences), losses = whole_run()
    last = 2 * 16 + 8 + 5  # slots of two tasks, of a chunk, and step 5 of the last chunk
    assert counts.tolist() == [3000 + 2 * (2 + 4 + 6), last]
    assert [int(c[0]) - 3000 for c in cadences] == list(periods.values())
    # With an output layer of zeros the loss among n classes is log n.
    expected = np.log([2, 4, 6])[:, None] * np.ones(2)
    np.testing.assert_allclose(losses, expected, rtol=1e-3)


def test_a_loss_that_is_not_finite_is_reported():
    setting = permuted()
    with pytest.raises(Diverged, match="The loss became non-finite in task 0") as report:
        train(setting, algorithms.bp(1e30), probes={"a": DrawingProbe()})
    error = report.value
    assert (error.task, error.what) == (0, "loss")
    assert 0 < error.step < 16
    assert np.isnan(error.history["test_accuracy"][0])
    assert np.isnan(error.history["online_accuracy"][0, 1])
    assert np.isfinite(error.history["a.start.noise"][0])


@pytest.mark.parametrize(("step", "what", "at"), [(31, "weights", 31), (20, "loss", 21)])
def test_a_weight_that_is_not_finite_is_reported(step, what, at):
    """The step is data: both cases are one program."""
    algo = algorithms.Algorithm(
        algorithms.bp(0.05).optimiser, transforms=(Poison(jnp.asarray(step)),)
    )
    with pytest.raises(Diverged) as report:
        train(permuted(), algo)
    error = report.value
    assert (error.task, error.step, error.what) == (1, at, what)
    assert np.isfinite(error.history["test_accuracy"][0])
    assert np.isnan(error.history["test_accuracy"][1:]).all()


def test_errors_come_before_compilation(monkeypatch):
    setting = permuted()
    monkeypatch.setattr(loop, "single_threaded_blas", lambda: pytest.fail("the run has begun"))
    with pytest.raises(ValueError, match="period of 3 steps does not fit a chunk of 8"):
        train(setting, algorithms.er(0.05, er_period=3))
    with pytest.raises(ValueError, match="`segment_tasks` is 0"):
        train(setting, algorithms.bp(0.05), segment_tasks=0)
    # Without the type checker of the tests, which rejects these first.
    check = inspect.unwrap(_check_parts.check_parts)
    with pytest.raises(TypeError, match="`algo` is .*, but must be of type Algorithm"):
        check(setting.model, setting.stream, algorithms.bp)
    with pytest.raises(TypeError, match="`probes` is .*, but must be of type Mapping"):
        check(setting.model, setting.stream, algorithms.bp(), probes=[DrawingProbe()])
    with pytest.raises(ValueError, match=r"`probes\['a'\].when` is \('begin',\)"):
        train(setting, algorithms.bp(0.05), probes={"a": DrawingProbe(when=("begin",))})
    with pytest.raises(ValueError, match="more than a 32-bit clock can count"):
        train(permuted(num_tasks=2**28), algorithms.bp(0.05))
    with pytest.raises(ValueError, match="`num_examples` is 43, but .* has 42 rows: choose at"):
        train(setting, algorithms.bp(0.05), probes={"dead": probes.DeadUnits(num_examples=43)})
    with pytest.raises(TypeError, match="must return `\\(outputs, taps\\)`"):
        train(setting._replace(model=eqx.nn.Linear(6, 3, key=KEY)), algorithms.bp(0.05))
    bad = Optimiser(_failing, learning_rate=0.1)
    with pytest.raises(TypeError, match="no learning rate"):
        train(setting, algorithms.Algorithm(bad))


def _failing(learning_rate):
    raise TypeError("no learning rate")
