"""All claims of the protocol."""

from ._claim import Claim
from ._collapse_claims import collapse_claims
from ._performance_claims import performance_claims
from ._proxy_claims import proxy_claims


# Verdicts are by this version of the rows; docs/results/protocol.md has the same.
PROTOCOL = 1


def paper_claims() -> tuple[Claim, ...]:
    """Every claim of the protocol, one row each, in the order of `docs/results/protocol.md`.

    ```python
    {claim.study for claim in studies.paper_claims()}
    ```
    """
    return (*performance_claims(), *collapse_claims(), *proxy_claims())
