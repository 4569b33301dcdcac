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
    Hessian,
    Lanczos,
    normalised_epsilon_rank,
    Risk,
)
from ...tasks import AbstractTaskStream, Split
from .._base._probe import When
from .._base._sampling import AbstractSamplingProbe, sample_risk


class HessianSpectrum(AbstractSamplingProbe):
    """The spectrum of the Hessian of the stream's criterion, by default at the start of tasks.

    The matrix is that of the mean loss over `num_examples` examples, without penalties, in
    inference mode (paper, Appendix F). Records the quadrature `nodes` and `weights` (`[probes,
    order]`; the weights of each probe sum to 1), the `extremes` (`[2]`: the smallest and the
    largest node), and the fraction of eigenvalues with |eigenvalue| > `epsilon` as
    `normalised_epsilon_rank`, with `normalised_epsilon_rank_lower` and
    `normalised_epsilon_rank_upper` (a rigorous bracket of what its probe vectors see), the standard
    error over probe vectors `normalised_epsilon_rank_sem`, and `resolved` (1 where the bracket is
    narrower than a tenth of all eigenvalues).

    ```python
    exact = probes.HessianSpectrum(matrix=GaussNewton, estimator=GramEigh(), num_examples=100)
    ```

    **Arguments:**

    - `matrix`: what makes the matrix from the risk on the examples and the network: `Hessian`, or
      another operator of `spectral.curvature`, such as `GaussNewton` or `KFAC`, or a function of
      the two.
    - `estimator`: `estimator(operator, *, key)` gives its spectrum, by default `Lanczos()`.
    - `epsilon`: threshold of the paper, 0.1 (section 5).
    - `num_examples`, `split`: how many examples of the present task, and which.
    - `batch_size`: examples in one pass, by default all; it must divide `num_examples`.
    """

    epsilon: Float[Array, ""]
    matrix: Callable[[Risk, PyTree], AbstractOperator]
    estimator: Callable[..., AbstractSpectrum]
    num_examples: int = eqx.field(static=True)
    batch_size: int | None = eqx.field(static=True)
    split: Split = eqx.field(static=True)
    when: tuple[When, ...] = eqx.field(static=True)
    every: int = eqx.field(static=True)

    def __init__(
        self,
        *,
        epsilon: float | Float[Array, ""] = 0.1,
        matrix: Callable[[Risk, PyTree], AbstractOperator] = Hessian,
        estimator: Callable[..., AbstractSpectrum] | None = None,
        num_examples: int = 1000,
        batch_size: int | None = None,
        split: Split = "train",
        when: tuple[When, ...] = ("start",),
        every: int = 1,
    ):
        """**Raises:** `ValueError` for an epsilon that is not positive, for no examples, or for a
        batch size that does not divide them; `TypeError` for the class of an estimator."""
        check_above("epsilon", epsilon, 0)
        if isinstance(estimator, type):
            raise TypeError(
                f"`estimator` is the class {estimator.__name__}, but must be an estimator: call it "
                f"with its options, `{estimator.__name__}()`."
            )
        if batch_size is not None:
            check_count("batch_size", batch_size)
            if num_examples % batch_size:
                raise ValueError(
                    f"`batch_size` is {batch_size}, but must divide the {num_examples} "
                    "`num_examples`: the criterion of a stream is a mean over its batch. Change "
                    "one of the two."
                )
        self.epsilon = jnp.asarray(epsilon, dtype=float)
        self.matrix = matrix
        self.estimator = Lanczos() if estimator is None else estimator
        self.num_examples = num_examples
        self.batch_size = batch_size
        self.split = split
        self.when = when
        self.every = every

    def __call__(
        self, learner: Learner, stream: AbstractTaskStream, stream_state: Any, *, key: PRNGKeyArray
    ) -> dict[str, Array]:
        sample_key, vector_key = jax.random.split(key)
        risk = sample_risk(
            learner,
            stream,
            stream_state,
            self.num_examples,
            self.split,
            key=sample_key,
            batch_size=self.batch_size,
        )
        spectrum = self.estimator(self.matrix(risk, learner.model), key=vector_key)
        rank = normalised_epsilon_rank(spectrum, self.epsilon)
        nodes, weights = spectrum.quadrature()
        return {
            "nodes": nodes,
            "weights": weights,
            "extremes": jnp.stack(spectrum.range()),
            "normalised_epsilon_rank": rank.value,
            "normalised_epsilon_rank_lower": rank.lower,
            "normalised_epsilon_rank_upper": rank.upper,
            "normalised_epsilon_rank_sem": rank.sem,
            "resolved": rank.resolved,
        }
