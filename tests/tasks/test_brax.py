"""Physics of brax whose parameters change."""

import base64
import functools
import json
import re
import types
import zlib
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from brax.base import Transform
from point_mass import point_mass

from spectral import algorithms, Learner, models, tasks
from spectral.tasks import ActuatorStrength, BodyMass, Brax, Friction, Gravity
from spectral.tasks.rl.environments import _brax
from spectral.tasks.rl.environments._brax import _load, _with_effective_masses


KEY = jax.random.key(0)
FRICTIONS = (0.02, 0.3, 1.0, 2.0)
KINDS = ("gravity", "mass", "strength", "friction", "friction of the floor")


class OneOf(tasks.AbstractPhysicalParameter):
    """A traced index chooses the parameter, so that one program serves for all of them."""

    which: jax.Array

    def put(self, system, value):
        one = jnp.ones(())
        for i, parameter in enumerate((Gravity(), BodyMass(), ActuatorStrength())):
            system = parameter.put(system, jnp.where(self.which == i, value, one))
        everywhere = Friction().put(system, value).geom_friction
        floor = system.geom_friction.at[0, 0].set(value)
        friction = jnp.where(self.which == 4, floor, system.geom_friction)
        return system.replace(geom_friction=jnp.where(self.which == 3, everywhere, friction))


def random_walk(body: Brax, which: Any, value: Any, steps: int) -> Any:
    """Play random actions, the same in all cases. Returns the observations, the final position of
    the body, and the rewards."""
    body = eqx.tree_at(lambda b: b.physical_parameter.which, body, which)
    state, _ = body.reset(jnp.asarray(1.0), key=KEY)
    actions = jax.random.uniform(KEY, (steps, body.action_size), minval=-1.0)

    def move(state, action):
        state, step = body.step(state, action, value, key=KEY)
        return state, (step.observation, step.reward)

    state, (observations, rewards) = jax.lax.scan(move, state, actions)
    return observations, state.pipeline_state.x.pos[0, :2], rewards


BODIES = [
    (b, e) for b in ("halfcheetah", "hopper", "walker2d", "humanoid") for e in ("spring", "mjx")
]
BODIES += [("ant", e) for e in ("spring", "positional", "generalized", "mjx")]
BODIES += [("hopper", "positional")]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "backend"), BODIES)
def test_every_parameter_has_an_effect(name, backend):
    """The friction of the floor alone has one only above that of the feet, which is 1: the larger
    of the two counts."""
    body = Brax(name, backend=backend, physical_parameter=OneOf(jnp.asarray(0)))
    cases = [(i, v) for i in range(3) for v in (0.5, 2.0)]
    cases += [(i, v) for i in (3, 4) for v in FRICTIONS]
    which, values = (jnp.array(column) for column in zip(*cases, strict=True))
    run = jax.jit(jax.vmap(lambda w, v: random_walk(body, w, v, 40)))
    observations, positions, rewards = map(np.asarray, run(which, values))
    assert np.isfinite(observations).all()
    apart = lambda i, j: np.abs(observations[i] - observations[j]).max()
    for i, kind in enumerate(KINDS[:3]):
        assert apart(2 * i, 2 * i + 1) > 1e-3, kind
    everywhere, floor = positions[6:10], positions[10:]
    assert not np.array_equal(rewards[6], rewards[9])
    # Under vmap the body moves as it does alone. Contacts amplify rounding, and the single
    # iteration of mjx's solver does so within a few steps, so that this needs double precision.
    with jax.enable_x64(True):
        short = jax.jit(jax.vmap(lambda w, v: random_walk(body, w, v, 10)[0]))
        together = np.asarray(short(which[6:8], values[6:8].astype(float)))
        alone = np.asarray(
            jax.jit(lambda w, v: random_walk(body, w, v, 10)[0])(which[6], 1.0 * values[6])
        )
    assert alone.dtype == np.float64
    np.testing.assert_allclose(together[0], alone, rtol=1e-9, atol=1e-9)
    if name != "ant":  # other bodies are slower to slip, and their feet have another friction
        return
    for i in range(4):
        for j in range(i):
            assert np.abs(everywhere[i] - everywhere[j]).max() > 1e-3
    assert np.array_equal(floor[0], floor[1])
    assert np.array_equal(floor[1], floor[2])
    assert np.abs(floor[2] - floor[3]).max() > 1e-3
    np.testing.assert_allclose(floor[2], everywhere[2], atol=1e-5)


@pytest.fixture(scope="module")
def pendulum():
    return _load("inverted_pendulum", "spring", False)


def test_parameters_change_the_copies_of_all_engines(pendulum):
    system = pendulum.sys
    two = jnp.asarray(2.0)
    put = jax.jit(lambda parameter: parameter.put(system, two))
    heavy = put(Gravity())
    np.testing.assert_allclose(heavy.gravity, 2 * np.asarray(system.gravity))
    np.testing.assert_allclose(heavy.opt.gravity, 2 * np.asarray(system.opt.gravity))
    massive = put(BodyMass())
    for get in (
        lambda s: s.link.inertia.mass,
        lambda s: s.link.inertia.i,
        lambda s: s.body_mass,
        lambda s: s.body_inertia,
    ):
        np.testing.assert_allclose(get(massive), 2 * np.asarray(get(system)))
    strong = put(ActuatorStrength())
    np.testing.assert_allclose(strong.actuator.gear, 2 * np.asarray(system.actuator.gear))
    np.testing.assert_allclose(strong.actuator_gear, 2 * np.asarray(system.actuator_gear))
    slippery = put(Friction()).geom_friction
    np.testing.assert_allclose(slippery[:, 0], 2)
    np.testing.assert_array_equal(slippery[:, 1:], system.geom_friction[:, 1:])


@pytest.mark.slow
def test_parameters_change_the_physics():
    body = Brax("inverted_pendulum", physical_parameter=OneOf(jnp.asarray(0)))

    @jax.jit
    def play(which, value):
        changed = eqx.tree_at(lambda b: b.physical_parameter.which, body, which)
        state, first = changed.reset(jnp.asarray(1.0), key=KEY)
        move = lambda state, action: changed.step(state, action, value, key=KEY)
        state, steps = jax.lax.scan(move, state, jnp.full((2, 1), 0.5))
        return first, jax.tree.map(lambda x: x[-1], steps), state.pipeline_state.mass

    first, step, mass = play(0, 1.0)
    for which in range(3):
        same, other = play(which, 1.0), play(which, 2.0)
        np.testing.assert_array_equal(same[1].observation, step.observation)
        np.testing.assert_array_equal(other[0], first)
        difference = np.asarray(other[1].observation) - np.asarray(step.observation)
        assert np.abs(difference).max() > 1e-4
    # The engine keeps masses in its state from the start of the episode.
    np.testing.assert_allclose(play(1, 2.0)[2], 2 * np.asarray(mass), rtol=1e-6)
    assert not step.terminated
    assert not step.truncated
    assert step.observation.shape == (4,)


def test_worlds():
    world = tasks.changing_body(
        name="inverted_pendulum",
        physical_parameter=Gravity(),
        schedule=tasks.Cycle((0.5, 1.5)),
        steps_per_task=100,
        change="drift",
        episode_length=50,
        limit_is_terminal=True,
    )
    limited = world.environment
    assert isinstance(limited, tasks.TimeLimit)
    assert (limited.steps, limited.terminal) == (50, True)
    assert (world.steps_per_task, world.change) == (100, "drift")
    for make, parameter in ((tasks.ChangingGravity, Gravity), (tasks.ChangingMass, BodyMass)):
        body = make(name="inverted_pendulum").environment
        assert isinstance(body, tasks.TimeLimit)
        assert isinstance(body.environment, Brax)
        assert isinstance(body.environment.physical_parameter, parameter)
    ant = tasks.SlipperyAnt()
    assert (ant.environment.observation_size, ant.environment.action_size) == (27, 8)
    assert (ant.steps_per_task, ant.change) == (2_000_000, "episode")


class Shown(eqx.Module):
    """A state of a brax engine, as far as it is rendered."""

    x: Any
    count: jax.Array

    @property
    def pipeline_state(self):
        return self


def slide(monkeypatch, end: int) -> None:
    """Replace the physics of the pendulum: the cart moves by the action, up to step `end`."""

    def reset(self, parameter, *, key):
        x = Transform(pos=jnp.zeros((2, 3)), rot=jnp.tile(jnp.array([1.0, 0, 0, 0]), (2, 1)))
        return Shown(x, jnp.asarray(0)), jnp.zeros(4)

    def step(self, state, action, parameter, *, key):
        x = state.x.replace(pos=state.x.pos.at[:, 0].add(parameter * action[0]))
        count = state.count + 1
        return Shown(x, count), tasks.Step(jnp.ones(4), 0.0, count == end, False)

    monkeypatch.setattr(Brax, "reset", reset)
    monkeypatch.setattr(Brax, "step", step)


def rendered(page: str) -> np.ndarray:
    """Returns the positions in a page, `[steps, links, 3]`."""
    assert page.lstrip().lower().startswith("<")
    encoded = max(re.findall(r"[A-Za-z0-9+/=]{200,}", page), key=len)
    states = json.loads(zlib.decompress(base64.b64decode(encoded)))["states"]
    return np.array([x["pos"] for x in states["x"]])


class Constant(models.AbstractNetwork):
    """A policy that always pushes with a force of 3."""

    force: jax.Array

    def __call__(self, x):
        policy = models.GaussianPolicy(self.force, jnp.zeros(1))
        return models.PolicyAndValue(policy, jnp.zeros(())), {}

    def units(self):
        return ()

    def fresh(self, *, key):
        return self


def rendering(**options: Any) -> tuple[tasks.PPO, Learner]:
    world = tasks.changing_body(
        name="inverted_pendulum", physical_parameter=Gravity(), episode_length=5
    )
    learner = Learner(Constant(jnp.array([3.0])), None, algorithms.bp().optimiser)
    return tasks.PPO(world, num_tasks=1, **options), learner


def test_rendered_episodes(monkeypatch):
    slide(monkeypatch, end=4)
    stream, learner = rendering(clip_actions=True)
    render = functools.partial(tasks.render_episode, stream, learner, key=KEY)
    positions = rendered(render(parameter=0.5, steps=8))
    assert positions.shape == (4, 2, 3)  # until the end of the episode
    np.testing.assert_allclose(positions[:, 0, 0], [0, 0.5, 1, 1.5], rtol=1e-6)
    slide(monkeypatch, end=9)
    assert len(rendered(render(parameter=0.5, steps=8))) == 5  # until the time limit
    with pytest.raises(ValueError, match="`parameter` is -1"):
        render(parameter=-1.0)
    with pytest.raises(ValueError, match="`steps` is 0"):
        render(parameter=1.0, steps=0)
    frozen, _ = rendering(normalise_observations=True)
    with pytest.raises(ValueError, match="but a learner does not contain the statistics"):
        tasks.render_episode(frozen, learner, parameter=1.0, key=KEY)
    with pytest.raises(ValueError, match="environment of type PointMass, but only `Brax` can be"):
        tasks.render_episode(point_mass(), learner, parameter=1.0, key=KEY)


@pytest.mark.slow
def test_rendered_physics():
    stream, learner = rendering()
    positions = rendered(tasks.render_episode(stream, learner, parameter=1.0, steps=8, key=KEY))
    assert positions.shape == (5, 2, 3)
    assert np.abs(np.diff(positions[:, :, 0], axis=0)).max() > 0


def test_loading(tmp_path, monkeypatch, capfd):
    """It writes no files, and applies the exponents of the masses."""
    systems = []

    def effective(system):
        systems.extend((system, _with_effective_masses(system)))
        return systems[1]

    monkeypatch.setattr(_brax, "_with_effective_masses", effective)
    monkeypatch.chdir(tmp_path)
    loaded = _load.__wrapped__("halfcheetah", "spring", False)
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr().err == ""
    before, after = systems
    assert loaded.sys is after
    exponents = 1 - float(before.spring_mass_scale), 1 - float(before.spring_inertia_scale)
    assert min(exponents) != 1
    assert float(after.spring_mass_scale) == float(after.spring_inertia_scale) == 0
    masses = np.asarray(before.link.inertia.mass) ** exponents[0]
    np.testing.assert_allclose(after.link.inertia.mass, masses, rtol=1e-6)
    diagonal = lambda s: np.diagonal(np.asarray(s.link.inertia.i), axis1=1, axis2=2)
    np.testing.assert_allclose(diagonal(after), diagonal(before) ** exponents[1], rtol=1e-6)


def test_bad_bodies(monkeypatch):
    with pytest.raises(
        ValueError, match="Environment of brax 'aunt' does not exist.*did you mean 'ant'"
    ):
        Brax("aunt")
    # Without this the type checker rejects the backend first.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    backend: Any = "sprung"
    with pytest.raises(ValueError, match="Backend 'sprung' does not exist.*did you mean 'spring'"):
        Brax("ant", backend=backend)
    parameter: Any = Gravity
    with pytest.raises(
        TypeError,
        match="`physical_parameter` is .*Gravity.*, but must be .* AbstractPhysicalParameter",
    ):
        Brax("ant", physical_parameter=parameter)


class Physics(NamedTuple):
    metrics: dict[str, Any]
    obs: Any
    reward: Any
    done: Any
    pipeline_state: Any

    def replace(self, **changes):
        return self._replace(**changes)


class Engine(NamedTuple):
    """The state of an engine that keeps the masses."""

    mass: Any

    def replace(self, **changes):
        return self._replace(**changes)


class Writing:
    """Writes into the state that a step receives, as brax does, and ends at a height of 2."""

    def __init__(self, masses):
        inertia = types.SimpleNamespace(mass=masses)
        self.sys = types.SimpleNamespace(link=types.SimpleNamespace(inertia=inertia))

    def step(self, state, action):
        speed = action[0] / state.pipeline_state.mass[0]
        state.metrics["height"] = height = state.metrics["height"] + speed
        return state._replace(obs=height[None], reward=2 * height, done=1.0 * (height >= 2))


def test_a_step_does_not_write_into_its_state(monkeypatch):
    """It uses the masses of the present system."""
    body = Brax("inverted_pendulum")
    monkeypatch.setattr(Brax, "inner", lambda self, value: Writing(value[None]))
    zero, one = jnp.zeros(()), jnp.ones(())
    start = Physics({"height": zero}, jnp.zeros(1), zero, zero, Engine(jnp.full(1, 5.0)))
    state = start
    for height in (0.5, 2.5):
        force = jnp.array([1.0 if height == 0.5 else 4.0])
        state, step = body.step(state, force, 2 * one, key=KEY)
        assert (float(step.observation[0]), float(step.reward)) == (height, 2 * height)
        assert bool(step.terminated) == (height > 2)
        assert not step.truncated
    assert float(start.metrics["height"]) == 0
    assert float(state.metrics["height"]) == 2.5


def test_a_step_of_the_engine():
    """Its shapes; `test_parameters_change_the_physics` runs it."""
    body = Brax("inverted_pendulum")

    def step(key):
        state, first = body.reset(jnp.ones(()), key=key)
        return first, body.step(state, jnp.zeros(1), jnp.ones(()), key=key)[1]

    first, after = jax.eval_shape(step, KEY)
    assert first.shape == after.observation.shape == (body.observation_size,) == (4,)
    assert after.reward.shape == after.terminated.shape == ()
