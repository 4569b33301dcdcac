"""Bodies whose physics changes: Slippery Ant and its relatives."""

from collections.abc import Callable
from typing import TypeVar

from ._brax import Backend, Brax
from ._changing_environment import Change, ChangingEnvironment
from ._physical_parameters import (
    AbstractPhysicalParameter,
    ActuatorStrength,
    BodyMass,
    Friction,
    Gravity,
)
from ._schedules import AbstractSchedule, LogUniform
from ._time_limit import TimeLimit


Maker = TypeVar("Maker", bound=Callable[..., ChangingEnvironment])

_FRICTION = Friction()
# Low and high. A schedule holds arrays, and making one when this file is imported would start JAX.
_FRICTIONS, _FACTORS, _STRENGTHS = (0.02, 2.0), (0.5, 2.0), (0.3, 1.0)


def changing_body(
    *,
    name: str = "ant",
    physical_parameter: AbstractPhysicalParameter = _FRICTION,
    schedule: AbstractSchedule | None = None,
    backend: Backend = "spring",
    steps_per_task: int = 2_000_000,
    change: Change = "episode",
    episode_length: int = 1000,
    limit_is_terminal: bool = False,
) -> ChangingEnvironment:
    """A brax body with one changing physical parameter.

    ```python
    swing = tasks.Cycle((0.5, 1.5))
    world = changing_body(
        name="inverted_pendulum", physical_parameter=Gravity(), schedule=swing
    )
    ```

    **Arguments:**

    - `name`, `backend`, `physical_parameter`: see `Brax`.
    - `schedule`: the values of the physical parameter, task by task. By default they are drawn
        log-uniformly on [0.02, 2].
    - `steps_per_task`, `change`: when the value changes; see `ChangingEnvironment`. The defaults
        are those of Dohare et al. (2024) for Slippery Ant.
    - `episode_length`, `limit_is_terminal`: see `TimeLimit`.

    **Raises:** the errors of `Brax`, `ChangingEnvironment` and `TimeLimit`.
    """
    body = Brax(name, backend=backend, physical_parameter=physical_parameter)
    limited = TimeLimit(body, episode_length, terminal=limit_is_terminal)
    schedule = _between(_FRICTIONS) if schedule is None else schedule
    return ChangingEnvironment(limited, schedule, steps_per_task, change=change)


def _between(limits: tuple[float, float]) -> AbstractSchedule:
    low, high = limits
    return LogUniform(low=low, high=high)


def _named_as(described: Callable[[], None], make: Maker) -> Maker:
    """Give `make` the name and the docstring of `described`."""
    for attribute in ("__name__", "__qualname__", "__doc__"):
        setattr(make, attribute, getattr(described, attribute))
    return make


def _on_changing_ground(body: str):
    """A decorator that makes a constructor for one body; its name and docstring are those of the
    decorated function."""

    def make(
        *,
        schedule: AbstractSchedule | None = None,
        backend: Backend = "spring",
        steps_per_task: int = 2_000_000,
        change: Change = "episode",
        episode_length: int = 1000,
        limit_is_terminal: bool = False,
    ) -> ChangingEnvironment:
        return changing_body(
            name=body,
            physical_parameter=Friction(),
            schedule=schedule,
            backend=backend,
            steps_per_task=steps_per_task,
            change=change,
            episode_length=episode_length,
            limit_is_terminal=limit_is_terminal,
        )

    return lambda described: _named_as(described, make)


def _with_changing(physical_parameter: AbstractPhysicalParameter, limits: tuple[float, float]):
    """As `_on_changing_ground`, for one physical parameter of any body, whose values lie between
    these limits by default."""

    def make(
        *,
        name: str = "ant",
        schedule: AbstractSchedule | None = None,
        backend: Backend = "spring",
        steps_per_task: int = 2_000_000,
        change: Change = "episode",
        episode_length: int = 1000,
        limit_is_terminal: bool = False,
    ) -> ChangingEnvironment:
        return changing_body(
            name=name,
            physical_parameter=physical_parameter,
            schedule=_between(limits) if schedule is None else schedule,
            backend=backend,
            steps_per_task=steps_per_task,
            change=change,
            episode_length=episode_length,
            limit_is_terminal=limit_is_terminal,
        )

    return lambda described: _named_as(described, make)


@_on_changing_ground("ant")
def SlipperyAnt():
    """brax's ant on ground with changing friction (Dohare et al., 2024).

    The friction of all geometries is drawn for each task, log-uniformly on [0.02, 2]. brax's ant
    differs from that of Dohare et al.: it observes 27 numbers instead of 111, and only its feet
    touch the ground, so that returns cannot be compared with theirs. They count the time limit as
    the end of an episode. The arguments are those of `changing_body`.

    ```
    world = SlipperyAnt(backend="mjx", steps_per_task=50_000)
    ```
    """


@_on_changing_ground("humanoid")
def SlipperyHumanoid():
    """brax's humanoid on ground with changing friction. The arguments are those of
    `changing_body`."""


@_with_changing(Gravity(), _FACTORS)
def ChangingGravity():
    """A brax body under gravity that changes by a factor. The arguments are those of
    `changing_body`."""


@_with_changing(BodyMass(), _FACTORS)
def ChangingMass():
    """A brax body whose masses and moments of inertia change by a factor. The arguments are those
    of `changing_body`."""


@_with_changing(ActuatorStrength(), _STRENGTHS)
def WeakActuator():
    """A brax body whose actuators have a changing fraction of their strength. The arguments are
    those of `changing_body`."""
