"""Branches: they leave the run alone, train as the loop does, and are compared with fresh twins."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from growing_classes import growing_classes
from networks import ByKey, drawn
from tables import moving_mass, own_data, permuted, tiny_images, tiny_rows
from watching import StopAfter, StoppedError

from spectral import algorithms, Clock, Ensemble, models, probes, tasks, train_continual
from spectral._check_parts import check_parts
from spectral._keys import derive, Role
from spectral.recording import OrbaxCheckpointer


KEY = jax.random.key(3)
LR, SGD_LR, STEPS = 0.05, 0.2, 7  # 7 steps are one epoch of 4 and a part of the next
TASKS, TWINS = 2, 1


class FreshTasks(probes.AbstractBranchProbe):
    """Records the shifts of two fresh tasks."""

    when: Any = eqx.field(static=True, default=("end",))
    every: int = eqx.field(static=True, default=1)

    def __call__(self, learner, stream, stream_state, *, train, boundary, key):
        draw = lambda i: train.fresh_task(stream_state, key=boundary.task_key(i)).change
        return {"now": stream_state.change, "shifts": jnp.stack([draw(0), draw(1)])}


def linear():
    """A linear map of 4 numbers to 2, online on shifted inputs; its twins are those of a key."""
    stream = own_data(tasks.DriftingInputs, "numbers").stream
    make = lambda key: models.MLP(4, 2, width=3, depth=0, initialiser=ByKey(), key=key)
    return stream, drawn(make, KEY)


TRAINABILITY = probes.Trainability(
    num_tasks=TASKS, budget=STEPS, num_twins=TWINS, sgd_lr=SGD_LR, every=2
)
PROBES = {
    "t": TRAINABILITY,
    "fresh": FreshTasks(),
    "loss": probes.OnFreshTasks(probes.GradientNorm(num_examples=24), num_tasks=TASKS, every=2),
}


def momentum(lr):
    return algorithms.bp(algorithms.sgd(lr, momentum=0.9))


@functools.cache
def run():
    stream, model = linear()
    return train_continual(model, stream, momentum(LR), probes=PROBES, key=KEY)


def by_hand(stream, state, learner, weights, velocity, lr, decay, task_key, task):
    """The losses of the first steps of a linear map under SGD with momentum, in NumPy."""
    (weight, bias), losses = [np.array(w) for w in weights], []
    velocity = [np.array(v) for v in velocity]
    for step in range(STEPS):
        index, i = divmod(step, stream.minibatches)
        if i == 0:
            collect_key = derive(task_key, Role.COLLECT, task, index)
            clock = Clock(*[jnp.asarray(0)] * 4)  # which the stream does not read
            _, chunk, _ = stream.collect(state, learner, clock, key=collect_key)
        batch = stream.batch(state, jax.tree.map(lambda leaf, i=i: leaf[i], chunk.items))
        inputs, labels = np.asarray(batch.inputs), np.asarray(batch.labels)
        error = inputs @ weight.T + bias - labels
        losses.append(np.mean(error**2))
        slope = 2 * error / error.size
        grads = slope.T @ inputs, slope.sum(0)
        velocity = [decay * v + g for v, g in zip(velocity, grads, strict=True)]
        weight, bias = weight - lr * velocity[0], bias - lr * velocity[1]
    return np.mean(losses)


def test_both_outcomes_are_those_of_a_loop_by_hand():
    """The run and the twins train on the same tasks and minibatches. `own` has the momentum that
    the run has built up, plain SGD and the twins have none."""
    stream, _ = linear()
    learner, history = run()
    task = jnp.asarray(stream.num_tasks)  # in whose place the branches train
    last = history["fresh.end.now"][-1].astype(np.float32)
    boundary = probes.Boundary(task - 1, derive(KEY, Role.SAMPLE, task - 1, 1), KEY)
    state = stream.init(key=KEY)
    areas = {"own": np.zeros(2), "sgd": np.zeros(2)}
    zeros = [np.zeros((2, 4)), np.zeros(2)]
    for i in range(TASKS):
        key = boundary.task_key(i)
        shift = jnp.asarray(history["fresh.end.shifts"][-1][i], jnp.float32)
        assert np.sqrt(np.mean((shift - last) ** 2)) == pytest.approx(0.1, rel=1e-3)
        order_key = jax.random.split(derive(key, Role.BEGIN_STREAM, task))[1]
        begun = eqx.tree_at(lambda s: (s.change, s.order_key), state, (shift, order_key))
        twin = learner.model.fresh(key=derive(key, Role.BRANCH, 1))
        own = [(m.layers[0].weight, m.layers[0].bias) for m in (learner.model, twin)]
        momenta = jax.tree.leaves(learner.optimiser.state)
        for j, weights in enumerate(own):
            built = momenta if j == 0 else zeros
            start = (stream, begun, learner, weights)
            areas["own"][j] += by_hand(*start, built, LR, 0.9, key, task) / TASKS
            areas["sgd"][j] += by_hand(*start, zeros, SGD_LR, 0.0, key, task) / TASKS
    assert sorted(m.shape for m in momenta) == [(2,), (2, 4)]
    for outcome, (area, fresh) in areas.items():
        found = lambda name, o=outcome: history[f"t.end.{o}_{name}"][-1]
        np.testing.assert_allclose(found("area"), area, rtol=1e-4)
        np.testing.assert_allclose(found("fresh_area"), fresh, rtol=1e-4)
        np.testing.assert_allclose(found("excess"), area - fresh, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(found("ratio"), fresh / area, rtol=1e-4)
    np.testing.assert_allclose(history["t.end.sgd_lr"], [SGD_LR, np.nan, SGD_LR], rtol=1e-6)
    names = ("excess", "ratio", "area", "fresh_area")
    assert [n for n in history.quantities if "sgd" in n] == [f"t.end.sgd_{n}" for n in names]


def test_branches_leave_the_run_alone():
    stream, model = linear()
    learner, history = run()
    alone, plain = train_continual(model, stream, momentum(LR), key=KEY)
    leaves = [jax.tree.leaves(eqx.filter(x, eqx.is_array)) for x in (learner, alone)]
    for a, b in zip(*leaves, strict=True):
        np.testing.assert_array_equal(a, b)
    for name in plain:
        np.testing.assert_array_equal(plain[name], history[name])


def test_fresh_tasks_differ_from_those_of_the_run_and_from_each_other():
    _, history = run()
    now, shifts = history["fresh.end.now"], history["fresh.end.shifts"]
    different = np.concatenate([now, shifts.reshape(-1, 4)])
    assert len(np.unique(different, axis=0)) == 3 + 3 * 2


def test_signs_on_fresh_tasks_are_means_over_the_tasks_of_the_branches():
    stream, _ = linear()
    learner, history = run()
    inputs, labels = stream.source.data.part("train")
    layer = learner.model.layers[0]
    weight, bias = np.asarray(layer.weight), np.asarray(layer.bias)
    scaled = np.asarray(stream.source.inputs(inputs))
    labels, norms = np.asarray(labels), []
    for shift in history["fresh.end.shifts"][-1]:
        seen = scaled + shift
        slope = 2 * (seen @ weight.T + bias - labels) / labels.size
        norms.append(np.sqrt(np.sum((slope.T @ seen) ** 2) + np.sum(slope.sum(0) ** 2)))
    assert abs(norms[0] - norms[1]) > 5e-4
    np.testing.assert_allclose(history["loss.end.norm"][-1], np.mean(norms), rtol=1e-4)
    assert "loss.end.loss" not in history  # is not declared


def test_resuming_records_the_same_numbers(tmp_path):
    stream, model = linear()
    learner, history = run()
    train = lambda keeper: train_continual(
        model, stream, momentum(LR), probes=PROBES, key=KEY, checkpointer=keeper
    )
    with pytest.raises(StoppedError):
        train(StopAfter(tmp_path, 1))
    resumed, whole = train(OrbaxCheckpointer(tmp_path))
    for name in history:
        np.testing.assert_array_equal(history[name], whole[name], err_msg=name)
