"""The games of MinAtar against pgx's own, in the same program with the same keys."""

import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spectral import algorithms, models, train_continual
from spectral.tasks import ChangingEnvironment, Games, MinAtar, PPO, TaskIndex, TimeLimit


KEY, ONE = jax.random.key(5), jnp.asarray(1.0)
GAMES = ("asterix", "breakout", "freeway", "seaquest", "space_invaders")
SHAPES = {
    "asterix": (4, 5),
    "breakout": (4, 3),
    "freeway": (7, 3),
    "seaquest": (10, 6),
    "space_invaders": (6, 4),
}


@pytest.fixture
def pgx():
    reason = "pgx is not installed: pip install 'spectral-plasticity[rl]'"
    return pytest.importorskip("pgx", reason=reason)


def test_unknown_games():
    with pytest.raises(
        ValueError, match="`game`: Game of MinAtar 'pong' .*asterix, breakout, free"
    ):
        MinAtar("pong")
    with pytest.raises(ValueError, match="`sticky_probability` is 1.5, but must lie between"):
        MinAtar("breakout", sticky_probability=1.5)


def test_without_pgx(monkeypatch):
    monkeypatch.setitem(sys.modules, "pgx", None)
    with pytest.raises(ImportError, match=r"run `pip install 'spectral-plasticity\[rl\]'`"):
        MinAtar("breakout")


@pytest.mark.parametrize(
    "game", [g if g == "freeway" else pytest.param(g, marks=pytest.mark.slow) for g in GAMES]
)
def test_sizes(pgx, game):
    """Observations have channels first, and the sizes are those of the game."""
    channels, actions = SHAPES[game]
    made, full = MinAtar(game), MinAtar(game, minimal_actions=False, flat=True)
    assert (made.observation_size, made.action_size) == (100 * channels, actions)
    assert (full.observation_size, full.action_size, full.discrete) == (100 * channels, 6, True)
    seen = lambda world: jax.eval_shape(lambda: world.reset(ONE, key=KEY)[1])
    assert (seen(made).shape, seen(made).dtype) == ((channels, 10, 10), bool)
    assert seen(full).shape == (100 * channels,)


def episode(world, actions, *, key):
    """Ours: the observations, rewards and ends, from the reset on."""
    reset_key, step_key = jax.random.split(key)
    state, first = world.reset(ONE, key=reset_key)

    def move(state, now):
        state, step = world.step(state, now[0], ONE, key=now[1])
        return state, step

    keys = jax.random.split(step_key, len(actions))
    return first, jax.lax.scan(move, state, (actions, keys))[1]


def episode_of_pgx(game, actions, *, key):
    """pgx's own step."""
    reset_key, step_key = jax.random.split(key)
    state = game.init(reset_key)

    def move(state, now):
        after = game.step(state, *now)
        return after, (after.observation, after.rewards, after.terminated)

    keys = jax.random.split(step_key, len(actions))
    return state.observation, jax.lax.scan(move, state, (actions, keys))[1]


def check_as_pgx(name, game, *, steps, episodes, favourite=1, **options):
    """Compares so many steps of several episodes, bit for bit. Returns ours as NumPy arrays.

    Three of four actions are the favourite one, and the others are random.
    """
    world = MinAtar(name, **options)
    count = world.action_size

    @jax.jit
    @jax.vmap
    def both(key):
        action_key, key = jax.random.split(key)
        actions = jax.random.randint(action_key, (steps,), 0, count)
        actions = jnp.where(jnp.arange(steps) % 4 > 0, favourite, actions)
        return episode(world, actions, key=key), episode_of_pgx(game, actions, key=key)

    ours, theirs = jax.tree.map(np.asarray, both(jax.random.split(KEY, episodes)))
    (first, step), (first_image, (images, rewards, ended)) = ours, theirs
    np.testing.assert_array_equal(first, np.moveaxis(first_image, -1, 1))
    np.testing.assert_array_equal(step.observation, np.moveaxis(images, -1, 2))
    np.testing.assert_array_equal(step.reward, rewards[..., 0])
    np.testing.assert_array_equal(step.terminated | step.truncated, ended)
    assert step.observation.dtype == bool
    return step


@pytest.mark.slow
@pytest.mark.parametrize("game", GAMES)
def test_games_are_those_of_pgx(pgx, game):
    """An end terminates, except that of Freeway's clock, which comes after 2501 steps."""
    made = pgx.make(f"minatar-{game}")
    favourites = {"seaquest": 5, "space_invaders": 3, "breakout": 0}  # fire, fire, stay
    step = check_as_pgx(
        game,
        made,
        steps=2502 if game == "freeway" else 300,
        episodes=8,
        favourite=favourites.get(game, 1),
    )
    ended = step.terminated | step.truncated
    assert step.reward.any()
    assert ended.any()
    assert not (step.terminated if game == "freeway" else step.truncated).any()
    if game == "freeway":
        np.testing.assert_array_equal(ended.argmax(axis=1), 2500)


@pytest.mark.slow
def test_options_are_those_of_pgx(pgx):
    """The probability of a repetition is data: a traced one does not stay in the game."""
    made = type(pgx.make("minatar-breakout"))
    for probability in (0.0, 0.75):
        game = made(use_minimal_action_set=False, sticky_action_prob=probability)
        options = {"sticky_probability": probability, "minimal_actions": False}
        check_as_pgx("breakout", game, steps=50, episodes=3, **options)
    paths = eqx.filter_jit(lambda world: episode(world, jnp.arange(50) % 3, key=KEY)[1].observation)
    seen = [paths(MinAtar("breakout", sticky_probability=p)) for p in (0.0, 0.9)]
    assert (np.asarray(seen[0]) != np.asarray(seen[1])).any()


@pytest.mark.slow
def test_a_limit_truncates_and_an_end_terminates(pgx):
    """The ball of Breakout is lost in the sixth step without a move; a limit of 4 cuts before."""
    short, long = (TimeLimit(MinAtar("breakout", sticky_probability=0), n) for n in (4, 40))

    @jax.jit
    def ends():
        still = jnp.zeros(40, int)
        steps = [episode(world, still, key=KEY)[1] for world in (short, long)]
        return [(step.terminated, step.truncated) for step in steps]

    (cut, lost) = jax.tree.map(np.asarray, ends())
    assert (cut[1].argmax(), cut[0][:4].any(), cut[1][:3].any()) == (3, False, False)
    assert lost[0].any()
    assert not lost[1][: lost[0].argmax() + 1].any()


@pytest.mark.slow
def test_ppo_trains_on_games_in_turn(pgx):
    """Two games of other channels and actions with one head."""
    pair = tuple(MinAtar(name, flat=True) for name in ("breakout", "space_invaders"))
    games = TimeLimit(Games(pair, pad=True), 6)
    stream = PPO(
        ChangingEnvironment(games, TaskIndex(), 16, change="episode"),
        num_tasks=2,
        steps_per_rollout=16,
        epochs=1,
        minibatches_per_epoch=2,
        normalise_observations=True,
        num_evaluation_environments=0,
    )
    assert (stream.in_size, stream.out_size) == (600, 4)
    model = models.ActorCritic(600, 4, discrete=True, width=3, depth=1, key=KEY)
    _, history = train_continual(model, stream, algorithms.bp(0.01))
    assert np.isfinite(history["loss"]).all()
    np.testing.assert_array_equal(np.ravel(history["parameter"]), [0, 1])
