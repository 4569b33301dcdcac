"""Several games, one for each task, for a network with one head."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ...._arguments import as_int, as_ints, check_each, check_kind
from ._environment import AbstractEnvironment, Observation, observation_of, reset_of, Step, step_of
from ._state_arrays import as_arrays, with_types_of


class GamesState(eqx.Module):
    game: Int[Array, ""]  # the index of the game of this episode
    states: tuple[Any, ...]  # of all games; those of the others wait


class Games(AbstractEnvironment[GamesState]):
    """Several environments with choices of actions, of which the parameter chooses one.

    The parameter, rounded, is the index of the game, modulo the number of games: with
    `schedule=TaskIndex()` the games follow one another, and begin again after the last. An episode
    stays in the game that it began in. If the parameter changes in the middle of an episode, the
    new game comes with the next one. The parameter is handed on to the games.

    All games share one head. It has the actions of the game that has most, and `legal_actions` is
    the mask of those that a game has. An action that a game does not have has the effect of its
    action 0, which does nothing in MinAtar. The largest value over all actions is therefore that
    over the legal ones, and a transition is complete without a mask.

    ```
    names = ("breakout", "asterix", "space_invaders")
    games = Games(tuple(tasks.MinAtar(name) for name in names), pad=True)
    limited = tasks.TimeLimit(games, 5000)
    world = tasks.ChangingEnvironment(limited, tasks.TaskIndex(), 1_000_000, change="episode")
    ```

    **Arguments:**

    - `games`: the environments, in turn.
    - `pad`: whether observations with fewer channels (or entries of a vector) get channels of zeros
        after their own. Otherwise all observations must have one shape.

    **Raises:** `ValueError` for no games, games with other than discrete actions, or observations
    that differ in shape or type; `TypeError` if a game is not an `AbstractEnvironment`.
    """

    games: tuple[AbstractEnvironment, ...]
    pad: bool = eqx.field(static=True)
    shape: tuple[int, ...] = eqx.field(static=True, converter=as_ints)
    observation_size: int = eqx.field(static=True, converter=as_int)
    action_size: int = eqx.field(static=True, converter=as_int)
    discrete: bool = eqx.field(static=True)

    def __init__(self, games: tuple[AbstractEnvironment, ...], *, pad: bool = False):
        check_each("games", games, AbstractEnvironment, 'tasks.MinAtar("breakout")')
        if len(games) == 0:
            raise ValueError(
                "`games` is empty, but must have one environment or more: pass, for example, "
                '`(tasks.MinAtar("breakout"), tasks.MinAtar("asterix"))`.'
            )
        for i, game in enumerate(games):
            if not game.discrete:
                raise ValueError(
                    f"`games[{i}]` is a {type(game).__name__} whose actions are vectors, but games "
                    "share one head of choices: leave it out."
                )
        check_kind("pad", pad, bool, "True")
        self.games = tuple(games)
        self.pad = pad
        self.shape = _common_shape([observation_of(game) for game in games], pad)
        self.observation_size = int(np.prod(self.shape))
        self.action_size = max(game.action_size for game in games)
        self.discrete = True

    def legal_actions(self, parameter: Float[Array, ""]) -> Bool[Array, " actions"]:
        """Returns which actions the game of this parameter has."""
        return self._legal(self._index(parameter))

    def reset(
        self, parameter: Float[Array, ""], *, key: PRNGKeyArray
    ) -> tuple[GamesState, Observation]:
        keys = jax.random.split(key, len(self.games))
        begun = [reset_of(game, parameter, key=k) for game, k in zip(self.games, keys, strict=True)]
        states, observations = zip(*begun, strict=True)
        index = self._index(parameter)
        seen = jnp.stack([self._padded(observation) for observation in observations])[index]
        return GamesState(index, tuple(map(as_arrays, states))), seen

    def step(
        self, state: GamesState, action: Array, parameter: Float[Array, ""], *, key: PRNGKeyArray
    ) -> tuple[GamesState, Step]:
        action = jnp.where(self._legal(state.game)[action], action, 0)

        def play(i: int) -> tuple[tuple[Any, ...], Step]:
            before = state.states[i]
            after, step = step_of(self.games[i], before, action, parameter, key=key)
            states = (*state.states[:i], with_types_of(after, before), *state.states[i + 1 :])
            observation = self._padded(step.observation)
            return states, eqx.tree_at(lambda s: s.observation, step, observation)

        branches = [lambda i=i: play(i) for i in range(len(self.games))]
        states, step = jax.lax.switch(state.game, branches)
        return GamesState(state.game, states), step

    def _index(self, parameter: Float[Array, ""]) -> Int[Array, ""]:
        return jnp.round(parameter).astype(jnp.int32) % len(self.games)

    def _legal(self, index: Int[Array, ""]) -> Bool[Array, " actions"]:
        counts = jnp.asarray([game.action_size for game in self.games])
        return jnp.arange(self.action_size) < counts[index]

    def _padded(self, observation: Observation) -> Observation:
        missing = self.shape[0] - observation.shape[0]
        return jnp.pad(observation, [(0, missing)] + [(0, 0)] * (len(self.shape) - 1))


def _common_shape(seen: list[jax.ShapeDtypeStruct], pad: bool) -> tuple[int, ...]:
    """Returns the shape of the observations of all games."""
    given = ", ".join(f"{x.dtype.name} {x.shape}" for x in seen)
    if len({(x.dtype, x.shape[1:]) for x in seen}) > 1:
        raise ValueError(
            f"`games` have observations that differ in shape or type ({given}), also beyond their "
            "channels: pass games whose images have one size and one type."
        )
    if not pad and len({x.shape for x in seen}) > 1:
        raise ValueError(
            f"`games` have observations that differ in shape ({given}), but one network must see "
            "them all: pass `pad=True` to add channels of zeros, or other games."
        )
    return max(x.shape for x in seen)
