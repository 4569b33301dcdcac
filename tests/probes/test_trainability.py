"""Branches: they leave the run alone, train as the loop does, and are compared with fresh twins."""

import functools
import logging
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from growing_classes import BatchNormNetwork
from networks import ByKey, drawn
from point_mass import point_mass
from signals import learner_of, numpy_map
from tables import moving_mass, own_data, tiny_rows
from watching import StopAfter, StoppedError

from spectral import algorithms, Ensemble, models, probes, studies, tasks, train_continual
from spectral._check_parts import check_parts
from spectral._core import Run
from spectral._divergence import Divergence
from spectral._keys import derive, Role
from spectral._measuring import run_probe
from spectral.probes._base._unanswered import _log
from spectral.recording import OrbaxCheckpointer


KEY = jax.random.key(3)
LR, SGD_LR, STEPS = 0.05, 0.2, 7  # 7 steps are one epoch of 4 and a part of the next
TASKS = 2


class FreshTasks(probes.AbstractBranchProbe):
    """Records the shifts of two fresh tasks, the rows of their minibatches, and the weights of
    their twins."""

    when: Any = eqx.field(static=True, default=("end",))
    every: int = eqx.field(static=True, default=1)

    def __call__(self, learner, stream, stream_state, *, train, boundary, key):
        def on_task(index):
            task_key = boundary.task_key(index)
            state = train.fresh_task(stream_state, key=task_key)
            rows = lambda chunk: (
                stream.collect(
                    state,
                    learner,
                    train.clock,
                    key=derive(task_key, Role.COLLECT, train.task, chunk),
                )[1].items.rows
            )
            twin = learner.model.fresh(key=derive(task_key, Role.BRANCH, 1)).layers[0].weight
            both = jnp.concatenate([rows(0), rows(1)])
            return {"shifts": state.change, "rows": both, "twin": twin}

        return {"now": stream_state.change} | jax.lax.map(on_task, jnp.arange(TASKS))


@functools.cache
def linear():
    """A linear map of 4 numbers to 2, on shifted inputs; its twins follow from a key."""
    stream = own_data(tasks.DriftingInputs, "numbers").stream
    make = lambda key: models.MLP(4, 2, width=3, depth=0, initialiser=ByKey(), key=key)
    return stream, drawn(make, KEY)


def momentum(lr):
    return algorithms.bp(algorithms.sgd(lr, momentum=0.9))


@functools.cache
def boundary():
    """The end of the last task of a run, with a momentum that is not zero."""
    stream, model = linear()
    state = eqx.filter_jit(lambda key: stream.init(key=key))(KEY)
    state = eqx.tree_at(lambda s: s.change, state, jnp.array([0.3, -0.2, 0.1, 0.5]))
    learner = learner_of(model, momentum(LR).optimiser)
    built = numpy_map(lambda x: x + 0.1, learner.optimiser.state)
    learner = eqx.tree_at(lambda r: r.optimiser.state, learner, built)
    return Run(learner, algorithms.AlgorithmState((), ()), state, Divergence.none())


def measured(probe, calibration=None):
    """What a probe measures there, as the loop calls it."""
    name, place = jnp.asarray(0, jnp.uint32), jnp.asarray([2, 1])
    at = (linear()[0], momentum(LR), KEY, name, place, None, calibration)
    return {k: np.asarray(v) for k, v in run_probe(probe, boundary(), *at).items()}


OPTIONS: Any = {"num_tasks": TASKS, "budget": STEPS, "num_twins": 1, "every": 2}


@functools.cache
def fresh_tasks():
    return measured(FreshTasks())


def inputs_and_labels():
    stream, _ = linear()
    inputs, labels = stream.source.data.part("train")
    transform = stream.source.inputs
    scaled = (np.asarray(inputs) - np.asarray(transform.shift)) / np.asarray(transform.scale)
    return scaled, np.asarray(labels)


def area_by_hand(index, weights, velocity, lr, decay):
    """The mean loss of the first steps of a linear map under SGD with momentum, in NumPy."""
    (weight, bias), losses = map(np.asarray, weights), []
    found, (inputs, labels) = fresh_tasks(), inputs_and_labels()
    for some in found["rows"][index][:STEPS].astype(int):
        seen = inputs[some] + found["shifts"][index]
        error = seen @ weight.T + bias - labels[some]
        losses.append(np.mean(error**2))
        slope = 2 * error / error.size
        grads = slope.T @ seen, slope.sum(0)
        velocity = [decay * v + g for v, g in zip(velocity, grads, strict=True)]
        weight, bias = weight - lr * velocity[0], bias - lr * velocity[1]
    return np.mean(losses)


@pytest.mark.parametrize("outcome", ["own", pytest.param("sgd", marks=pytest.mark.slow)])
def test_the_outcome_is_that_of_a_loop_by_hand(outcome):
    """The network and its twins train on the same tasks and minibatches. `own` has the momentum
    that the run has built up; plain SGD and the twins have none."""
    learner, zeros = boundary().learner, [np.zeros((2, 4)), np.zeros(2)]
    layer, built = learner.model.layers[0], jax.tree.leaves(learner.optimiser.state)
    built = [np.asarray(m) for m in built]
    assert [m.shape for m in built] == [(2, 4), (2,)]
    lr, decay = {"own": (LR, 0.9), "sgd": (SGD_LR, 0.0)}[outcome]
    areas = np.zeros(2)
    for i in range(TASKS):
        first = built if outcome == "own" else zeros
        areas[0] += area_by_hand(i, (layer.weight, layer.bias), first, lr, decay) / TASKS
        twin = fresh_tasks()["twin"][i], np.zeros(2)
        areas[1] += area_by_hand(i, twin, zeros, lr, decay) / TASKS
    probe = probes.Trainability(outcomes=(outcome,), **OPTIONS)
    row, (area, fresh) = measured(probe, jnp.asarray(SGD_LR)), areas
    found = {"excess": area - fresh, "ratio": fresh / area, "area": area, "fresh_area": fresh}
    for name, value in found.items():
        np.testing.assert_allclose(row[f"{outcome}_{name}"], value, rtol=1e-4, err_msg=name)
    assert list(probe.quantities()) == [f"{outcome}_{name}" for name in found]
    assert probe.quantities()[f"{outcome}_excess"].better == "lower"
    if outcome == "sgd":
        np.testing.assert_allclose(row["sgd_lr"], SGD_LR, rtol=1e-6)


def test_fresh_tasks_differ_from_the_present_one_and_from_each_other():
    """They are a step of the drift away from it."""
    found = fresh_tasks()
    steps = found["shifts"] - found["now"]
    np.testing.assert_allclose(np.sqrt(np.mean(steps**2, axis=1)), 0.1, rtol=1e-3)
    assert (steps[0] != steps[1]).all()


@pytest.mark.slow
def test_signs_on_fresh_tasks_are_means_over_the_tasks_of_the_branches():
    inner = probes.GradientNorm(num_examples=24)
    row = measured(probes.OnFreshTasks(inner, num_tasks=TASKS))
    (inputs, labels), layer = inputs_and_labels(), boundary().learner.model.layers[0]
    weight, bias, norms = np.asarray(layer.weight), np.asarray(layer.bias), []
    for shift in fresh_tasks()["shifts"]:
        seen = inputs + shift
        slope = 2 * (seen @ weight.T + bias - labels) / labels.size
        norms.append(np.sqrt(np.sum((slope.T @ seen) ** 2) + np.sum(slope.sum(0) ** 2)))
    assert abs(norms[0] - norms[1]) > 1e-3
    np.testing.assert_allclose(row["norm"], np.mean(norms), rtol=1e-4)
    assert list(row) == ["norm"]  # the loss is not declared


PROBES = {
    "t": probes.Trainability(**OPTIONS),
    "fresh": FreshTasks(),
    "changed": probes.Intervened(probes.WeightNorm(), probes.NewHead(), num_examples=24),
}


@functools.cache
def run():
    stream, model = linear()
    return train_continual(model, stream, momentum(LR), probes=PROBES, key=KEY)


@pytest.mark.slow
def test_branches_leave_the_run_alone():
    """And each boundary has fresh tasks of its own."""
    stream, model = linear()
    learner, history = run()
    alone, plain = train_continual(model, stream, momentum(LR), key=KEY)
    leaves = [jax.tree.leaves(eqx.filter(x, eqx.is_array)) for x in (learner, alone)]
    for a, b in zip(*leaves, strict=True):
        np.testing.assert_array_equal(a, b)
    for name in plain:
        np.testing.assert_array_equal(plain[name], history[name])
    now, shifts = history["fresh.end.now"], history["fresh.end.shifts"]
    different = np.concatenate([now, shifts.reshape(-1, 4)])
    assert len(np.unique(different, axis=0)) == 3 + 3 * TASKS


@pytest.mark.slow
def test_resuming_records_the_same_numbers(tmp_path):
    stream, model = linear()
    learner, history = run()
    train = lambda keeper: train_continual(
        model, stream, momentum(LR), probes=PROBES, key=KEY, checkpointer=keeper
    )
    with pytest.raises(StoppedError):
        train(StopAfter(tmp_path, 1))
    _, whole = train(OrbaxCheckpointer(tmp_path))
    assert np.isfinite(history["t.end.sgd_excess"][2])
    for name in history:
        np.testing.assert_array_equal(history[name], whole[name], err_msg=name)


@pytest.mark.slow
def test_members_have_the_numbers_of_single_runs():
    """Each has an algorithm, memory and calibration of its own."""
    stream, model = linear()
    measured = {"t": probes.Trainability(**OPTIONS), "fresh": FreshTasks()}
    train = lambda algo, key: train_continual(model, stream, algo, probes=measured, key=key)[1]
    algos, keys = [momentum(lr) for lr in (0.01, 0.05)], jax.random.split(KEY, 2)
    both = train(Ensemble.of(algos), Ensemble(keys))
    for i in range(2):
        alone = train(algos[i], keys[i])
        for name in alone:
            np.testing.assert_array_equal(both[name][:, i], alone[name], err_msg=name)
    # The rate of plain SGD is found once in a run.
    rates = both["t.end.sgd_lr"]
    np.testing.assert_array_equal(rates[0], rates[2])
    half_decades = 2 * np.log10(rates[0])
    np.testing.assert_allclose(half_decades, np.round(half_decades), atol=1e-4)


@pytest.mark.slow
def test_the_learning_rate_of_plain_sgd_is_the_best_for_fresh_networks():
    """Other rates, given by hand, leave fresh networks with larger areas."""
    stream, model = linear()
    options: Any = {"num_tasks": 3, "budget": 8, "num_twins": 2, "outcomes": ("sgd",)}
    areas = {}
    for lr in (None, 0.01, 0.1, 1.0):
        measured = {"t": probes.Trainability(sgd_lr=lr, **options)}
        history = train_continual(model, stream, momentum(LR), probes=measured, key=KEY)[1]
        areas[lr] = history["t.end.sgd_fresh_area"].mean()
    assert areas.pop(None) <= min(areas.values()) * 1.02


@pytest.mark.slow
def test_returns_of_a_policy_are_compared_instead_of_losses():
    """A branch plays rollouts of its own, under another friction. Its area is minus the mean of the
    returns that are evaluated after each rollout."""
    setting = moving_mass()
    stream = setting.stream
    budget = stream.minibatches + 3  # the second rollout is not trained on to its end

    class Returns(probes.AbstractBranchProbe):
        when: Any = eqx.field(static=True, default=("end",))
        every: int = eqx.field(static=True, default=1)

        def __call__(self, learner, stream, stream_state, *, train, boundary, key):
            task_key = boundary.task_key(0)
            task = train.fresh_task(stream_state, key=task_key)
            start = train.continuing(learner)
            found = train(start, task, budget, evaluate=True, key=task_key)
            returns = found.metrics["evaluation_return"]
            return {"returns": returns, "friction": task.values, "of_run": stream_state.values}

    measured = {
        "t": probes.Trainability(num_tasks=1, budget=budget, num_twins=1, outcomes=("own",)),
        "returns": Returns(),
    }
    algo = algorithms.bp(algorithms.adam(1e-3))
    _, history = train_continual(setting.model, stream, algo, probes=measured, key=KEY)
    returns = history["returns.end.returns"]
    assert returns.shape == (3, 2)
    np.testing.assert_allclose(history["t.end.own_area"], -returns.mean(axis=1), rtol=1e-6)
    frictions = history["returns.end.friction"]
    assert (frictions == frictions[:, :1]).all()
    assert not np.isin(frictions, history["returns.end.of_run"]).any()


@pytest.mark.slow
@pytest.mark.parametrize("probe", ["Trainability", "OnFreshTasks"])
def test_a_stream_without_fresh_tasks_records_nan_and_says_why(probe, caplog):
    loader = tasks.Loader(minibatch_size=6, standardise=True)
    stream = tasks.GrowingData(tiny_rows("classes"), num_tasks=2, loader=loader)
    model = drawn(lambda key: models.MLP(4, 3, width=3, depth=1, key=key), KEY)
    made = {
        "Trainability": probes.Trainability(budget=2),
        "OnFreshTasks": probes.OnFreshTasks(probes.GradientNorm(num_examples=6)),
    }[probe]
    _log.cache_clear()
    with caplog.at_level(logging.WARNING, logger="spectral"):
        _, history = train_continual(model, stream, algorithms.bp(0.05), probes={"t": made})
    assert f"`{probe}` records NaN: `stream` is of type GrowingData" in caplog.text
    columns = [name for name in history if name.startswith("t.")]
    assert len(columns) == {"Trainability": 9, "OnFreshTasks": 1}[probe]
    assert all(np.isnan(history[name]).all() for name in columns)


def test_wrong_arguments_are_named():
    for name in ("num_tasks", "budget", "num_twins"):
        options: Any = {name: 0}
        with pytest.raises(ValueError, match=f"`{name}` is 0"):
            probes.Trainability(**options)
    with pytest.raises(ValueError, match="`outcomes`: Outcome '' does not exist"):
        probes.Trainability(outcomes=())
    with pytest.raises(ValueError, match="`sgd_lr` is -1"):
        probes.Trainability(sgd_lr=-1.0)
    with pytest.raises(TypeError, match="`probe` is a Trainability, which chooses tasks itself"):
        probes.OnFreshTasks(probes.Trainability())


@pytest.mark.slow
def test_a_budget_longer_than_a_task_is_named_before_the_run():
    stream, model = linear()
    check = lambda stream, model, probe: check_parts(
        model, stream, algorithms.bp(0.1), probes={"t": probe}
    )
    message = "`probes.'t'.`.*: A branch of 9 steps is longer than a task, which has 8: .* `budget`"
    with pytest.raises(ValueError, match=message):
        check(stream, model, probes.Trainability(budget=9, sgd_lr=0.1))
    setting = moving_mass()
    silent = point_mass(num_evaluation_environments=0)
    with pytest.raises(ValueError, match="measured by 'evaluation_return', .* above 0"):
        check(silent, setting.model, probes.Trainability(budget=3, sgd_lr=0.1))


@pytest.mark.slow
def test_an_algorithm_begins_a_task_once():
    """At the end of a task a branch begins the next. At the start of a task it has begun."""

    class Begun(probes.AbstractBranchProbe):
        when: Any = eqx.field(static=True, default=("start", "end"))
        every: int = eqx.field(static=True, default=1)

        def __call__(self, learner, stream, stream_state, *, train, boundary, key):
            start = train.continuing(learner)
            found = train(start, train.fresh_task(stream_state, key=key), 0, key=key)
            weight = lambda learner: learner.model.layers[0].weight
            return {"changed": jnp.any(weight(found.learner) != weight(learner))}

    stream, model = linear()
    shrink = algorithms.ShrinkPerturb(shrink=0.5, at="task")
    algo = algorithms.Algorithm(algorithms.sgd(0.1), transforms=(shrink,))
    _, history = train_continual(model, stream, algo, probes={"b": Begun()}, key=KEY)
    assert history["b.end.changed"].tolist() == [1, 1, 1]
    assert history["b.start.changed"].tolist() == [0, 0, 0]


@pytest.mark.slow
def test_twins_of_a_network_with_running_statistics():
    """Their statistics are the initial ones."""
    make = eqx.nn.make_with_state(BatchNormNetwork)
    model, state = make(key=KEY)
    moved = jax.tree.map(lambda x: x + 1, state)
    network, fresh = algorithms.fresh_network(model, moved, key=jax.random.key(9))
    assert jax.tree.structure((network, fresh)) == jax.tree.structure((model, moved))
    for a, b in zip(jax.tree.leaves(fresh), jax.tree.leaves(state), strict=True):
        np.testing.assert_array_equal(a, b)
    assert (network.first.weight != model.first.weight).all()


@pytest.mark.slow
def test_yaml_names_probes_within_probes(tmp_path):
    """The two algorithms share the program."""
    path = tmp_path / "branches.yaml"
    path.write_text(YAML)
    results = studies.run_experiment(studies.load_experiment(path), tmp_path / "run")
    (weak,), (strong,) = results.of("weak"), results.of("strong")
    for name in ("gradient.end.norm", "head.end.own_excess_control", "t.end.sgd_excess"):
        columns = weak.history[name], strong.history[name]
        assert np.isfinite(columns).all(), name
        assert (columns[0] != columns[1]).all(), name


YAML = """
stream:
  type: PermutedImages
  images: {type: load_images, name: digits}
  num_tasks: 2
  steps_per_task: 12
  num_evaluation_examples: 50
model: {type: MLP, width: 4, depth: 1}
algorithms:
  weak: {type: l2, lr: 1e-2, weight_decay: 1e-3}
  strong: {type: l2, lr: 1e-2, weight_decay: 1e-1}
probes:
  t: {type: Trainability, num_tasks: 1, budget: 5, num_twins: 1}
  gradient:
    type: OnFreshTasks
    probe: {type: GradientNorm, num_examples: 20}
    num_tasks: 1
  head:
    type: Intervened
    probe: {type: Trainability, num_tasks: 1, budget: 5, num_twins: 1, outcomes: [own]}
    intervention: {type: NewHead}
    num_examples: 20
"""
