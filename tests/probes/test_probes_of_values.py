"""Probes of networks of action values: replayed and new transitions, the kernel of values, and
branches on fresh tasks."""

import logging
from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from switching import switching_dqn, value_network

from spectral import algorithms, Clock, probes, tasks, train_continual
from spectral._branches._train_branch import train_branch
from spectral._core import begin_task, start_run
from spectral._keys import derive, Role
from spectral.curvature import GaussNewton, GramEigh
from spectral.probes import Sampler, Start
from spectral.tasks.rl.dqn._value_network import ValueNetwork


KEY = jax.random.key(3)
ZERO = jnp.asarray(0)
SMALL: dict[str, Any] = {"num_examples": 6, "when": ("end",)}


def network(seed: int) -> Any:
    return value_network(layer_norm=True, key=jax.random.key(seed))


def drawing(stream: tasks.DQN) -> tasks.DQN:
    """The stream with a parameter that is drawn for each task."""
    return eqx.tree_at(lambda s: s.world.schedule, stream, tasks.LogUniform(low=0.5, high=1.5))


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_the_kernel_of_values_has_half_the_spectrum_of_the_gauss_newton_matrix():
    """Each row is the gradient of the value of the action that was taken."""
    stream, model, algo = switching_dqn(), network(0), algorithms.bp(0.01)
    kernel = probes.NeuralTangentKernel(epsilon=1e-3, num_examples=6, split="held_out")

    @jax.jit
    def found():
        run = begin_task(start_run(model, None, stream, algo, KEY), stream, algo, ZERO, KEY)
        sampler = Sampler(run.learner, stream, run.stream, 6, "held_out", KEY)
        matrix = GaussNewton(sampler.risk(key=KEY), model)
        nodes = GramEigh()(matrix, key=KEY).nodes
        return kernel(run.learner, stream, run.stream, key=KEY), nodes, sampler.examples().action

    columns, nodes, actions = jax.tree.map(np.asarray, found())
    assert len(set(actions.tolist())) == 2
    rows = np.sort(nodes.ravel())[-6:] / 2
    np.testing.assert_allclose(columns["largest"], rows[-1], rtol=1e-6)
    np.testing.assert_allclose(columns["trace"], rows.sum(), rtol=1e-6)
    assert columns["epsilon_rank"] == (rows > 1e-3).sum()


@pytest.mark.slow
def test_a_branch_has_a_target_network_of_its_own():
    """What the run's target network is makes no difference, and no difference to the run."""
    options: dict[str, Any] = {"target_update": tasks.PeriodicTarget(period=12), "double": True}
    stream, algo = switching_dqn(learning_starts=1, **options), algorithms.bp(0.01)
    clock = Clock(jnp.asarray(16), ZERO, ZERO, jnp.asarray(1))  # not a multiple of 12

    @eqx.filter_jit
    def losses(target):
        run = start_run(network(0), None, stream, algo, KEY)
        run = begin_task(run, stream, algo, ZERO, KEY)
        state = replace(run.stream, target=ValueNetwork(target, None))
        start = Start(run.learner, run.algorithm, jnp.asarray(True))
        return train_branch(stream, algo, start, state, clock, 4, evaluate=False, key=KEY).losses

    ours, other = np.asarray(losses(network(0))), np.asarray(losses(network(1)))
    assert np.isfinite(ours).all()
    np.testing.assert_array_equal(ours, other)


@pytest.mark.slow
def test_a_fresh_task_has_a_new_parameter_and_the_replay_of_the_next_task():
    stream = drawing(switching_dqn(kept_fraction=0.0))

    @jax.jit
    def drawn():
        state = stream.init(key=KEY)
        state = replace(state, replay=replace(state.replay, size=jnp.asarray(7)))
        clock = Clock(*[jnp.asarray(1)] * 4)
        keys = [derive(KEY, Role.BRANCH, i) for i in range(3)]
        return state.values, [stream.fresh_task(state, clock, key=key) for key in keys]

    before, fresh = drawn()
    values = [np.unique(np.asarray(state.values)) for state in fresh]
    assert all(len(each) == 1 for each in values)
    assert len({float(each[0]) for each in values} | set(np.asarray(before).tolist())) == 3 + 4
    assert [int(state.replay.size) for state in fresh] == [0, 0, 0]


@pytest.mark.slow
@pytest.mark.parametrize("fresh", [False, True])
def test_all_kinds_of_probes(fresh, caplog):
    """On replayed and on new transitions, and on fresh tasks if the schedule draws them."""
    stream = switching_dqn(num_tasks=2)
    stream = drawing(stream) if fresh else stream
    measured = {
        "dormant": probes.DormantUnits(**SMALL),
        "dormant_new": probes.DormantUnits(**SMALL, split="held_out"),
        "rank": probes.FeatureRank(**SMALL),
        "gradient": probes.OnFreshTasks(probes.GradientNorm(num_examples=6), num_tasks=1),
        "trainability": probes.Trainability(
            num_tasks=1, budget=4, num_twins=1, outcomes=("own",), sgd_lr=0.1
        ),
    }
    with caplog.at_level(logging.WARNING, "spectral"):
        algo = algorithms.redo(algorithms.adam(0.01), threshold=0.3, period=4)
        _, history = train_continual(network(0), stream, algo, key=KEY, probes=measured)
    own = {name: history[name] for name in history if name.startswith(("gradient", "train"))}
    known = {name: history[name] for name in history if name.startswith(("dormant", "rank"))}
    assert all(np.isfinite(column).all() for column in known.values())
    assert "trainability.end.own_excess" in own
    assert all(np.isfinite(column).all() == fresh for column in own.values())
    told = "`schedule` is of type Cycle, which has no value that the run will not see"
    assert fresh or told in caplog.text
    assert (history["dormant.end.fraction"] != history["dormant_new.end.fraction"]).any()
