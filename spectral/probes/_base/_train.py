"""The training that the loop lends to a probe: copies of the run, on tasks of the probe's own."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from ..._types import Clock, Learner
from ...algorithms import Algorithm, AlgorithmState
from ...tasks import AbstractTaskStream


class Start(eqx.Module):
    """A copy from which a branch starts.

    `begins` says whether the algorithm still has to begin the task. It has done so in a copy of the
    run at the start of a task.
    """

    learner: Learner
    memory: AlgorithmState
    begins: Bool[Array, ""]


class Trained(eqx.Module):
    """A branch after its last step.

    - `learner`: the copy that was trained.
    - `losses`: the stream's criterion on the minibatch before each step, without penalties. It is
      NaN in a step for which the chunk has no minibatch, and infinite where it is not a number.
    - `metrics`: those of `stream.evaluate` after each chunk; empty unless they were asked for.
    """

    learner: Learner
    losses: Float[Array, " steps"]
    metrics: dict[str, Float[Array, "chunks ..."]]


class Train(eqx.Module):
    """Trains copies of a run. The loop hands it to every `AbstractBranchProbe`.

    The run itself never changes, because nothing that a branch returns goes back to it.

    **Arguments:**

    - `algorithm`: of the run.
    - `memory`: what its penalties and transforms remember at this boundary.
    - `task`: the index of the task in whose place a branch trains. Cadences and schedules continue
      from the first step of this task.
    - `begins`: whether the algorithm still has to begin that task: at the end of the task before.
    - `calibration`: what `AbstractBranchProbe.calibrate` found at the start of the run.
    - `loop`: the gradient steps.
    """

    stream: AbstractTaskStream
    algorithm: Algorithm
    memory: AlgorithmState
    task: Int[Array, ""]
    begins: Bool[Array, ""]
    calibration: PyTree
    loop: Callable[..., Trained] = eqx.field(static=True)

    def continuing(self, learner: Learner) -> Start:
        """Returns the start of a branch under the algorithm of the run, its memory and, with the
        learner of the run, the state of its optimiser."""
        return Start(learner, self.memory, self.begins)

    def from_scratch(
        self,
        algorithm: Algorithm,
        model: PyTree,
        model_state: eqx.nn.State | None,
        *,
        key: PRNGKeyArray,
    ) -> Start:
        """Returns the start of a branch under an algorithm that knows nothing of the run."""
        learner, memory = algorithm.init(model, model_state, key=key)
        return Start(learner, memory, jnp.asarray(True))

    def fresh_task(self, stream_state: Any, *, key: PRNGKeyArray) -> Any:
        """Returns the state of the stream at the start of a task that the run will not see.

        **Raises:** `NoFreshTaskError` if the stream has none.
        """
        return self.stream.fresh_task(stream_state, self.clock, key=key)

    @property
    def clock(self) -> Clock:
        """The first step of a branch."""
        zero = jnp.asarray(0, int)
        step = self.task * self.stream.chunks_per_task * self.stream.minibatches
        return Clock(step=step, step_in_chunk=zero, chunk=zero, task=self.task)

    def __call__(
        self,
        start: Start,
        task: Any,
        num_steps: int,
        *,
        algorithm: Algorithm | None = None,
        evaluate: bool = False,
        key: PRNGKeyArray,
    ) -> Trained:
        """Takes `num_steps` gradient steps on a task; with none, the algorithm begins it.

        ```
        task = train.fresh_task(stream_state, key=boundary.task_key(0))
        train(train.continuing(learner), task, 100, key=key).losses   # [100]
        ```

        **Arguments:**

        - `start`: from `continuing` or `from_scratch`.
        - `task`: the state of the stream at the start of the task.
        - `algorithm`: that of `start`, by default that of the run.
        - `evaluate`: evaluate the network after each chunk.
        - `key`: determines the minibatches. Branches with equal keys see the same.

        **Raises:** `ValueError` if a task of the stream has fewer steps.
        """
        most = self.stream.chunks_per_task * self.stream.minibatches
        if num_steps > most:
            raise ValueError(
                f"A branch of {num_steps} steps is longer than a task, which has {most}: choose a "
                f"`budget` of at most {most}, or longer tasks."
            )
        algorithm = self.algorithm if algorithm is None else algorithm
        return self.loop(
            self.stream, algorithm, start, task, self.clock, num_steps, evaluate=evaluate, key=key
        )
