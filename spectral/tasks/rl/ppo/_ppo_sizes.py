"""Checks of the sizes of PPO."""

from typing import get_args

from ...._arguments import check_count, unknown_name
from ._ppo_batch import Normalisation


def check_sizes(
    *,
    num_tasks: int,
    num_environments: int,
    steps_per_rollout: int,
    epochs: int,
    minibatches_per_epoch: int,
    num_evaluation_environments: int,
    evaluation_steps: int,
    advantages: Normalisation,
) -> None:
    """**Raises:** `ValueError` for a number below one, a rollout that the environments or the
    minibatches do not divide, or advantages that have no variance."""
    divisors = {
        "num_environments": num_environments,
        "minibatches_per_epoch": minibatches_per_epoch,
    }
    counts = {
        "num_tasks": num_tasks,
        "steps_per_rollout": steps_per_rollout,
        "epochs": epochs,
        "evaluation_steps": evaluation_steps,
    }
    for name, count in (counts | divisors).items():
        check_count(name, count)
    check_count("num_evaluation_environments", num_evaluation_environments, minimum=0)
    for name, divisor in divisors.items():
        if steps_per_rollout % divisor:
            raise ValueError(
                f"`steps_per_rollout` is {steps_per_rollout}, but must be a multiple of "
                f"`{name}`, which is {divisor}: change one of the two."
            )
    kinds = get_args(Normalisation)
    if advantages not in kinds:
        raise ValueError(unknown_name("`advantages`: Kind", str(advantages), kinds))
    # The number of parts of a rollout over which advantages are normalised.
    parts = {"minibatch": minibatches_per_epoch, "rollout": 1, "never": 0}
    if steps_per_rollout == parts[advantages]:
        raise ValueError(
            f"`advantages` is {advantages!r}, but a {advantages} of one step has no variance: "
            "pass 'never', a longer `steps_per_rollout`, or fewer `minibatches_per_epoch`."
        )
