"""How the gradient steps of a task are divided into chunks."""

from ..._arguments import check_count


def minibatches_per_chunk(steps_per_task: int, chunks_per_task: int) -> int:
    """Returns the number of steps in each chunk.

    **Raises:** `ValueError` for a number below one, or for chunks that do not divide the steps.
    """
    check_count("chunks_per_task", chunks_per_task)
    check_count("steps_per_task", steps_per_task)
    if steps_per_task % chunks_per_task:
        raise ValueError(
            f"`chunks_per_task` is {chunks_per_task}, but must divide the {steps_per_task} steps "
            "of a task: change one of the two."
        )
    return steps_per_task // chunks_per_task
