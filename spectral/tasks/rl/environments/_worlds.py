"""Bodies whose physics changes: Slippery Ant and its relatives."""

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


_FRICTION, _FRICTIONS = Friction(), LogUniform(low=0.02, high=2.0)
_FACTORS, _STRENGTHS = LogUniform(low=0.5, high=2.0), LogUniform(low=0.3, high=1.0)


def changing_body(
    *,
    name: str = "ant",
    physical_parameter: AbstractPhysicalParameter = _FRICTION,
    schedule: AbstractSchedule = _FRICTIONS,
    backend: Backend = "spring",
    steps_per_task: int = 2_000_000,
    change: Change = "episode",
    episode_length: int = 1000,
    limit_is_terminal: bool = False,
) -> ChangingEnvironment:
    """A body of brax, of which one physical parameter changes.

    ```python
    swing = tasks.Cycle((0.5, 1.5))
    world = changing_body("inverted_pendulum", Gravity(), schedule=swing)
    ```

    **Arguments:**

    - `name`, `backend`, `physical_parameter`: see `Brax`.
    - `schedule`: the values of the physical parameter, task by task.
    - `steps_per_task`, `change`: when it changes, see `ChangingEnvironment`. The defaults are those
        of Dohare et al. (2024) for Slippery Ant.
    - `episode_length`, `limit_is_terminal`: see `TimeLimit`.

    **Raises:** as `Brax`, `ChangingEnvironment` and `TimeLimit`.
    """
    body = Brax(name, backend=backend, physical_parameter=physical_parameter)
    limited = TimeLimit(body, episode_length, terminal=limit_is_terminal)
    return ChangingEnvironment(limited, schedule, steps_per_task, change=change)


def SlipperyAnt(
    *,
    schedule: AbstractSchedule = _FRICTIONS,
    backend: Backend = "spring",
    steps_per_task: int = 2_000_000,
    change: Change = "episode",
    episode_length: int = 1000,
    limit_is_terminal: bool = False,
) -> ChangingEnvironment:
    """brax's ant, on ground whose friction changes (Dohare et al., 2024).

    The friction of all geometries is drawn anew for each task, uniform in its logarithm on
    [0.02, 2]. brax's ant differs from that of Dohare et al.: it sees 27 numbers instead of 111, and
    only its feet touch the ground, so that returns cannot be compared with theirs. They count the
    limit of time as an end. The arguments are those of `changing_body`.

    ```
    world = SlipperyAnt(backend="mjx", steps_per_task=50_000)
    ```
    """
    return changing_body(
        name="ant",
        physical_parameter=Friction(),
        schedule=schedule,
        backend=backend,
        steps_per_task=steps_per_task,
        change=change,
        episode_length=episode_length,
        limit_is_terminal=limit_is_terminal,
    )


def SlipperyHumanoid(
    *,
    schedule: AbstractSchedule = _FRICTIONS,
    backend: Backend = "spring",
    steps_per_task: int = 2_000_000,
    change: Change = "episode",
    episode_length: int = 1000,
    limit_is_terminal: bool = False,
) -> ChangingEnvironment:
    """brax's humanoid, on ground whose friction changes. The arguments are those of
    `changing_body`."""
    return changing_body(
        name="humanoid",
        physical_parameter=Friction(),
        schedule=schedule,
        backend=backend,
        steps_per_task=steps_per_task,
        change=change,
        episode_length=episode_length,
        limit_is_terminal=limit_is_terminal,
    )


def ChangingGravity(
    *,
    name: str = "ant",
    schedule: AbstractSchedule = _FACTORS,
    backend: Backend = "spring",
    steps_per_task: int = 2_000_000,
    change: Change = "episode",
    episode_length: int = 1000,
    limit_is_terminal: bool = False,
) -> ChangingEnvironment:
    """A body of brax whose weight changes: gravity is multiplied by a factor. The arguments are
    those of `changing_body`."""
    return changing_body(
        name=name,
        physical_parameter=Gravity(),
        schedule=schedule,
        backend=backend,
        steps_per_task=steps_per_task,
        change=change,
        episode_length=episode_length,
        limit_is_terminal=limit_is_terminal,
    )


def ChangingMass(
    *,
    name: str = "ant",
    schedule: AbstractSchedule = _FACTORS,
    backend: Backend = "spring",
    steps_per_task: int = 2_000_000,
    change: Change = "episode",
    episode_length: int = 1000,
    limit_is_terminal: bool = False,
) -> ChangingEnvironment:
    """A body of brax whose masses and moments of inertia change by a factor. The arguments are
    those of `changing_body`."""
    return changing_body(
        name=name,
        physical_parameter=BodyMass(),
        schedule=schedule,
        backend=backend,
        steps_per_task=steps_per_task,
        change=change,
        episode_length=episode_length,
        limit_is_terminal=limit_is_terminal,
    )


def WeakActuator(
    *,
    name: str = "ant",
    schedule: AbstractSchedule = _STRENGTHS,
    backend: Backend = "spring",
    steps_per_task: int = 2_000_000,
    change: Change = "episode",
    episode_length: int = 1000,
    limit_is_terminal: bool = False,
) -> ChangingEnvironment:
    """A body of brax whose actuators have a changing part of their strength. The arguments are
    those of `changing_body`."""
    return changing_body(
        name=name,
        physical_parameter=ActuatorStrength(),
        schedule=schedule,
        backend=backend,
        steps_per_task=steps_per_task,
        change=change,
        episode_length=episode_length,
        limit_is_terminal=limit_is_terminal,
    )
