"""Environments of brax, with a physical parameter that changes as parameter."""

import contextlib
import copy
import functools
import importlib
import io
import logging
import types
import warnings
from collections.abc import Iterator
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ...._arguments import check_kind, unknown_name
from ._environment import AbstractEnvironment, Step
from ._physical_parameters import AbstractPhysicalParameter, Friction


Backend = Literal["spring", "positional", "generalized", "mjx"]
_BACKENDS = ("spring", "positional", "generalized", "mjx")
_FRICTION = Friction()


class Brax(AbstractEnvironment[Any]):
    """An environment of brax, such as `"ant"`, whose physics depends on the parameter.

    ```python
    pendulum = tasks.TimeLimit(Brax("inverted_pendulum", backend="spring"), 1000)
    ```

    Episodes have no limit of time here, and each begins from a state of its own. Actions are not
    clipped before they enter the reward.

    **Which backends obey friction.** All four do: under equal actions the ant ends elsewhere with
    another friction. But the `positional` backend bounds only *dynamic* friction by it; a foot that
    stands is held however slippery the ground, so that a low friction slips too little. `mjx` is
    closest to MuJoCo, `spring` the fastest on CPU.

    **Arguments:**

    - `name`: an environment that brax knows: `"ant"`, `"halfcheetah"`, `"hopper"`, `"walker2d"`,
        `"humanoid"`, ...
    - `backend`: `"spring"`, `"positional"`, `"generalized"` or `"mjx"`.
    - `physical_parameter`: what the parameter is: `Friction()`, `Gravity()`, `BodyMass()` or
      `ActuatorStrength()`.

    **Raises:** `ValueError` for an unknown environment or backend, `TypeError` if
    `physical_parameter` is not an `AbstractPhysicalParameter`.
    """

    name: str = eqx.field(static=True)
    backend: Backend = eqx.field(static=True)
    physical_parameter: AbstractPhysicalParameter
    observation_size: int = eqx.field(static=True)
    action_size: int = eqx.field(static=True)
    discrete: bool = eqx.field(static=True)

    def __init__(
        self,
        name: str,
        *,
        backend: Backend = "spring",
        physical_parameter: AbstractPhysicalParameter = _FRICTION,
    ):
        if backend not in _BACKENDS:
            raise ValueError(unknown_name("`backend`: Backend", str(backend), _BACKENDS))
        check_kind(
            "physical_parameter", physical_parameter, AbstractPhysicalParameter, "tasks.Gravity()"
        )
        environment = _load(name, backend, jax.config.read("jax_enable_x64"))
        self.name = name
        self.backend = backend
        self.physical_parameter = physical_parameter
        with _as_brax_expects():
            shown = jax.eval_shape(environment.reset, jax.random.key(0)).obs
        self.observation_size = shown.shape[-1]
        self.action_size = int(environment.action_size)
        self.discrete = False

    def reset(
        self, parameter: Float[Array, ""], *, key: PRNGKeyArray
    ) -> tuple[Any, Float[Array, " observation"]]:
        with _as_brax_expects():
            state = self.inner(parameter).reset(key)
        return jax.tree.map(jnp.asarray, state), state.obs

    def step(
        self, state: Any, action: Array, parameter: Float[Array, ""], *, key: PRNGKeyArray
    ) -> tuple[Any, Step]:
        environment = self.inner(parameter)
        # A copy: brax writes into the dictionary of metrics that it is given.
        own = jax.tree.map(lambda x: x, state)
        system, physics = environment.sys, own.pipeline_state
        if hasattr(physics, "mass"):
            # Some backends keep the masses of the beginning of the episode.
            own = own.replace(pipeline_state=physics.replace(mass=system.link.inertia.mass))
        with _as_brax_expects():
            after = environment.step(own, action)
        # Some environments change the type of a number in their first step.
        alike = lambda new, old: jnp.asarray(new, old.dtype)
        after = jax.tree.map(alike, after, state)
        ended = after.done > 0.5
        return after, Step(after.obs, after.reward, ended, jnp.zeros_like(ended))

    def inner(self, parameter: Float[Array, ""]) -> Any:
        """The environment of brax with this value of the physical parameter."""
        # A copy: what is traced now must not stay in the environment that is kept.
        environment = copy.copy(_load(self.name, self.backend, jax.config.read("jax_enable_x64")))
        environment.sys = self.physical_parameter.put(environment.sys, jnp.asarray(parameter))
        return environment

    def page(self, places: list[Any]) -> str:
        """A page of HTML with brax's viewer, which shows the links of the body at these places, one
        transform (`pipeline_state.x`) for each step."""
        system = _load(self.name, self.backend, jax.config.read("jax_enable_x64")).sys
        with _as_brax_expects():
            from brax.io import html

            states: list[Any] = [types.SimpleNamespace(x=place) for place in places]
            return html.render(system, states)


@functools.lru_cache
def _load(name: str, backend: Backend, double: bool) -> Any:
    """The environment of brax, read once for single and once for `double` precision."""
    with _as_brax_expects():
        # It prints which engines for GPUs it does not find.
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            from brax import envs
        known = envs._envs
        if name not in known:
            raise ValueError(unknown_name("`name`: Environment of brax", str(name), known))
        # Its arrays outlive the function that is being traced, if there is one.
        with jax.ensure_compile_time_eval(), _without_log_of_mujoco():
            environment: Any = envs.get_environment(name, backend=backend)
            if backend in ("spring", "positional"):
                environment.sys = _with_masses_in_force(environment.sys)
            return environment


@contextlib.contextmanager
def _without_log_of_mujoco() -> Iterator[None]:
    """MuJoCo would note what is deprecated in the files of brax, in the user's working folder."""
    mujoco: Any = importlib.import_module("mujoco")
    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(lambda message: None)
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(before)


def _with_masses_in_force(system: Any) -> Any:
    """The same physics, with the exponents of the masses applied.

    These two engines take powers of the masses and moments of inertia of a model, for the ant of
    exponent 0: all of them are 1, and a factor on what is read from the file would do nothing.
    """
    inertia = system.link.inertia
    mass = inertia.mass ** (1 - system.spring_mass_scale)
    moments = jnp.diagonal(inertia.i, axis1=1, axis2=2) ** (1 - system.spring_inertia_scale)
    inertia = inertia.replace(mass=mass, i=jax.vmap(jnp.diag)(moments))
    none = jnp.zeros_like(jnp.asarray(system.spring_mass_scale))
    return system.replace(
        link=system.link.replace(inertia=inertia), spring_mass_scale=none, spring_inertia_scale=none
    )


@contextlib.contextmanager
def _as_brax_expects() -> Iterator[None]:
    """Vectors may be added to rows, and nothing warns that brax and what it imports are no longer
    maintained, whatever the settings of the user."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), jax.numpy_rank_promotion("allow"):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
