"""The adapter for gymnax, on a stand-in with its interface."""

import sys
import types
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

from spectral import algorithms, models, train_continual
from spectral.tasks import ChangingEnvironment, Gymnax, LogUniform, PPO, TimeLimit
from spectral.tasks.rl.environments._gymnax import _load


@struct.dataclass
class Params:
    gravity: Any = 9.8
    max_steps_in_episode: int = 3


@struct.dataclass
class State:
    height: Any
    time: int


class Falling:
    """Falls by its gravity until it reaches the ground; gymnax counts steps as Python numbers."""

    def __init__(self, space):
        self.space = space
        self.default_params = Params()

    def reset_env(self, key, params):
        height = 20 + jax.random.uniform(key)
        return jnp.full((2, 2), height), State(height, 0)

    def step_env(self, key, state, action, params):
        height = state.height - params.gravity
        state = State(height, state.time + 1)
        return jnp.full((2, 2), height), state, 1, height < 0, {}

    def is_truncated(self, state, params):
        return state.time >= params.max_steps_in_episode

    def action_space(self, params):
        return self.space


@pytest.fixture
def gymnax(monkeypatch):
    spaces = {
        "Choice": types.SimpleNamespace(n=3),
        "Vector": types.SimpleNamespace(shape=(2,)),
        "Matrix": types.SimpleNamespace(shape=(2, 2)),
    }
    made = types.ModuleType("gymnax")
    vars(made)["registered_envs"] = list(spaces)
    vars(made)["make"] = lambda name: (Falling(spaces[name]), Params())
    monkeypatch.setitem(sys.modules, "gymnax", made)
    _load.cache_clear()
    yield
    _load.cache_clear()


def test_spaces(gymnax):
    sizes = lambda e: (e.observation_size, e.action_size, e.discrete)
    assert sizes(Gymnax("Choice")) == (4, 3, True)
    assert sizes(Gymnax("Vector")) == (4, 2, False)


def test_steps(gymnax):
    """The parameter is traced. A time limit truncates, and no step resets the environment."""
    falling = Gymnax("Choice", physical_parameter="gravity")
    key, action = jax.random.key(0), jnp.asarray(1)

    @jax.jit
    def fall(gravity):
        state, first = falling.reset(gravity, key=key)
        steps = []
        for _ in range(3):
            state, step = falling.step(state, action, gravity, key=key)
            steps.append(step)
        return first, steps

    for gravity, terminated in ((1.0, False), (7.0, True)):
        first, steps = fall(jnp.asarray(gravity))
        assert first.shape == (4,)
        for t, step in enumerate(steps, start=1):
            np.testing.assert_allclose(
                step.observation, np.asarray(first) - t * float(gravity), rtol=1e-6
            )
        ends = [(bool(s.terminated), bool(s.truncated)) for s in steps]
        assert ends == [(False, False)] * 2 + [(terminated, not terminated)]


def test_without_a_parameter(gymnax):
    plain, key, one = Gymnax("Choice"), jax.random.key(0), jnp.asarray(1.0)

    @jax.jit
    def fall():
        state, first = plain.reset(one, key=key)
        return first, plain.step(state, jnp.asarray(1), one, key=key)[1]

    first, step = fall()
    np.testing.assert_allclose(step.observation, np.asarray(first) - 9.8, rtol=1e-6)


def test_bad_names(gymnax):
    with pytest.raises(ValueError, match="Environment of gymnax 'Choise' does not exist.*'Choice'"):
        Gymnax("Choise")
    with pytest.raises(ValueError, match="Field of Choice 'gravy' does not exist.*'gravity'"):
        Gymnax("Choice", physical_parameter="gravy")
    with pytest.raises(ValueError, match=r"actions have the shape \(2, 2\)"):
        Gymnax("Matrix")


@pytest.fixture
def no_gymnax(monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnax", None)
    _load.cache_clear()


class Endless:
    """A counter with the interface of gymnax, but without a time limit or default parameters."""

    def reset_env(self, key, params):
        return jnp.zeros(2), jnp.zeros(())

    def step_env(self, key, state, action, params):
        state = state + params.gravity
        return jnp.full(2, state), state, state, state > 2, {}

    def action_space(self, params):
        return types.SimpleNamespace(shape=(3,))


def test_an_environment_of_ones_own(no_gymnax):
    """It needs no gymnax. Its parameters are data if they are arrays."""
    own = Gymnax(Endless(), params=Params(gravity=jnp.asarray(1.5)))
    assert (own.name, own.action_size, own.discrete) == ("Endless", 3, False)

    @eqx.filter_jit
    def count(own):
        traces.append(own)
        state, first = own.reset(jnp.asarray(0.0), key=jax.random.key(0))
        steps = []
        for _ in range(2):
            state, step = own.step(state, jnp.ones(3), jnp.asarray(0.0), key=jax.random.key(0))
            steps.append(step)
        return first, steps

    traces = []
    for gravity, ended in ((1.5, [False, True]), (0.5, [False, False])):
        own = eqx.tree_at(lambda e: e.params.gravity, own, jnp.asarray(gravity))
        first, steps = count(own)
        assert not np.asarray(first).any()
        np.testing.assert_array_equal([s.reward for s in steps], [gravity, 2 * gravity])
        assert [bool(s.terminated) for s in steps] == ended
        assert not any(bool(s.truncated) for s in steps)
    assert len(traces) == 1


def test_own_parameters_and_defaults(gymnax):
    key, one = jax.random.key(0), jnp.asarray(1.0)
    falling = Falling(types.SimpleNamespace(n=2))
    falling.default_params = Params(gravity=2.0)
    for made, gravity in (
        (Gymnax("Choice", params=Params(gravity=3.0)), 3.0),
        (Gymnax(falling), 2.0),
        (Gymnax(falling, params=Params(gravity=4.0)), 4.0),
        (Gymnax(falling, physical_parameter="gravity"), 1.0),
    ):
        state, first = made.reset(one, key=key)
        _, step = made.step(state, jnp.asarray(1), one, key=key)
        np.testing.assert_allclose(step.observation, np.asarray(first) - gravity, rtol=1e-6)


@pytest.mark.slow
def test_ppo_trains_in_an_environment_of_ones_own(no_gymnax):
    limited = TimeLimit(Gymnax(Endless(), params=Params(), physical_parameter="gravity"), 3)
    world = ChangingEnvironment(limited, LogUniform(low=0.1, high=1.0), 8)
    stream = PPO(world, num_tasks=2, steps_per_rollout=8, epochs=1, minibatches_per_epoch=2)
    model = models.ActorCritic(2, 3, width=3, depth=1, key=jax.random.key(0))
    _, history = train_continual(model, stream, algorithms.bp(0.01))
    assert np.isfinite(history["loss"]).all()


def test_objects_without_the_interface_are_rejected():
    with pytest.raises(TypeError, match="`name` is a Params without the methods reset_env, step"):
        Gymnax(Params())


def test_without_gymnax(no_gymnax):
    with pytest.raises(ImportError, match=r"run `pip install 'gymnax>=1'`"):
        Gymnax("CartPole-v1")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.slow
@pytest.mark.parametrize("name", ["CartPole-v1", "Pendulum-v1", "MountainCar-v0", "Catch-bsuite"])
def test_environments_of_gymnax(name):
    """The package itself, where it is installed: it does not support the newest JAX."""
    pytest.importorskip("gymnax")
    environment, key = Gymnax(name), jax.random.key(0)

    @jax.jit
    def play(one):
        state, first = environment.reset(one, key=key)
        action = jnp.asarray(1) if environment.discrete else jnp.ones(environment.action_size)
        after, step = environment.step(state, action, one, key=key)
        return state, first, after, step

    state, first, after, step = play(jnp.asarray(1.0))
    assert first.shape == step.observation.shape == (environment.observation_size,)
    assert jax.tree.structure(state) == jax.tree.structure(after)
    assert jax.tree.map(jnp.shape, state) == jax.tree.map(jnp.shape, after)
    assert jax.tree.map(jnp.result_type, state) == jax.tree.map(jnp.result_type, after)
    assert np.isfinite(step.observation).all()
    assert not np.array_equal(first, step.observation)
    assert not (step.terminated | step.truncated)
