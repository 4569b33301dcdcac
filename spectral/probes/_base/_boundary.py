"""Where in a run a probe measures."""

import equinox as eqx
from jaxtyping import Array, Int, PRNGKeyArray, PyTree

from ..._keys import derive, Role


class Boundary(eqx.Module):
    """The start or the end of a task, and the keys that all probes of a run share there.

    A probe that makes a `Sampler` with `sample_key` measures on the examples that all other probes
    see:

    ```python
    from spectral.probes import AbstractProbe, Sampler

    class MeanInput(AbstractProbe):
        when: tuple[str, ...] = eqx.field(static=True, default=("start",))
        every: int = eqx.field(static=True, default=1)

        def __call__(self, learner, stream, stream_state, *, boundary, key):
            sampler = Sampler(learner, stream, stream_state, 20, "train", boundary.sample_key)
            return {"mean": sampler.examples().inputs.mean()}
    ```

    **Arguments:**

    - `task`: the index of the task.
    - `sample_key`: the key of the examples. It depends on the task and on whether it starts or
      ends, and not on the probe.
    - `run_key`: the key of the run, for `stream.rebuild` alone.
    - `initial`: the network with which the run began, before its first task. A probe with a
      parameter `initial` receives it alone.
    """

    task: Int[Array, ""]
    sample_key: PRNGKeyArray
    run_key: PRNGKeyArray
    initial: PyTree = eqx.field(default=None, kw_only=True)

    def task_key(self, index: Int[Array, ""] | int) -> PRNGKeyArray:
        """Returns the key of a fresh task, of its minibatches and of the fresh networks on it.

        It is the same for all probes, so that they train and measure on the same fresh tasks."""
        return derive(self.sample_key, Role.BRANCH, index)
