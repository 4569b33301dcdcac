"""Call a probe with what it asks for."""

from typing import Any

from jaxtyping import PRNGKeyArray

from ..._base._signature import has_parameter
from ..._types import Learner
from ...tasks import AbstractTaskStream
from ._boundary import Boundary
from ._branch_probe import AbstractBranchProbe
from ._probe import AbstractProbe
from ._train import Train


def measure_with(
    probe: AbstractProbe,
    learner: Learner,
    stream: AbstractTaskStream,
    stream_state: Any,
    boundary: Boundary,
    train: Train | None,
    *,
    key: PRNGKeyArray,
) -> Any:
    """Returns what a probe measures, as the loop calls it: a probe with a parameter `boundary` or
    `initial` receives the boundary or the network with which the run began, and an
    `AbstractBranchProbe` receives `train` too."""
    given: dict[str, Any] = {"boundary": boundary, "initial": boundary.initial}
    known = {name: value for name, value in given.items() if has_parameter(probe, name)}
    if isinstance(probe, AbstractBranchProbe):
        known |= {"train": train}
    # The loop checks what a probe of one's own returns, and names it.
    measured: Any = probe(learner, stream, stream_state, key=key, **known)
    return measured
