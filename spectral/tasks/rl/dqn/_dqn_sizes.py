"""Checks of the sizes of DQN."""

import jax
import jax.numpy as jnp

from ...._arguments import check_above, check_count
from ...._base._free_memory import free_bytes
from ..environments._changing_environment import ChangingEnvironment
from ..environments._environment import observation_of


def check_sizes(
    world: ChangingEnvironment,
    *,
    num_tasks: int,
    capacity: int,
    minibatch_size: int,
    steps_per_return: int,
    learning_starts: int,
    num_environments: int,
    steps_per_rollout: int,
    num_evaluation_environments: int,
    evaluation_steps: int,
) -> None:
    """**Raises:** `ValueError` for continuous actions, a number below one, a rollout that the
    environments do not divide, a capacity that is too small for what it must hold at once or too
    large for the memory, or a learning start beyond the task."""
    if not world.environment.discrete:
        raise ValueError(
            f"`world` has an environment of {world.environment.action_size} continuous actions, "
            "but DQN chooses among discrete ones: pass an environment that is `discrete`, or use "
            "`PPO`."
        )
    for name, count in {
        "num_tasks": num_tasks,
        "capacity": capacity,
        "minibatch_size": minibatch_size,
        "steps_per_return": steps_per_return,
        "learning_starts": learning_starts,
        "num_environments": num_environments,
        "steps_per_rollout": steps_per_rollout,
        "evaluation_steps": evaluation_steps,
    }.items():
        check_count(name, count)
    check_count("num_evaluation_environments", num_evaluation_environments, minimum=0)
    if steps_per_rollout % num_environments:
        raise ValueError(
            f"`steps_per_rollout` is {steps_per_rollout}, but must be a multiple of "
            f"`num_environments`, which is {num_environments}: change one of the two."
        )
    for name, needed in {
        "minibatch_size": minibatch_size,
        "steps_per_return": steps_per_return,
        "steps_per_rollout": steps_per_rollout,
        "learning_starts": learning_starts,
    }.items():
        if capacity < needed:
            raise ValueError(
                f"`capacity` is {capacity}, but must be at least `{name}`, which is {needed}: "
                "raise the one, or lower the other."
            )
    task_steps = world.rollouts_per_task(steps_per_rollout, num_tasks) * steps_per_rollout
    _check_learning_start(learning_starts, (steps_per_return - 1) * num_environments, task_steps)
    _check_memory(capacity, observation_of(world.environment))


def gradient_steps(steps_per_rollout: int, replay_ratio: float) -> int:
    """Returns the number of gradient steps of a chunk.

    **Raises:** `ValueError` unless it is a positive integer.
    """
    check_above("replay_ratio", replay_ratio, 0)
    exact = steps_per_rollout * replay_ratio
    count = round(exact)
    if count < 1 or abs(exact - count) > 1e-6:
        raise ValueError(
            f"`replay_ratio` is {replay_ratio}, which gives {exact:g} gradient steps for the "
            f"{steps_per_rollout} environment steps of `steps_per_rollout`, but must give a "
            "positive integer: change one of the two, for example to a ratio of "
            f"{max(count, 1) / steps_per_rollout:g}."
        )
    return count


def _check_learning_start(learning_starts: int, waiting: int, task_steps: int) -> None:
    if learning_starts + waiting > task_steps:
        also = f" and {waiting} steps wait for their returns" if waiting else ""
        raise ValueError(
            f"`learning_starts` is {learning_starts}{also}, but a task has {task_steps} "
            f"environment steps: pass at most {task_steps - waiting}, or a world with more "
            "`steps_per_task`."
        )


def _check_memory(capacity: int, observation: jax.ShapeDtypeStruct) -> None:
    numbers = 3 * jnp.zeros(()).dtype.itemsize  # the action, the reward and the discount
    needed = capacity * (2 * observation.size * observation.dtype.itemsize + numbers)
    free = free_bytes()
    if free is not None and needed > free:
        raise ValueError(
            f"`capacity` is {capacity}, which takes {needed / 1e9:.3g} GB for transitions with two "
            f"observations of {observation.dtype.name} {observation.shape}, but "
            f"{free / 1e9:.3g} GB of memory are free: pass at most {free * capacity // needed}, or "
            "a world whose observations are bytes."
        )
