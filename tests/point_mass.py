"""PPO on a point mass whose friction changes in the middle of a rollout, at the size of a test."""

from typing import Any

from spectral import models, tasks


def point_mass(**options: Any) -> tasks.PPO:
    """Rollouts of 16 steps; the friction changes every 24, in the second rollout of each task."""
    limited = tasks.TimeLimit(tasks.PointMass(), 5)
    world = tasks.ChangingEnvironment(limited, tasks.LogUniform(low=0.1, high=5.0), 24)
    options = {
        "num_tasks": 3,
        "steps_per_rollout": 16,
        "epochs": 2,
        "minibatches_per_epoch": 4,
        "num_evaluation_environments": 1,
        "evaluation_steps": 5,
    } | options
    return tasks.PPO(world, **options)


def actor_critic(*, key: Any) -> models.ActorCritic:
    return models.ActorCritic(2, 1, width=4, depth=1, key=key)
