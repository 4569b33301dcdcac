"""The spectrum of the Hessian, or of a matrix that stands for it."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ..._arguments import check_above, check_count
from ..._types import Learner
from ...curvature import (
    AbstractOperator,
    AbstractSpectrum,
    epsilon_rank,
    Hessian,
    Lanczos,
    Risk,
)
from ...tasks import AbstractTaskStream, Split
from .._base._probe import When
from .._base._sampling import AbstractSamplingProbe, sample_risk


class HessianSpectrum(AbstractSamplingProbe):
    """The spectrum of the Hessian of the stream's criterion, by default at the start of tasks.

    The matrix is that of the mean loss over `examples` examples, without penalties, in inference
    mode (paper, Appendix F). Records the quadrature `nodes` and `weights` (`[probes, order]`; the
    weights of each probe sum to 1), the `extremes` (`[2]`: the least and the largest node), and the
    share of eigenvalues with |eigenvalue| > `epsilon` as `epsilon_rank`, with `epsilon_rank_lower`
    and `epsilon_rank_upper` (a rigorous bracket of what its probe vectors see), the standard error
    over probe vectors `epsilon_rank_sem`, and `resolved` (1 where the bracket is narrower than a
    tenth of all eigenvalues).

    ```python
    exact = probes.HessianSpectrum(matrix=GaussNewton, estimator=GramSpectrum(), examples=100)
    ```

    **Arguments:**

    - `matrix`: what makes the matrix from the risk on the examples and the network: `Hessian`, or
      another operator of `spectral.curvature`, such as `GaussNewton` or `KFAC`, or a function of
      the two.
    - `estimator`: `estimator(operator, *, key)` gives its spectrum, by default `Lanczos()`.
    - `epsilon`: threshold of the paper, 0.1 (section 5).
    - `examples`, `split`: how many examples of the present task, and which.
    - `chunk`: examples in one pass, by default all; it must divide `examples`.
    """

    epsilon: Float[Array, ""]
    matrix: Callable[[Risk, PyTree], AbstractOperator]
    estimator: Callable[..., AbstractSpectrum]
    examples: int = eqx.field(static=True)
    chunk: int | None = eqx.field(static=True)
    split: Split = eqx.field(static=True)
    when: tuple[When, ...] = eqx.field(static=True)
    every: int = eqx.field(static=True)

    def __init__(
        self,
        *,
        epsilon: float | Float[Array, ""] = 0.1,
        matrix: Callable[[Risk, PyTree], AbstractOperator] = Hessian,
        estimator: Callable[..., AbstractSpectrum] | None = None,
        examples: int = 1000,
        chunk: int | None = None,
        split: Split = "train",
        when: tuple[When, ...] = ("start",),
        every: int = 1,
    ):
        """**Raises:** `ValueError` for an epsilon that is not positive, for no examples, or for a
        chunk that does not divide them; `TypeError` for the class of an estimator."""
        check_above("epsilon", epsilon, 0)
        if isinstance(estimator, type):
            raise TypeError(
                f"`estimator` is the class {estimator.__name__}, but must be an estimator: call it "
                f"with its options, `{estimator.__name__}()`."
            )
        if chunk is not None:
            check_count("chunk", chunk)
            if examples % chunk:
                raise ValueError(
                    f"`chunk` is {chunk}, but must divide the {examples} `examples`: the criterion "
                    "of a stream is a mean over its batch. Change one of the two."
                )
        self.epsilon = jnp.asarray(epsilon, dtype=float)
        self.matrix = matrix
        self.estimator = Lanczos() if estimator is None else estimator
        self.examples = examples
        self.chunk = chunk
        self.split = split
        self.when = when
        self.every = every

    def __call__(
        self, learner: Learner, stream: AbstractTaskStream, stream_state: Any, *, key: PRNGKeyArray
    ) -> dict[str, Array]:
        sample_key, probe_key = jax.random.split(key)
        risk = sample_risk(
            learner,
            stream,
            stream_state,
            self.examples,
            self.split,
            key=sample_key,
            chunk=self.chunk,
        )
        spectrum = self.estimator(self.matrix(risk, learner.model), key=probe_key)
        rank = epsilon_rank(spectrum, self.epsilon)
        nodes, weights = spectrum.quadrature()
        return {
            "nodes": nodes,
            "weights": weights,
            "extremes": jnp.stack(spectrum.range()),
            "epsilon_rank": rank.value / spectrum.dim,
            "epsilon_rank_lower": rank.lower / spectrum.dim,
            "epsilon_rank_upper": rank.upper / spectrum.dim,
            "epsilon_rank_sem": rank.sem / spectrum.dim,
            "resolved": rank.resolved,
        }
