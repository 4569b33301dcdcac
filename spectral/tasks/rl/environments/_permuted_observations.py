"""Observations whose entries come in another order in every task."""

from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ...._arguments import as_int, as_ints, check_kind, unknown_name
from ._environment import AbstractEnvironment, Observation, observation_of, reset_of, Step, step_of
from ._wrapper import AbstractWrapper


class PermutedState(eqx.Module):
    inner: Any
    order: Int[Array, " entries"]  # of this episode


class PermutedObservations(AbstractWrapper[PermutedState]):
    """An environment whose observations are permuted, with an order for each value of the
    parameter.

    The parameter, rounded, is the index of the order. Index 0 keeps the order of the environment,
    and every other index has a permutation that depends on it and on `seed` alone. An episode keeps
    the order that it began with. If the parameter changes in the middle of an episode, the new
    order comes with the next one, so that both observations of a transition have the same order.
    The parameter is handed on to the inner environment, which should ignore it or take an index
    too, as `Games` and `ReversedActions` do.

    ```python
    scrambled = PermutedObservations(tasks.TimeLimit(tasks.PointMass(), 20), of="channels")
    world = tasks.ChangingEnvironment(scrambled, tasks.TaskIndex(), 10_000)
    ```

    **Arguments:**

    - `environment`: the environment that is observed.
    - `of`: `"channels"` permutes the channels of images, or the entries of vectors. `"pixels"`
        permutes the positions of images, in the same way in all channels.
    - `seed`: of the permutations, which are the same in every run.

    **Raises:** `TypeError` if `environment` is not an `AbstractEnvironment`, `ValueError` for
    another `of`, or for `"pixels"` if the observations are not images.
    """

    environment: AbstractEnvironment
    of: Literal["channels", "pixels"] = eqx.field(static=True)
    seed: int = eqx.field(static=True, converter=as_int)
    shape: tuple[int, ...] = eqx.field(static=True, converter=as_ints)

    def __init__(
        self,
        environment: AbstractEnvironment,
        *,
        of: Literal["channels", "pixels"] = "pixels",
        seed: int = 0,
    ):
        check_kind("environment", environment, AbstractEnvironment, "tasks.PointMass()")
        kinds = ("channels", "pixels")
        if of not in kinds:
            raise ValueError(unknown_name("`of`: Part of an observation", str(of), kinds))
        self.environment = environment
        self.of = of
        self.seed = seed
        self.shape = observation_of(environment).shape
        if of == "pixels" and len(self.shape) != 3:
            raise ValueError(
                f"`of` is 'pixels', but the observations of this environment have the shape "
                f"{self.shape} instead of [channels, height, width]: pass `of='channels'`, which "
                "permutes the entries of vectors."
            )

    def order(self, parameter: Float[Array, ""]) -> Int[Array, " entries"]:
        """Returns the permutation of this index: entry i of an observation is entry `order[i]` of
        the environment's own."""
        index = jnp.round(parameter).astype(jnp.int32)
        size = self.shape[0] if self.of == "channels" else self.shape[1] * self.shape[2]
        key = jax.random.fold_in(jax.random.key(self.seed), index)
        kept = jnp.arange(size)
        return jnp.where(index == 0, kept, jax.random.permutation(key, kept))

    def reset(
        self, parameter: Float[Array, ""], *, key: PRNGKeyArray
    ) -> tuple[PermutedState, Observation]:
        inner, observation = reset_of(self.environment, parameter, key=key)
        order = self.order(parameter)
        return PermutedState(inner, order), self._permuted(observation, order)

    def step(
        self, state: PermutedState, action: Array, parameter: Float[Array, ""], *, key: PRNGKeyArray
    ) -> tuple[PermutedState, Step]:
        inner, step = step_of(self.environment, state.inner, action, parameter, key=key)
        observation = self._permuted(step.observation, state.order)
        step = eqx.tree_at(lambda s: s.observation, step, observation)
        return PermutedState(inner, state.order), step

    def _permuted(self, observation: Observation, order: Int[Array, " entries"]) -> Observation:
        if self.of == "channels":
            return observation[order]
        return observation.reshape(self.shape[0], -1)[:, order].reshape(self.shape)
