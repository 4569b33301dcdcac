"""The games of MinAtar, as the package pgx plays them."""

from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ...._arguments import as_int, check_fraction, check_kind, unknown_name
from ._environment import AbstractEnvironment, Step


_GAMES = ("asterix", "breakout", "freeway", "seaquest", "space_invaders")


class MinAtar(AbstractEnvironment[Any]):
    """A game of MinAtar (Young and Tian, 2019), as pgx plays it.

    ```
    game = tasks.MinAtar("breakout")                    # images [4, 10, 10] of Booleans, 3 actions
    vectors = tasks.MinAtar("breakout", flat=True)      # the same as vectors of 400 Booleans
    limited = tasks.TimeLimit(game, 5000)               # a good player need not end an episode
    ```

    The parameter is ignored; see `Games`, `PermutedObservations`, `StickyActions` and
    `ReversedActions` for tasks that differ. A step is that of pgx with the same key, and the reward
    is that of its one player. pgx needs 32-bit numbers, so a game is computed in them in any
    precision.

    The end of an episode terminates it, except in Freeway. Freeway ends by its clock of 2500 steps
    only, which no observation shows, so this end truncates the episode. Young and Tian treat it as
    terminal, for which `TimeLimit(game, 2500, terminal=True)` stands.

    **Arguments:**

    - `game`: `"asterix"`, `"breakout"`, `"freeway"`, `"seaquest"` or `"space_invaders"`.
    - `sticky_probability`: how likely the game repeats the action of the step before instead of
        taking the new one. 0.1 is that of Young and Tian. For a probability that changes from task
        to task pass 0, and see `StickyActions`.
    - `minimal_actions`: whether only the 3 to 6 actions are offered that have an effect in this
        game. Otherwise every game has the same 6: none, left, up, right, down, fire.
    - `flat`: whether observations are vectors, for an `MLP`, instead of images with channels first,
        for a `ConvNet`.

    **Raises:** `ImportError` that says what to install if pgx is missing; `ValueError` for an
    unknown game or a probability outside [0, 1].
    """

    game: str = eqx.field(static=True)
    sticky_probability: Float[Array, ""]
    minimal_actions: bool = eqx.field(static=True)
    flat: bool = eqx.field(static=True)
    observation_size: int = eqx.field(static=True, converter=as_int)
    action_size: int = eqx.field(static=True, converter=as_int)
    discrete: bool = eqx.field(static=True)

    def __init__(
        self,
        game: str,
        *,
        sticky_probability: float | Float[Array, ""] = 0.1,
        minimal_actions: bool = True,
        flat: bool = False,
    ):
        if game not in _GAMES:
            raise ValueError(unknown_name("`game`: Game of MinAtar", str(game), _GAMES))
        check_fraction("sticky_probability", sticky_probability)
        check_kind("minimal_actions", minimal_actions, bool, "True")
        check_kind("flat", flat, bool, "True")
        self.game = game
        self.sticky_probability = jnp.asarray(sticky_probability, dtype=float)
        self.minimal_actions = minimal_actions
        self.flat = flat
        _load(game)
        with jax.enable_x64(False):
            first = jax.eval_shape(partial(_begun, *self._game()), jax.random.key(0))
        self.observation_size = first.observation.size
        self.action_size = first.legal_action_mask.size
        self.discrete = True

    def reset(
        self, parameter: Float[Array, ""], *, key: PRNGKeyArray
    ) -> tuple[Any, Bool[Array, "*shape"]]:
        with jax.enable_x64(False):
            state = _begun(*self._game(), key)
        return state, self._seen(state)

    def step(
        self, state: Any, action: Int[Array, ""], parameter: Float[Array, ""], *, key: PRNGKeyArray
    ) -> tuple[Any, Step]:
        with jax.enable_x64(False):
            after = _stepped(*self._game(), state, jnp.asarray(action, jnp.int32), key)
        ended, clock = after.terminated, jnp.asarray(self.game == "freeway")
        return after, Step(self._seen(after), after.rewards[0], ended & ~clock, ended & clock)

    def _game(self) -> tuple[str, bool, Float[Array, ""]]:
        return self.game, self.minimal_actions, self.sticky_probability.astype(jnp.float32)

    def _seen(self, state: Any) -> Bool[Array, "*shape"]:
        """The observation with channels first."""
        image = jnp.moveaxis(state.observation, -1, 0)
        return jnp.ravel(image) if self.flat else image


# Compiled functions, so that a game is traced once, and not again by each program that plays it.
@partial(jax.jit, static_argnums=(0, 1))
def _begun(game: str, minimal: bool, sticky: Float[Array, ""], key: PRNGKeyArray) -> Any:
    return _made(game, minimal, sticky).init(key)


@partial(jax.jit, static_argnums=(0, 1))
def _stepped(
    game: str,
    minimal: bool,
    sticky: Float[Array, ""],
    state: Any,
    action: Int[Array, ""],
    key: PRNGKeyArray,
) -> Any:
    return _made(game, minimal, sticky).step(state, action, key)


def _made(game: str, minimal: bool, sticky: Float[Array, ""]) -> Any:
    """Returns the game of pgx. It is made again for each use, because a probability that is traced
    must not stay in it."""
    return _load(game)(use_minimal_action_set=minimal, sticky_action_prob=sticky)


def _load(game: str) -> Any:
    """Returns the class of the game."""
    try:
        # pgx makes arrays when it is imported, which must outlive a function that is traced.
        with jax.ensure_compile_time_eval():
            import pgx  # pyright: ignore[reportMissingImports]  (optional)

            return type(pgx.make(f"minatar-{game}"))  # pyright: ignore[reportArgumentType]
    except ImportError as error:
        raise ImportError(
            "`MinAtar` needs the package pgx (2.6 or later), which is not installed: run "
            "`pip install 'spectral-plasticity[rl]'`."
        ) from error
