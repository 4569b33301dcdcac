"""Probes that train copies of the network."""

from abc import abstractmethod
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree

from ..._types import Learner
from ...tasks import AbstractTaskStream
from ._boundary import Boundary
from ._probe import AbstractProbe
from ._train import Train


class AbstractBranchProbe(AbstractProbe):
    """A probe that trains copies of the network, on tasks that the run does not see.

    It also receives `train`, which trains copies of the learner under the algorithm of the run or
    another one. The run does not change.

    ```python
    import equinox as eqx
    from spectral.probes import AbstractBranchProbe

    class FirstLosses(AbstractBranchProbe):
        when: tuple[str, ...] = eqx.field(static=True, default=("end",))
        every: int = eqx.field(static=True, default=1)

        def __call__(self, learner, stream, stream_state, *, train, boundary, key):
            task_key = boundary.task_key(0)
            task = train.fresh_task(stream_state, key=task_key)
            return {"losses": train(train.continuing(learner), task, 10, key=task_key).losses}
    ```
    """

    @abstractmethod
    def __call__(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        learner: Learner,
        stream: AbstractTaskStream,
        stream_state: Any,
        *,
        train: Train,
        boundary: Boundary,
        key: PRNGKeyArray,
    ) -> dict[str, Array]:
        """Returns the measurements by name."""

    def calibrate(
        self, learner: Learner, stream: AbstractTaskStream, train: Train, *, key: PRNGKeyArray
    ) -> PyTree[Array]:
        """Returns what is found out once per run, as arrays; `train.calibration` holds it in every
        measurement. By default there is nothing to find out: an empty array.

        It is computed again when a run is resumed, from the learner before the first task. The key
        depends on the run alone, so that probes with equal arguments find the same.
        """
        return jnp.zeros(0)
