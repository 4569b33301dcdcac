"""Environments of gymnax."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ...._arguments import unknown_name
from ._environment import AbstractEnvironment, Step


class Gymnax(AbstractEnvironment[Any]):
    """An environment of gymnax (1.0 or later), such as `"CartPole-v1"`.

    ```
    cart = Gymnax("CartPole-v1", physical_parameter="gravity")
    ```

    Observations of several axes are flattened. gymnax's own limit of time truncates episodes, and
    its automatic reset is not used.

    **Arguments:**

    - `name`: an environment that gymnax registers.
    - `physical_parameter`: the field of its `EnvParams` that the parameter is put into, in place of
        its default. `None` ignores the parameter. Some fields do nothing, as their environment
        reads what was derived from them when its parameters were made, such as `masscart` of
        CartPole.

    **Raises:** `ImportError` saying what to install if there is no gymnax; `ValueError` for an
    unknown environment or field, or actions that are neither a vector nor one of several.
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
        shown, _ = jax.eval_shape(environment.reset_env, jax.random.key(0), params)
        self.observation_size = sum(x.size for x in jax.tree.leaves(shown))
        space = environment.action_space(params)
        self.discrete = hasattr(space, "n")
        if not self.discrete and len(space.shape) != 1:
            raise ValueError(
                f"`name` is {name!r}, whose actions have the shape {space.shape}, but must be a "
                "vector or one of several: wrap it in an environment of your own."
            )
        self.action_size = int(space.n) if self.discrete else int(space.shape[0])

    def reset(
        self, parameter: Float[Array, ""], *, key: PRNGKeyArray
    ) -> tuple[Any, Float[Array, " observation"]]:
        environment, params = self._with(parameter)
        observation, state = environment.reset_env(key, params)
        # Counters begin as Python numbers.
        return jax.tree.map(jnp.asarray, state), _flat(observation)

    def step(
        self, state: Any, action: Array, parameter: Float[Array, ""], *, key: PRNGKeyArray
    ) -> tuple[Any, Step]:
        environment, params = self._with(parameter)
        observation, after, reward, ended, _ = environment.step_env(key, state, action, params)
        cut = environment.is_truncated(after, params)
        after = jax.tree.map(lambda new, old: jnp.asarray(new, old.dtype), after, state)
        ended, cut = jnp.asarray(ended, bool), jnp.asarray(cut, bool)
        return after, Step(_flat(observation), jnp.asarray(reward, float), ended, cut & ~ended)

    def _with(self, parameter: Float[Array, ""]) -> tuple[Any, Any]:
        environment, params = _load(self.name)
        if self.physical_parameter is not None:
            params = params.replace(**{self.physical_parameter: parameter})
        return environment, params


@functools.lru_cache
def _load(name: str) -> tuple[Any, Any]:
    """The environment and its default parameters."""
    try:
        import gymnax  # pyright: ignore[reportMissingImports]  (optional)
    except ImportError as error:
        raise ImportError(
            "`Gymnax` needs the package gymnax, 1.0 or later, which is not installed: run "
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
