"""A probe inside the training program, as what a transform acts on."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray

from ..._arguments import check_kind
from ..._base._returned import check_row
from ..._keys import derive, Role
from ..._types import Learner
from ...tasks import AbstractTaskStream
from ._boundary import Boundary
from ._branch_probe import AbstractBranchProbe
from ._measure_with import measure_with
from ._probe import AbstractProbe


def measure_at_start(
    stream: AbstractTaskStream,
    stream_state: Any,
    task: Int[Array, ""],
    run_key: PRNGKeyArray,
    probe: Any,
    learner: Learner,
    *,
    key: PRNGKeyArray,
) -> dict[str, Array]:
    """Returns what a probe measures at the start of a task, for `TaskStart.measured`.

    The examples are those that the probes of the run see there.

    **Raises:** `TypeError` for what is not a probe, and for a probe that trains.
    """
    check_kind("sign", probe, AbstractProbe, "probes.DeadUnits()")
    if isinstance(probe, AbstractBranchProbe):
        raise TypeError(
            f"`sign` is a {type(probe).__name__}, which trains copies of the network, but must "
            "measure the network itself: pass for example `probes.DeadUnits()`."
        )
    # A pass invalidates the running statistics that it receives, so the probe receives a copy.
    learner = jax.tree.map(lambda x: x, learner)
    boundary = Boundary(task, derive(run_key, Role.SAMPLE, task, 0), run_key)
    found = measure_with(probe, learner, stream, stream_state, boundary, None, key=key)
    check_row(probe, "__call__", found)
    return {name: jnp.asarray(value, float) for name, value in found.items()}
