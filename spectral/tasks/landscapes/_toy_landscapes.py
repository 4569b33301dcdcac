"""Two loss landscapes in the plane, each with a canyon and a bowl (paper, Figure 1, Appendix C)."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ..._arguments import as_int, check_count
from ..._base._quantity import Quantity
from ..._types import Aux, Chunk, Clock, Learner
from .._base._outputs import network_outputs
from .._base._splits import Split
from .._base._stream import AbstractTaskStream, Metrics


class LandscapeBatch(eqx.Module):
    """The landscape that defines the loss of each example."""

    task: Int[Array, " examples"]


class ToyLandscapes(AbstractTaskStream[Int[Array, ""]]):
    """The two tasks of the paper's toy problem, for `spectral.models.Point`.

    Each landscape is the soft minimum of a canyon, which is curved in one direction only, and a
    bowl (equation 41, with the constants of Appendix C). At the task boundary the second landscape
    (43) replaces the first (42): its canyon is rotated by 35 degrees and shifted, and its bowl is
    shifted. There are no data: every gradient step of a task has the same loss. Each step is a
    chunk. The stream records the `"position"` before each step, `[tasks, steps, 2]`, and the
    `"loss"` there; at the end of each task it records `"final_position"` and `"final_loss"`.

    ```python
    import jax.numpy as jnp
    from spectral import algorithms, models, tasks, train_continual

    start = models.Point(jnp.array([-0.5, 1.0]))
    stream = tasks.ToyLandscapes(steps_per_task=20)
    _, history = train_continual(start, stream, algorithms.bp(lr=0.02))
    history["position"]  # [2, 20, 2]
    ```
    """

    num_tasks: int = eqx.field(static=True, converter=as_int)
    chunks_per_task: int = eqx.field(static=True, converter=as_int)
    minibatches: int = eqx.field(static=True, converter=as_int)

    def __init__(self, *, steps_per_task: int = 200):
        """**Raises:** `ValueError` for a number of steps below one."""
        check_count("steps_per_task", steps_per_task)
        self.num_tasks = 2
        self.chunks_per_task = steps_per_task
        self.minibatches = 1

    def init(self, *, key: PRNGKeyArray) -> Int[Array, ""]:
        return jnp.asarray(0)

    def begin_task(
        self, state: Int[Array, ""], clock: Clock, *, key: PRNGKeyArray
    ) -> Int[Array, ""]:
        return clock.task

    def rebuild(
        self, state: Int[Array, ""], task: Int[Array, ""], *, key: PRNGKeyArray
    ) -> Int[Array, ""]:
        return task

    def collect(
        self, state: Int[Array, ""], learner: Learner, clock: Clock, *, key: PRNGKeyArray
    ) -> tuple[Int[Array, ""], Chunk, Metrics]:
        position = self._position(learner, key=key)
        return state, Chunk(jnp.broadcast_to(state, (1, 1))), {"position": position}

    def batch(self, state: Int[Array, ""], item: Int[Array, " examples"]) -> LandscapeBatch:
        return LandscapeBatch(item)

    def forward(
        self,
        model: Any,
        model_state: eqx.nn.State | None,
        batch: LandscapeBatch,
        *,
        key: PRNGKeyArray,
        inference: bool,
    ) -> tuple[Float[Array, "examples 2"], Aux]:
        needed = "a landscape is defined on the plane: pass `models.Point` with two coordinates."
        inputs = batch.task.astype(float)
        return network_outputs(
            model, model_state, inputs, (2,), needed, inference=inference, key=key
        )

    def criterion(
        self, outputs: Float[Array, "examples 2"], batch: LandscapeBatch
    ) -> tuple[Float[Array, ""], Metrics]:
        return jnp.mean(jax.vmap(landscape)(outputs, batch.task)), {}

    def sample(
        self,
        state: Int[Array, ""],
        learner: Learner,
        num_examples: int,
        split: Split,
        *,
        key: PRNGKeyArray,
    ) -> LandscapeBatch:
        """Returns `num_examples` copies of one example, because there are no data."""
        check_count("num_examples", num_examples)
        return LandscapeBatch(jnp.broadcast_to(state, (num_examples,)))

    def evaluate(self, state: Int[Array, ""], learner: Learner, *, key: PRNGKeyArray) -> Metrics:
        position = self._position(learner, key=key)
        return {"final_position": position, "final_loss": landscape(position, state)}

    def quantities(self) -> dict[str, Quantity]:
        return {"final_loss": Quantity("final loss", better="lower", figure="performance")}

    def _position(self, learner: Learner, *, key: PRNGKeyArray) -> Float[Array, "2"]:
        batch = LandscapeBatch(jnp.zeros(1, int))
        return self.forward(learner.model, learner.model_state, batch, key=key, inference=True)[0][
            0
        ]


def landscape(position: Float[Array, "2"], task: Int[Array, ""] | int) -> Float[Array, ""]:
    """The loss of the toy problem: L_1 for task 0 and L_2 for task 1 (equations 41 to 43).

    ```python
    import jax
    import jax.numpy as jnp
    from spectral.tasks import landscape

    jax.hessian(landscape)(jnp.array([0.8, 0.25]), 0)  # in the bowl: about diag(4, 12)
    ```
    """
    first = _soft_minimum(_canyon_1(position), _bowl_1(position), 0.13)
    second = _soft_minimum(_canyon_2(position), _bowl_2(position), 0.18)
    return jnp.where(jnp.asarray(task) == 0, first, second)


def in_bowl(position: Float[Array, "2"], task: Int[Array, ""] | int) -> Array:
    """Whether the bowl is lower than the canyon at a position."""
    first = _bowl_1(position) < _canyon_1(position)
    return jnp.where(jnp.asarray(task) == 0, first, _bowl_2(position) < _canyon_2(position))


def _canyon_1(position: Float[Array, "2"]) -> Float[Array, ""]:
    x, y = position
    return 6.0 * (x + 1) ** 2 + 0.02 * y**6


def _bowl_1(position: Float[Array, "2"]) -> Float[Array, ""]:
    x, y = position
    return 2.0 * (x - 0.8) ** 2 + 6.0 * (y - 0.25) ** 2


def _canyon_2(position: Float[Array, "2"]) -> Float[Array, ""]:
    angle = jnp.deg2rad(35.0)
    x, y = position - jnp.array([-4.1, 2.0])
    u = jnp.cos(angle) * x + jnp.sin(angle) * y
    v = jnp.cos(angle) * y - jnp.sin(angle) * x
    return 10.0 * u**2 + 1e-4 * v**6 + 1e-6 * v**2


def _bowl_2(position: Float[Array, "2"]) -> Float[Array, ""]:
    x, y = position
    return 5.0 * (x - 1.8) ** 2 + 9.0 * (y + 0.6) ** 2


def _soft_minimum(a: Float[Array, ""], b: Float[Array, ""], width: float) -> Float[Array, ""]:
    return -width * jnp.logaddexp(-a / width, -b / width)
