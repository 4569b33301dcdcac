"""Physics of brax whose quantities change."""

import base64
import json
import re
import zlib
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from point_mass import point_mass

from spectral import algorithms, Learner, models, tasks
from spectral.tasks import ActuatorStrength, BodyMass, Brax, Friction, Gravity
from spectral.tasks.rl.environments._brax import _load


KEY = jax.random.key(0)
FRICTIONS = (0.02, 0.3, 1.0, 2.0)


KINDS = ("gravity", "mass", "strength", "friction", "friction of the floor")


class OneOf(tasks.AbstractPhysicalParameter):
    """A number says which quantity is changed, so that one program serves to look at all."""

    which: jax.Array

    def put(self, system, value):
        one = jnp.ones(())
        for i, quantity in enumerate((Gravity(), BodyMass(), ActuatorStrength())):
            system = quantity.put(system, jnp.where(self.which == i, value, one))
        everywhere = Friction().put(system, value).geom_friction
        floor = system.geom_friction.at[0, 0].set(value)
        friction = jnp.where(self.which == 4, floor, system.geom_friction)
        return system.replace(geom_friction=jnp.where(self.which == 3, everywhere, friction))


def journey(body: Brax, which: Any, value: Any, steps: int) -> Any:
    """What is seen after random actions, the same in all cases; where the body is; the rewards."""
    body = eqx.tree_at(lambda b: b.physical_parameter.which, body, which)
    state, _ = body.reset(jnp.asarray(1.0), key=KEY)
    actions = jax.random.uniform(KEY, (steps, body.action_size), minval=-1.0)

    def move(state, action):
        state, step = body.step(state, action, value, key=KEY)
        return state, (step.observation, step.reward)

    state, (seen, rewards) = jax.lax.scan(move, state, actions)
    return seen, state.pipeline_state.x.pos[0, :2], rewards


SLOW = [
    (b, e) for b in ("halfcheetah", "hopper", "walker2d", "humanoid") for e in ("spring", "mjx")
]
SLOW += [("ant", "positional"), ("ant", "generalized"), ("ant", "mjx"), ("hopper", "positional")]


@pytest.mark.parametrize(
    ("name", "backend"),
    [("ant", "spring"), *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW)],
)
def test_every_quantity_bites(name, backend):
    """And friction of the floor alone only above that of the feet, which is 1: the larger of the
    two counts."""
    body = Brax(name, backend=backend, physical_parameter=OneOf(jnp.asarray(0)))
    cases = [(i, v) for i in range(3) for v in (0.5, 2.0)]
    cases += [(i, v) for i in (3, 4) for v in FRICTIONS]
    which, values = (jnp.array(column) for column in zip(*cases, strict=True))
    run = jax.jit(jax.vmap(lambda w, v: journey(body, w, v, 40)))
    seen, places, rewards = map(np.asarray, run(which, values))
    assert np.isfinite(seen).all()
    apart = lambda i, j: np.abs(seen[i] - seen[j]).max()
    for i, kind in enumerate(KINDS[:3]):
        assert apart(2 * i, 2 * i + 1) > 1e-3, kind
    everywhere, floor = places[6:10], places[10:]
    assert not np.array_equal(rewards[6], rewards[9])
    # Beside others under vmap it moves as it does alone. Contacts amplify rounding, and the single
    # iteration of mjx's solver does so within a few steps: hence double precision.
    with jax.enable_x64(True):
        short = jax.jit(jax.vmap(lambda w, v: journey(body, w, v, 10)[0]))
        beside = np.asarray(short(which[6:8], values[6:8].astype(float)))
        alone = np.asarray(
            jax.jit(lambda w, v: journey(body, w, v, 10)[0])(which[6], 1.0 * values[6])
        )
    assert alone.dtype == np.float64
    np.testing.assert_allclose(beside[0], alone, rtol=1e-9, atol=1e-9)
    if name != "ant":  # others are slower to slip, and the friction of their feet is another
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


def test_quantities_reach_all_engines(pendulum):
    """Every engine reads a copy of its own."""
    system, two = pendulum.sys, jnp.asarray(2.0)
    heavy = Gravity().put(system, two)
    np.testing.assert_allclose(heavy.gravity, 2 * system.gravity)
    np.testing.assert_allclose(heavy.opt.gravity, 2 * system.opt.gravity)
    massive = BodyMass().put(system, two)
    np.testing.assert_allclose(massive.link.inertia.mass, 2 * system.link.inertia.mass)
    np.testing.assert_allclose(massive.link.inertia.i, 2 * system.link.inertia.i)
    np.testing.assert_allclose(massive.body_mass, 2 * system.body_mass)
    np.testing.assert_allclose(massive.body_inertia, 2 * system.body_inertia)
    strong = ActuatorStrength().put(system, two)
    np.testing.assert_allclose(strong.actuator.gear, 2 * system.actuator.gear)
    np.testing.assert_allclose(strong.actuator_gear, 2 * system.actuator_gear)
    slippery = Friction().put(system, two).geom_friction
    np.testing.assert_allclose(slippery[:, 0], 2)
    np.testing.assert_array_equal(slippery[:, 1:], system.geom_friction[:, 1:])


def test_quantities_change_the_physics():
    body = Brax("inverted_pendulum", physical_parameter=OneOf(jnp.asarray(0)))

    @eqx.filter_jit
    def angle(which, value):
        changed = eqx.tree_at(lambda b: b.physical_parameter.which, body, which)
        state, first = changed.reset(jnp.asarray(1.0), key=KEY)
        state, _ = changed.step(state, jnp.array([0.5]), value, key=KEY)
        state, step = changed.step(state, jnp.array([0.5]), value, key=KEY)
        return first, step, state.pipeline_state.mass

    def after(which: int, value: float) -> Any:
        return angle(jnp.asarray(which), jnp.asarray(value))

    first, step, mass = after(0, 1.0)
    for which in range(3):
        same, other = after(which, 1.0), after(which, 2.0)
        np.testing.assert_array_equal(same[1].observation, step.observation)
        np.testing.assert_array_equal(other[0], first)
        assert np.abs(other[1].observation - step.observation).max() > 1e-4
    # The engine keeps masses in its state, from the beginning of the episode.
    exponent = 1 - float(_load("inverted_pendulum", "spring", False).sys.spring_mass_scale)
    np.testing.assert_allclose(after(1, 2.0)[2], 2**exponent * mass, rtol=1e-6)
    assert not step.terminated
    assert not step.truncated
    assert step.observation.shape == (4,)


def test_worlds():
    """They are one class; what is not loaded here is the same with other names."""
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
    for make, quantity in ((tasks.ChangingGravity, Gravity), (tasks.ChangingMass, BodyMass)):
        body = make(name="inverted_pendulum").environment
        assert isinstance(body, tasks.TimeLimit)
        assert isinstance(body.environment, Brax)
        assert isinstance(body.environment.physical_parameter, quantity)
    ant = tasks.SlipperyAnt()
    assert (ant.environment.observation_size, ant.environment.action_size) == (27, 8)
    assert (ant.steps_per_task, ant.change) == (2_000_000, "episode")


def test_an_episode_is_shown():
    world = tasks.changing_body(
        name="inverted_pendulum", physical_parameter=Gravity(), episode_length=5
    )
    stream = tasks.PPO(world, num_tasks=1)
    model = models.ActorCritic(4, 1, width=3, depth=1, key=KEY)
    learner = Learner(model, None, algorithms.bp().optimiser)
    page = tasks.render_episode(stream, learner, parameter=1.0, steps=8, key=KEY)
    assert page.lstrip().lower().startswith("<")
    encoded = max(re.findall(r"[A-Za-z0-9+/=]{200,}", page), key=len)
    shown = json.loads(zlib.decompress(base64.b64decode(encoded)))
    places = np.array([x["pos"] for x in shown["states"]["x"]])
    assert places.shape == (5, 2, 3)  # the limit of time ends it
    assert np.abs(np.diff(places[:, :, 0], axis=0)).max() > 0
    with pytest.raises(ValueError, match="`parameter` is -1"):
        tasks.render_episode(stream, learner, parameter=-1.0, key=KEY)
    frozen = tasks.PPO(world, num_tasks=1, normalise_observations=True)
    with pytest.raises(ValueError, match="does not hold their statistics"):
        tasks.render_episode(frozen, learner, parameter=1.0, key=KEY)
    with pytest.raises(ValueError, match="plays on PointMass, but only bodies of brax"):
        tasks.render_episode(point_mass(), learner, parameter=1.0, key=KEY)


def test_nothing_is_written_where_the_user_is(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    _load.__wrapped__("halfcheetah", "spring", False)
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr().err == ""


def test_bad_bodies(monkeypatch):
    with pytest.raises(
        ValueError, match="Environment of brax 'aunt' does not exist.*did you mean 'ant'"
    ):
        Brax("aunt")
    # The type checker of the tests would refuse it first.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    backend: Any = "sprung"
    with pytest.raises(ValueError, match="Backend 'sprung' does not exist.*did you mean 'spring'"):
        Brax("ant", backend=backend)
    quantity: Any = Gravity
    with pytest.raises(
        TypeError,
        match="`physical_parameter` is .*Gravity.*, but must be .* AbstractPhysicalParameter",
    ):
        Brax("ant", physical_parameter=quantity)


def test_a_step_leaves_the_state_it_is_given_as_it_is():
    """brax itself writes into a dictionary of that state."""
    ant = Brax("ant")

    def step(key):
        state, _ = ant.reset(jnp.ones(()), key=key)
        before = dict(state.metrics)
        after, _ = ant.step(state, jnp.zeros(8), jnp.ones(()), key=key)
        assert all(state.metrics[name] is value for name, value in before.items())
        assert after.metrics["reward_forward"] is not before["reward_forward"]
        return after.obs

    jax.eval_shape(step, KEY)
