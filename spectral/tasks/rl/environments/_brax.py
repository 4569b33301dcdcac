"""Environments of brax with a changing physical parameter."""

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

from ...._arguments import as_int, check_kind, unknown_name
from ._environment import AbstractEnvironment, Step
from ._physical_parameters import AbstractPhysicalParameter, Friction
from ._state_arrays import as_arrays, with_types_of


Backend = Literal["spring", "positional", "generalized", "mjx"]
_BACKENDS = ("spring", "positional", "generalized", "mjx")
_FRICTION = Friction()


class Brax(AbstractEnvironment[Any]):
    """An environment of brax, such as `"ant"`, whose physics depends on the parameter.

    ```python
    pendulum = tasks.TimeLimit(Brax("inverted_pendulum", backend="spring"), 1000)
    ```

    Episodes have no time limit here, and each begins from a newly drawn state. Actions are not
    clipped before they enter the reward.

    **Backends and friction.** Friction has an effect in all four: with equal actions the ant ends
    elsewhere under another friction. However, the `positional` backend bounds only *dynamic*
    friction by it. It holds a foot at rest for any friction, so that a low friction slips too
    little. `mjx` is closest to MuJoCo, and `spring` is the fastest on CPU.

    **Arguments:**

    - `name`: an environment of brax: `"ant"`, `"halfcheetah"`, `"hopper"`, `"walker2d"`,
        `"humanoid"`, ...
    - `backend`: `"spring"`, `"positional"`, `"generalized"` or `"mjx"`.
    - `physical_parameter`: the meaning of the parameter: `Friction()`, `Gravity()`, `BodyMass()`
      or `ActuatorStrength()`.

    **Raises:** `ValueError` for an unknown environment or backend, `TypeError` if
    `physical_parameter` is not an `AbstractPhysicalParameter`.
    """

    name: str = eqx.field(static=True)
    backend: Backend = eqx.field(static=True)
    physical_parameter: AbstractPhysicalParameter
    observation_size: int = eqx.field(static=True, converter=as_int)
    action_size: int = eqx.field(static=True, converter=as_int)
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
            observation = jax.eval_shape(environment.reset, jax.random.key(0)).obs
        self.observation_size = observation.shape[-1]
        self.action_size = int(environment.action_size)
        self.discrete = False

    def reset(
        self, parameter: Float[Array, ""], *, key: PRNGKeyArray
    ) -> tuple[Any, Float[Array, " observation"]]:
        with _as_brax_expects():
            state = self.inner(parameter).reset(key)
        return as_arrays(state), state.obs

    def step(
        self, state: Any, action: Array, parameter: Float[Array, ""], *, key: PRNGKeyArray
    ) -> tuple[Any, Step]:
        environment = self.inner(parameter)
        # Pass a copy, because brax writes into the dictionary of metrics in the state.
        before = jax.tree.map(lambda x: x, state)
        system, physics = environment.sys, before.pipeline_state
        if hasattr(physics, "mass"):
            # The state of some backends holds the masses at the start of the episode.
            before = before.replace(pipeline_state=physics.replace(mass=system.link.inertia.mass))
        with _as_brax_expects():
            after = with_types_of(environment.step(before, action), state)
        ended = after.done > 0.5
        return after, Step(after.obs, after.reward, ended, jnp.zeros_like(ended))

    def inner(self, parameter: Float[Array, ""]) -> Any:
        """Returns the brax environment with this value of the physical parameter."""
        # Change a copy, because a traced value must not stay in the cached environment.
        environment = copy.copy(_load(self.name, self.backend, jax.config.read("jax_enable_x64")))
        environment.sys = self.physical_parameter.put(environment.sys, jnp.asarray(parameter))
        return environment

    def page(self, positions: list[Any]) -> str:
        """Returns an HTML page with brax's viewer, which shows the links of the body at these
        positions, one transform (`pipeline_state.x`) for each step."""
        system = _load(self.name, self.backend, jax.config.read("jax_enable_x64")).sys
        with _as_brax_expects():
            from brax.io import html

            states: list[Any] = [types.SimpleNamespace(x=position) for position in positions]
            return html.render(system, states)


@functools.lru_cache
def _load(name: str, backend: Backend, double: bool) -> Any:
    """Loads the brax environment, once for single and once for `double` precision."""
    with _as_brax_expects():
        # brax prints which GPU engines it does not find.
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            from brax import envs
        known = envs._envs
        if name not in known:
            raise ValueError(unknown_name("`name`: Environment of brax", str(name), known))
        # The cached arrays must outlive a function that is being traced.
        with jax.ensure_compile_time_eval(), _without_mujoco_log():
            environment: Any = envs.get_environment(name, backend=backend)
            if backend in ("spring", "positional"):
                environment.sys = _with_effective_masses(environment.sys)
            return environment


@contextlib.contextmanager
def _without_mujoco_log() -> Iterator[None]:
    """Keep MuJoCo from writing a log of deprecation warnings to the working folder."""
    mujoco: Any = importlib.import_module("mujoco")
    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(lambda message: None)
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(before)


def _with_effective_masses(system: Any) -> Any:
    """Apply the exponents of the masses once, and set them to 1. The physics does not change.

    The spring and positional engines raise the masses and moments of inertia of a model to a power.
    For the ant the power is 0, so that all of them are 1 and a factor on the masses in the file
    would have no effect.
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
    """Allow rank promotion, which brax relies on, and silence the warnings that brax and its
    imports are no longer maintained."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), jax.numpy_rank_promotion("allow"):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
