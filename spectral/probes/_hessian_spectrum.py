"""The spectrum of the Hessian."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from .._arguments import check_above
from .._types import Learner
from ..curvature import epsilon_rank, Hessian, Lanczos, Spectrum
from ..tasks import AbstractTaskStream, Split
from ._base import AbstractProbe, When
from ._sampling import sample_loss


class HessianSpectrum(AbstractProbe):
    """The spectrum of the Hessian of the stream's criterion, by default at the start of tasks.

    The Hessian is that of the mean loss over `examples` examples, without penalties, in inference
    mode (paper, Appendix F). Records the quadrature `nodes` and `weights` (`[probes, order]`; the
    weights of each probe sum to 1), the `extremes` (`[2]`: the least and the largest node), and the
    share of eigenvalues with |eigenvalue| > `epsilon` as `epsilon_rank`, with `epsilon_rank_lower`
    and `epsilon_rank_upper` (a rigorous bracket of what its probe vectors see), the standard error
    over probe vectors `epsilon_rank_sem`, and `resolved` (1 where the bracket is narrower than a
    tenth of all eigenvalues).

    **Arguments:**

    - `estimator`: `estimator(operator, *, key) -> Spectrum`, by default `Lanczos()`.
    - `epsilon`: threshold of the paper, 0.1 (section 5).
    """

    epsilon: Float[Array, ""]
    estimator: Callable[..., Spectrum]
    examples: int = eqx.field(static=True)
    split: Split = eqx.field(static=True)
    when: tuple[When, ...] = eqx.field(static=True)
    every: int = eqx.field(static=True)

    def __init__(
        self,
        *,
        epsilon: float | Float[Array, ""] = 0.1,
        estimator: Callable[..., Spectrum] | None = None,
        examples: int = 1000,
        split: Split = "train",
        when: tuple[When, ...] = ("start",),
        every: int = 1,
    ):
        """**Raises:** `ValueError` for an epsilon that is not positive."""
        check_above("epsilon", epsilon, 0)
        self.epsilon = jnp.asarray(epsilon, dtype=float)
        self.estimator = Lanczos() if estimator is None else estimator
        self.examples = examples
        self.split = split
        self.when = when
        self.every = every

    def __call__(
        self, learner: Learner, stream: AbstractTaskStream, stream_state: Any, *, key: PRNGKeyArray
    ) -> dict[str, Array]:
        sample_key, probe_key = jax.random.split(key)
        loss, params = sample_loss(
            learner, stream, stream_state, self.examples, self.split, key=sample_key
        )
        spectrum = self.estimator(Hessian(loss, params), key=probe_key)
        rank = epsilon_rank(spectrum, self.epsilon)
        return {
            "nodes": spectrum.nodes,
            "weights": spectrum.weights,
            "extremes": jnp.stack([jnp.min(spectrum.nodes), jnp.max(spectrum.nodes)]),
            "epsilon_rank": rank.value / spectrum.dim,
            "epsilon_rank_lower": rank.lower / spectrum.dim,
            "epsilon_rank_upper": rank.upper / spectrum.dim,
            "epsilon_rank_sem": rank.sem / spectrum.dim,
            "resolved": rank.resolved,
        }
