"""The spectrum of the Hessian, or of a matrix in its place."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ..._arguments import (
    as_int,
    as_int_or_none,
    check_above,
    check_count,
    check_representable,
    MOST_ROUNDS,
)
from ..._base._quantity import Quantity
from ...curvature import (
    AbstractSpectrum,
    Hessian,
    Lanczos,
    normalised_epsilon_rank,
)
from ...tasks import Split
from .._base._probe import When
from .._base._sampler import Sampler
from .._base._sampling_probe import AbstractSamplingProbe
from ._of_matrix import check_options, cost_of, Estimator, Matrix, spectrum_of_matrix


class HessianSpectrum(AbstractSamplingProbe):
    """Records the spectrum of the Hessian of the stream's criterion, by default at the start of
    tasks.

    The Hessian is that of the mean loss over `num_examples` examples, without penalties and in
    inference mode (paper, Appendix F). The columns are:

    - `nodes`, `weights`: the quadrature, `[vectors, order]`; the weights of each vector sum to 1.
    - `extremes`: the smallest and the largest node, `[2]`.
    - `normalised_epsilon_rank`: the fraction of eigenvalues with |eigenvalue| > `epsilon`.
    - `normalised_epsilon_rank_lower`, `normalised_epsilon_rank_upper`: a rigorous bracket of that
        fraction as its random vectors see it.
    - `normalised_epsilon_rank_low`, `normalised_epsilon_rank_high`: a 95 % interval for the
        fraction on these examples, from the bracket and the noise of its ends. NaN for a single
        vector.
    - `normalised_epsilon_rank_smallest`: 1 / (number of eigenvalues), the smallest above 0.
    - `normalised_epsilon_rank_sem`: the standard error over the random vectors of the estimator.
        It says how far the value is from the fraction for these examples, and not how much that
        fraction depends on the examples. It is 0 for an exact estimator.
    - `normalised_epsilon_rank_sample_sd`: the standard deviation over samples of the examples, if
        `num_resamples` is not 0.
    - `resolved`: 1 if the bracket is narrower than a tenth of all eigenvalues.

    ```python
    exact = probes.HessianSpectrum(matrix=GaussNewton, estimator=GramEigh(), num_examples=100)
    ```

    **Arguments:**

    - `epsilon`: the threshold; the paper uses 0.1 (section 5).
    - `matrix`: a function of the risk on the examples and the network that returns the matrix:
        `Hessian`, another operator of `spectral.curvature` such as `GaussNewton` or `KFAC`, or your
        own. In YAML it is a name, or a mapping of options, such as
        `{type: KFAC, separate_bias: true}`.
    - `estimator`: a function `estimator(operator, *, key)` that returns the spectrum, by default
        `Lanczos()`.
    - `num_examples`, `split`: how many examples to draw, and from which split of the data.
    - `batch_size`: how many examples to take in one pass, by default all; it must divide
        `num_examples`.
    - `num_resamples`: how many further samples of `num_examples` examples to measure the eps-rank
        on, with the same random vectors. With 0 there is no `normalised_epsilon_rank_sample_sd`.
        Each sample takes the time of one more spectrum.

    **Raises:** `ValueError` if `epsilon` or `num_examples` is not positive, if `num_resamples` is
    negative, or if `batch_size` does not divide `num_examples`; `TypeError` if `estimator` is a
    class.
    """

    epsilon: Float[Array, ""]
    matrix: Matrix
    estimator: Estimator
    batch_size: int | None = eqx.field(static=True, converter=as_int_or_none)
    num_resamples: int = eqx.field(static=True, converter=as_int)

    def __init__(
        self,
        *,
        epsilon: float | Float[Array, ""] = 0.1,
        matrix: Matrix = Hessian,
        estimator: Estimator | None = None,
        num_examples: int = 1000,
        batch_size: int | None = None,
        num_resamples: int = 0,
        split: Split = "train",
        when: tuple[When, ...] = ("start",),
        every: int = 1,
    ):
        check_above("epsilon", epsilon, 0)
        check_representable("epsilon", epsilon)
        check_count("num_resamples", num_resamples, minimum=0, maximum=MOST_ROUNDS)
        check_options(estimator, batch_size, num_examples)
        super().__init__(num_examples=num_examples, split=split, when=when, every=every)
        self.epsilon = jnp.asarray(epsilon, dtype=float)
        self.matrix = matrix
        self.estimator = Lanczos() if estimator is None else estimator
        self.batch_size = batch_size
        self.num_resamples = num_resamples

    def measure(self, sampler: Sampler, *, key: PRNGKeyArray) -> dict[str, Array]:
        spectrum = self._spectrum(sampler, key)
        rank = normalised_epsilon_rank(spectrum, self.epsilon)
        nodes, weights = spectrum.quadrature()
        found = {
            "nodes": nodes,
            "weights": weights,
            "extremes": jnp.stack(spectrum.range()),
            "normalised_epsilon_rank": rank.value,
            "normalised_epsilon_rank_lower": rank.lower,
            "normalised_epsilon_rank_upper": rank.upper,
            "normalised_epsilon_rank_low": rank.low,
            "normalised_epsilon_rank_high": rank.high,
            "normalised_epsilon_rank_smallest": jnp.asarray(1 / spectrum.dim, rank.value.dtype),
            "normalised_epsilon_rank_sem": rank.sem,
            "resolved": rank.resolved,
        }
        if self.num_resamples:
            found["normalised_epsilon_rank_sample_sd"] = self._sample_sd(sampler, rank.value, key)
        return found

    def quantities(self) -> dict[str, Quantity]:
        rank, cost = "normalised_epsilon_rank", cost_of(self.estimator)
        cost = None if cost is None else cost * (1 + self.num_resamples)
        return {
            rank: Quantity(
                "normalised epsilon-rank",
                limits=(0.0, 1.0),
                scale="log",
                compared=True,
                figure="curvature",
                bounds={
                    "lower": f"{rank}_lower",
                    "upper": f"{rank}_upper",
                    "resolved": "resolved",
                    "smallest": f"{rank}_smallest",
                },
                note=_NOTE,
                cost=cost,
            ),
            "extremes": Quantity("largest eigenvalue", reduce=1, figure="curvature", cost=cost),
        }

    def _spectrum(self, sampler: Sampler, key: PRNGKeyArray) -> AbstractSpectrum:
        return spectrum_of_matrix(
            sampler, self.matrix, self.estimator, batch_size=self.batch_size, key=key
        )

    def _sample_sd(
        self, sampler: Sampler, value: Float[Array, ""], key: PRNGKeyArray
    ) -> Float[Array, ""]:
        """The standard deviation of the eps-rank over the first sample, whose `value` is known, and
        the further ones."""

        def rank_of(index: Int[Array, ""]) -> Float[Array, ""]:
            # The same key gives the same random vectors, so that the samples alone differ.
            spectrum = self._spectrum(sampler.resampled(index), key)
            return normalised_epsilon_rank(spectrum, self.epsilon).value

        further = jax.lax.map(rank_of, jnp.arange(self.num_resamples))
        return jnp.std(jnp.append(further, value), ddof=1)


_NOTE = (
    "the fraction of the eigenvalues beyond epsilon, as estimated by the quadrature. In brackets: "
    "the mean ends of its rigorous bracket, which bounds the value for these random vectors at "
    "this order. Resolved: the fraction of the measurements whose bracket is narrow (see "
    "HessianSpectrum)."
)
