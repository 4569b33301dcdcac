"""Worlds that differ in kind from task to task: their observations, actions or games."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from spectral import algorithms, models, tasks, train_continual
from spectral._check_parts import check_parts
from spectral.tasks import Games, PermutedObservations, ReversedActions, StickyActions, TaskIndex


KEY = jax.random.key(0)


class Pictures(tasks.AbstractEnvironment):
    """Shows pictures of a given shape whose entries differ, and rewards by the action taken."""

    shape: tuple[int, ...] = eqx.field(static=True)
    observation_size: int = eqx.field(static=True)
    action_size: int = eqx.field(static=True)
    discrete: bool = eqx.field(static=True)
    first: int = eqx.field(static=True)

    def __init__(self, shape=(2, 2, 3), *, action_size=3, discrete=True, first=0):
        self.shape = shape
        self.observation_size = int(np.prod(shape))
        self.action_size = action_size
        self.discrete = discrete
        self.first = first

    def picture(self, at):
        entries = np.arange(self.observation_size, dtype=np.uint8).reshape(self.shape)
        return entries + np.uint8(self.first + 100 * at)

    def reset(self, parameter, *, key):
        return jnp.asarray(0), jnp.asarray(self.picture(0))

    def step(self, state, action, parameter, *, key):
        reward = action if self.discrete else action[0]
        return state + 1, tasks.Step(jnp.asarray(self.picture(1)), reward, False, False)


def played(environment, parameters, actions, key=KEY):
    """The observations `[steps + 1, ...]` and rewards of an episode, with a parameter for the reset
    and for each step."""
    state, first = environment.reset(parameters[0], key=key)

    def move(state, now):
        state, step = environment.step(state, now[0], now[1], key=now[2])
        return state, (step.observation, step.reward)

    keys = jax.random.split(key, len(actions))
    seen, rewards = jax.lax.scan(move, state, (actions, parameters[1:], keys))[1]
    return jnp.concatenate([first[None], seen]), rewards


@eqx.filter_jit
def episodes(environment, parameters, actions):
    """Several episodes, as the arrays of NumPy."""
    play = lambda p, a: played(environment, p, a)
    return jax.vmap(play)(jnp.asarray(parameters), jnp.asarray(actions))


def test_bytes_stay_bytes():
    kept = lambda x: tasks.Step(x, 0.0, False, False).observation.dtype
    assert eqx.filter_eval_shape(lambda: jnp.ones(2, bool)).dtype == bool
    types = {bool: jnp.bool_, np.uint8: jnp.uint8, int: jnp.zeros(()).dtype}
    for given, expected in types.items():
        assert kept(np.ones(2, given)) == expected


class Flattened(eqx.Module):
    """An actor and critic of images."""

    inner: models.ActorCritic

    def __call__(self, x):
        return self.inner(x.reshape(-1))


def rollouts(environment, **options):
    world = tasks.ChangingEnvironment(tasks.TimeLimit(environment, 5), TaskIndex(), 8)
    return tasks.PPO(world, steps_per_rollout=8, epochs=1, minibatches_per_epoch=2, **options)


class Rounded(tasks.AbstractEnvironment):
    """Returns Booleans after a reset, but other numbers after a step."""

    observation_size: int = 1
    action_size: int = 2
    discrete: bool = True

    def reset(self, parameter, *, key):
        return jnp.asarray(0), jnp.ones(1, bool)

    def step(self, state, action, parameter, *, key):
        return state, tasks.Step(jnp.full(1, 0.5), 0.0, False, False)


@pytest.mark.slow
def test_observations_of_two_types():
    model = eqx.filter_eval_shape(
        lambda k: models.ActorCritic(1, 2, discrete=True, width=2, depth=1, key=k), KEY
    )
    with pytest.raises(ValueError, match=r"\(1,\) and type float32 after .* bool after a reset"):
        check_parts(model, rollouts(Rounded()), algorithms.bp())


@pytest.mark.slow
def test_ppo_sees_images():
    stream = rollouts(Pictures(), num_tasks=2, normalise_observations=True, evaluation_steps=5)
    actor = models.ActorCritic(12, 3, discrete=True, width=3, depth=1, key=KEY)
    _, history = train_continual(Flattened(actor), stream, algorithms.bp(0.01))
    assert np.isfinite(history["loss"]).all()
    assert (history["parameter"] == [[0.0], [1.0]]).all()


def test_permutations():
    """Each order is a bijection that holds for a whole episode; index 0 changes nothing."""
    pixels, channels = (
        PermutedObservations(Pictures()),
        PermutedObservations(Pictures(), of="channels"),
    )

    @jax.jit
    @jax.vmap
    def found(index):
        # The parameter is 0 after the reset: the order of the episode stays.
        parameters = jnp.stack([index, 0.0])
        return [played(world, parameters, jnp.asarray([1]))[0] for world in (pixels, channels)]

    by_pixel, by_channel = map(np.asarray, found(jnp.arange(4.0)))
    assert by_pixel.dtype == np.uint8
    own = np.stack([Pictures().picture(at) for at in (0, 1)])
    np.testing.assert_array_equal(by_pixel[0], own)
    np.testing.assert_array_equal(by_channel[0], own)
    # The first picture shows its own indices, and therefore the order.
    orders = by_pixel[:, 0, 0].reshape(4, 6)
    np.testing.assert_array_equal(np.sort(orders), np.tile(np.arange(6), (4, 1)))
    assert len({tuple(order) for order in orders}) == 4
    for order, seen in zip(orders, by_pixel, strict=True):
        np.testing.assert_array_equal(seen.reshape(2, 2, 6), own.reshape(2, 2, 6)[..., order])
    swapped = by_channel[:, 0, 0, 0, 0] == 6
    assert swapped.any()
    for swap, seen in zip(swapped, by_channel, strict=True):
        np.testing.assert_array_equal(seen, own[:, ::-1] if swap else own)


@pytest.mark.slow
def test_permutations_depend_on_their_seed():
    orders = [PermutedObservations(Pictures(), seed=s).order(jnp.asarray(1.0)) for s in (0, 0, 1)]
    assert list(orders[0]) == list(orders[1]) != list(orders[2])


def test_pixels_need_images(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=r"`of` is 'pixels', but .* \(5,\) .*of='channels'"):
        PermutedObservations(Pictures(shape=(5,)))
    kind: Any = "rows"
    with pytest.raises(ValueError, match="`of`: Part of an observation 'rows' does not exist"):
        PermutedObservations(Pictures(), of=kind)
    wrong: Any = Pictures
    for wrapper in (PermutedObservations, ReversedActions, StickyActions):
        with pytest.raises(TypeError, match="`environment` is .*, but must be .*Environment: pass"):
            wrapper(wrong)


def test_reversed_actions():
    """Odd parameters reverse the order of choices, also in the middle of an episode."""
    parameters = [[0.0, 0.0, 1.0, 2.0, 3.0]]
    _, rewards = episodes(ReversedActions(Pictures()), parameters, [[0, 0, 2, 2]])
    np.testing.assert_array_equal(rewards, [[0, 2, 2, 0]])


def test_sticky_actions():
    """An action is repeated with the probability of the parameter, but never the first one."""
    chosen = np.arange(400)  # so that a repetition is seen
    parameters = np.zeros((4, 401))
    parameters[1], parameters[2, :200], parameters[3] = 1, 1, 0.25
    found = episodes(StickyActions(Pictures()), parameters, np.tile(chosen, (4, 1)))[1]
    never, always, first_half, sometimes = np.asarray(found)
    np.testing.assert_array_equal(never, chosen)
    np.testing.assert_array_equal(always, np.zeros(400))
    np.testing.assert_array_equal(first_half, np.where(chosen < 199, 0, chosen))
    assert sometimes[0] == 0
    repeated = sometimes[1:] != chosen[1:]
    # What was taken is repeated, not what was chosen.
    np.testing.assert_array_equal(sometimes[1:][repeated], sometimes[:-1][repeated])
    assert abs(np.mean(repeated) - 0.25) < 4 * (0.25 * 0.75 / 399) ** 0.5


@pytest.mark.slow
def test_changes_of_vectors():
    """The parameter is handed on, so that one may be within another. Vectors change their sign."""
    vectors = StickyActions(ReversedActions(Pictures(action_size=1, discrete=False)))
    parameters = [[1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    _, rewards = episodes(vectors, parameters, [[[0.5], [0.25]]] * 3)
    np.testing.assert_array_equal(rewards, [[-0.5, -0.5], [0.5, 0.25], [-0.5, 0.25]])


def test_games_in_turn():
    """The parameter chooses the game of an episode, whose missing actions act as action 0."""
    small = Pictures(shape=(1, 2, 3), action_size=2, first=50)
    games = Games((Pictures(), small), pad=True)
    assert (games.observation_size, games.action_size, games.discrete) == (12, 3, True)
    # The game changes with the next episode, not in the middle of this one.
    parameters = [[0.0, 1.0, 1.0], [3.0, 0.0, 0.0]]
    seen, rewards = jax.tree.map(np.asarray, episodes(games, parameters, [[2, 1], [2, 1]]))
    np.testing.assert_array_equal(rewards, [[2, 1], [0, 1]])
    assert seen.dtype == np.uint8
    for own, pictures in ((Pictures(), seen[0]), (small, seen[1])):
        for at, picture in zip((0, 1, 1), pictures, strict=True):
            padded = np.zeros((2, 2, 3), np.uint8)
            padded[: own.shape[0]] = own.picture(at)
            np.testing.assert_array_equal(picture, padded)
    legal = jax.jit(jax.vmap(games.legal_actions))(jnp.arange(3.0))
    np.testing.assert_array_equal(legal, [[True] * 3, [True, True, False], [True] * 3])


def test_games_that_do_not_fit():
    one, two = Pictures(), Pictures(shape=(1, 2, 3))
    with pytest.raises(ValueError, match=r"differ in shape \(uint8 \(2, 2, 3\), .*`pad=True`"):
        Games((one, two))
    with pytest.raises(ValueError, match="also beyond their channels: pass games"):
        Games((one, Pictures(shape=(2, 3, 3))), pad=True)
    with pytest.raises(ValueError, match=r"`games\[1\]` is a PointMass whose actions are vectors"):
        Games((one, tasks.PointMass()))
    with pytest.raises(ValueError, match="`games` is empty, but must have one environment"):
        Games(())


def test_indices_of_tasks():
    """They count up, return under `Revisit`, and do not drift."""
    values = jax.jit(lambda schedule: schedule.values(5, key=KEY))
    np.testing.assert_array_equal(values(TaskIndex()), [0, 1, 2, 3, 4])
    np.testing.assert_array_equal(values(tasks.Revisit(TaskIndex())), [0, 1, 0, 3, 0])
    games = Games((Pictures(),))
    tasks.ChangingEnvironment(games, TaskIndex(), 8)
    for schedule in (TaskIndex(), tasks.Revisit(TaskIndex())):
        with pytest.raises(ValueError, match="`change` is 'drift', but the values of `TaskIndex`"):
            tasks.ChangingEnvironment(games, schedule, 8, change="drift")
