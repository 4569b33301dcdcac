"""Environments of gymnax."""

import functools
import inspect
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ...._arguments import as_int, unknown_name
from ...._base._returned import check_tuple
from ._environment import AbstractEnvironment, Step
from ._state_arrays import as_arrays, with_types_of


class Gymnax(AbstractEnvironment[Any]):
    """An environment of gymnax (1.0 or later), such as `"CartPole-v1"`, or any object with the
    interface of gymnax.

    ```
    cart = Gymnax("CartPole-v1", physical_parameter="gravity")
    own = Gymnax(environment, params=params)   # from another package, or of your own
    ```

    Observations with several axes are flattened. The time limit of gymnax truncates episodes; its
    automatic reset is not used.

    **Arguments:**

    - `name`: an environment registered in gymnax, or an object with the methods `reset_env`,
        `step_env` and `action_space` of gymnax's environments. Its method `is_truncated` is used if
        there is one; without it every end of an episode is a termination. Objects are compared by
        identity, so make one once and use it again.
    - `params`: its `EnvParams`. `None` takes its `default_params`, if it has some. Numbers in it
        are constants of the compiled program, arrays are data.
    - `physical_parameter`: the field of its `EnvParams` that takes the value of the parameter.
        `None` ignores the parameter. Some fields have no effect, because their environment only
        uses values derived from them when its `EnvParams` was made. An example is `masscart` of
        CartPole.

    **Raises:** `ImportError` that says what to install if `name` is a string and gymnax is missing;
    `TypeError` for an object without those methods; `ValueError` for an unknown environment or
    field, or if actions are neither vectors nor choices.
    """

    name: str = eqx.field(static=True)
    environment: Any = eqx.field(static=True)  # None: the environment of gymnax with this name
    params: Any  # None: the default ones
    physical_parameter: str | None = eqx.field(static=True)
    observation_size: int = eqx.field(static=True, converter=as_int)
    action_size: int = eqx.field(static=True, converter=as_int)
    discrete: bool = eqx.field(static=True)

    def __init__(self, name: Any, *, params: Any = None, physical_parameter: str | None = None):
        registered = isinstance(name, str)
        self.name = name if registered else type(name).__name__
        self.environment = None if registered else _checked(name)
        self.params = params
        environment, params = self._parts()
        fields = getattr(params, "__dict__", {})
        if physical_parameter is not None and not (fields and hasattr(params, "replace")):
            raise ValueError(
                f"`physical_parameter` is {physical_parameter!r}, but the parameters are of type "
                f"{type(params).__name__}, which has no fields with a method `replace`: pass "
                "`params` of a class made by `flax.struct.dataclass`, or leave it out."
            )
        if physical_parameter is not None and physical_parameter not in fields:
            what = f"`physical_parameter`: Field of {self.name}"
            raise ValueError(unknown_name(what, physical_parameter, fields))
        self.physical_parameter = physical_parameter
        observation, _ = jax.eval_shape(
            functools.partial(_reset, environment), jax.random.key(0), params
        )
        self.observation_size = sum(x.size for x in jax.tree.leaves(observation))
        space = environment.action_space(params)
        self.discrete = hasattr(space, "n")
        if not self.discrete and len(space.shape) != 1:
            raise ValueError(
                f"`name` is {self.name!r}, whose actions have the shape {space.shape}, but must be "
                "vectors or choices: wrap it in an environment of your own."
            )
        self.action_size = int(space.n) if self.discrete else int(space.shape[0])

    def reset(
        self, parameter: Float[Array, ""], *, key: PRNGKeyArray
    ) -> tuple[Any, Float[Array, " observation"]]:
        environment, params = self._with(parameter)
        observation, state = _reset(environment, key, params)
        return as_arrays(state), _flat(observation)

    def step(
        self, state: Any, action: Array, parameter: Float[Array, ""], *, key: PRNGKeyArray
    ) -> tuple[Any, Step]:
        environment, params = self._with(parameter)
        found = environment.step_env(key, state, action, params)
        check_tuple(environment, "step_env", found, *(5 * [object]))
        observation, after, reward, ended, _ = found
        terminated = jnp.asarray(ended, bool)
        limited = environment.is_truncated(after, params) if _has_limit(environment) else False
        truncated = jnp.asarray(limited, bool) & ~terminated
        after = with_types_of(after, state)
        return after, Step(_flat(observation), reward, terminated, truncated)

    def _with(self, parameter: Float[Array, ""]) -> tuple[Any, Any]:
        environment, params = self._parts()
        if self.physical_parameter is not None:
            params = params.replace(**{self.physical_parameter: parameter})
        return environment, params

    def _parts(self) -> tuple[Any, Any]:
        """The environment and its `EnvParams`, before the parameter is put in."""
        if self.environment is None:
            environment, defaults = _load(self.name)
        else:
            environment = self.environment
            defaults = getattr(environment, "default_params", None)
        return environment, defaults if self.params is None else self.params


def _reset(environment: Any, key: PRNGKeyArray, params: Any) -> tuple[Any, Any]:
    found = environment.reset_env(key, params)
    check_tuple(environment, "reset_env", found, object, object)
    return found


def _checked(environment: Any) -> Any:
    """**Raises:** `TypeError` if the environment does not have the interface of gymnax."""
    if inspect.isclass(environment):
        raise TypeError(
            f"`name` is the class {environment.__name__}, but must be an object: pass "
            f"`{environment.__name__}()`."
        )
    methods = ("reset_env", "step_env", "action_space")
    if missing := [name for name in methods if not callable(getattr(environment, name, None))]:
        raise TypeError(
            f"`name` is a {type(environment).__name__} without the methods {', '.join(missing)}, "
            "but must be the name of an environment of gymnax, or an object with its interface: "
            "define them, or derive from `AbstractEnvironment`."
        )
    return environment


def _has_limit(environment: Any) -> bool:
    return callable(getattr(environment, "is_truncated", None))


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
