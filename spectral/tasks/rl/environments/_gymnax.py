"""Environments of gymnax."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ...._arguments import unknown_name
from ._environment import AbstractEnvironment, Step
from ._state_arrays import as_arrays, with_types_of


class Gymnax(AbstractEnvironment[Any]):
    """An environment of gymnax (1.0 or later), such as `"CartPole-v1"`.

    ```
    cart = Gymnax("CartPole-v1", physical_parameter="gravity")
    ```

    Observations with several axes are flattened. The time limit of gymnax truncates episodes; its
    automatic reset is not used.

    **Arguments:**

    - `name`: an environment registered in gymnax.
    - `physical_parameter`: the field of its `EnvParams` that takes the value of the parameter.
        `None` ignores the parameter. Some fields have no effect, because their environment only
        uses values derived from them when its `EnvParams` was made. An example is `masscart` of
        CartPole.

    **Raises:** `ImportError` that says what to install if gymnax is missing; `ValueError` for an
    unknown environment or field, or if actions are neither vectors nor choices.
    """

    name: str = eqx.field(static=True)
    physical_parameter: str | None = eqx.field(static=True)
    observation_size: int = eqx.field(static=True)
    action_size: int = eqx.field(static=True)
    discrete: bool = eqx.field(static=True)

    def __init__(self, name: str, *, physical_parameter: str | None = None):
        environment, params = _load(name)
        fields = vars(params)
        if physical_parameter is not None and physical_parameter not in fields:
            raise ValueError(
                unknown_name(f"`physical_parameter`: Field of {name}", physical_parameter, fields)
            )
        self.name = name
        self.physical_parameter = physical_parameter
        observation, _ = jax.eval_shape(environment.reset_env, jax.random.key(0), params)
        self.observation_size = sum(x.size for x in jax.tree.leaves(observation))
        space = environment.action_space(params)
        self.discrete = hasattr(space, "n")
        if not self.discrete and len(space.shape) != 1:
            raise ValueError(
                f"`name` is {name!r}, whose actions have the shape {space.shape}, but must be "
                "vectors or choices: wrap it in an environment of your own."
            )
        self.action_size = int(space.n) if self.discrete else int(space.shape[0])

    def reset(
        self, parameter: Float[Array, ""], *, key: PRNGKeyArray
    ) -> tuple[Any, Float[Array, " observation"]]:
        environment, params = self._with(parameter)
        observation, state = environment.reset_env(key, params)
        return as_arrays(state), _flat(observation)

    def step(
        self, state: Any, action: Array, parameter: Float[Array, ""], *, key: PRNGKeyArray
    ) -> tuple[Any, Step]:
        environment, params = self._with(parameter)
        observation, after, reward, ended, _ = environment.step_env(key, state, action, params)
        terminated = jnp.asarray(ended, bool)
        truncated = jnp.asarray(environment.is_truncated(after, params), bool) & ~terminated
        after = with_types_of(after, state)
        return after, Step(_flat(observation), reward, terminated, truncated)

    def _with(self, parameter: Float[Array, ""]) -> tuple[Any, Any]:
        environment, params = _load(self.name)
        if self.physical_parameter is not None:
            params = params.replace(**{self.physical_parameter: parameter})
        return environment, params


@functools.lru_cache
def _load(name: str) -> tuple[Any, Any]:
    """Loads the environment and its default parameters."""
    try:
        import gymnax  # pyright: ignore[reportMissingImports]  (optional)
    except ImportError as error:
        raise ImportError(
            "`Gymnax` needs the package gymnax (1.0 or later), which is not installed: run "
            "`pip install 'gymnax>=1'`."
        ) from error
    if name not in gymnax.registered_envs:
        raise ValueError(
            unknown_name("`name`: Environment of gymnax", name, gymnax.registered_envs)
        )
    return gymnax.make(name)


def _flat(observation: Any) -> Float[Array, " observation"]:
    leaves = [jnp.ravel(x).astype(float) for x in jax.tree.leaves(observation)]
    return jnp.concatenate(leaves)
