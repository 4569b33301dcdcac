"""How a stream of sequences visits the sequences of a task."""

from dataclasses import KW_ONLY

import equinox as eqx

from ..._arguments import as_int, check_count
from .._base._steps import minibatches_per_chunk


class SequenceLoader(eqx.Module):
    """Steps, minibatches and evaluation, for streams of token sequences.

    ```python
    loader = tasks.SequenceLoader(steps_per_task=200, minibatch_size=16)
    ```

    **Arguments:**

    - `steps_per_task`: gradient steps in each task.
    - `minibatch_size`: sequences in a minibatch.
    - `chunks_per_task`: the number of equal parts of a task. Training metrics are recorded once per
        chunk, and only the tokens of one chunk are in memory at a time.
    - `num_evaluation_examples`: held-out sequences on which each task is evaluated. If there are
        fewer, all of them are taken.
    - `evaluation_batch_size`: held-out sequences in one pass of the evaluation.

    **Raises:** `ValueError` for a number below one, or for chunks that do not divide the steps.
    """

    _: KW_ONLY
    steps_per_task: int = eqx.field(static=True, default=100, converter=as_int)
    minibatch_size: int = eqx.field(static=True, default=8, converter=as_int)
    chunks_per_task: int = eqx.field(static=True, default=1, converter=as_int)
    num_evaluation_examples: int = eqx.field(static=True, default=256, converter=as_int)
    evaluation_batch_size: int = eqx.field(static=True, default=64, converter=as_int)

    def __check_init__(self):
        check_count("minibatch_size", self.minibatch_size)
        check_count("num_evaluation_examples", self.num_evaluation_examples)
        check_count("evaluation_batch_size", self.evaluation_batch_size)
        minibatches_per_chunk(self.steps_per_task, self.chunks_per_task)

    @property
    def minibatches(self) -> int:
        """The number of minibatches in a chunk."""
        return minibatches_per_chunk(self.steps_per_task, self.chunks_per_task)

    @property
    def visits(self) -> int:
        """The number of sequences in all minibatches of a task, repeated ones included."""
        return self.steps_per_task * self.minibatch_size
