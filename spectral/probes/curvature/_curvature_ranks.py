"""Ranks and extremes of a matrix of curvature."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ..._arguments import as_int_or_none, check_above
from ..._base._quantity import Quantity
from ...curvature import (
    epsilon_rank,
    Hessian,
    Lanczos,
    smoothed_density_mass,
    spectral_effective_rank,
    spectral_stable_rank,
)
from ...tasks import Split
from .._base._probe import When
from .._base._sampler import Sampler
from .._base._sampling_probe import AbstractSamplingProbe
from ._of_matrix import check_options, cost_of, Estimator, Matrix, spectrum_of_matrix


class CurvatureRanks(AbstractSamplingProbe):
    """Records the ranks that have been called signs of plasticity, and the extreme eigenvalues, of
    the Hessian of the stream's criterion or of another matrix.

    All are answers to questions about one spectrum, at the cost of that spectrum. `HessianSpectrum`
    records the spectrum itself. The columns are:

    - `epsilon_rank`: the number of eigenvalues with |eigenvalue| > `epsilon`, with a 95 % interval,
        `epsilon_rank_low` and `epsilon_rank_high`, which is NaN for a single vector.
    - `normalised_epsilon_rank`: their fraction.
    - `relative_epsilon_rank`: the number beyond `relative_epsilon` times the largest |eigenvalue|.
    - `smoothed_density_mass`: what published figures show as the normalised eps-rank.
    - `spectral_stable_rank`, `spectral_effective_rank`: see `spectral.curvature`.
    - `largest`, `smallest`: the largest and the smallest eigenvalue that were found.

    ```python
    from spectral.curvature import GaussNewton, GramEigh

    options = {"matrix": GaussNewton, "estimator": GramEigh(), "num_examples": 50}
    measured = {"hessian": probes.CurvatureRanks(), "ggn": probes.CurvatureRanks(**options)}
    ```

    **Arguments:**

    - `epsilon`, `relative_epsilon`: the thresholds. The first is that of the paper (section 5), and
        the second is ours.
    - `matrix`, `estimator`, `num_examples`, `split`, `batch_size`: as for `HessianSpectrum`.

    **Raises:** `ValueError` if a threshold or `num_examples` is not positive, or if `batch_size`
    does not divide `num_examples`; `TypeError` if `estimator` is a class.
    """

    epsilon: Float[Array, ""]
    relative_epsilon: Float[Array, ""]
    matrix: Matrix
    estimator: Estimator
    batch_size: int | None = eqx.field(static=True, converter=as_int_or_none)

    def __init__(
        self,
        *,
        epsilon: float | Float[Array, ""] = 0.1,
        relative_epsilon: float | Float[Array, ""] = 0.01,
        matrix: Matrix = Hessian,
        estimator: Estimator | None = None,
        num_examples: int = 1000,
        batch_size: int | None = None,
        split: Split = "train",
        when: tuple[When, ...] = ("start",),
        every: int = 1,
    ):
        check_above("epsilon", epsilon, 0)
        check_above("relative_epsilon", relative_epsilon, 0)
        check_options(estimator, batch_size, num_examples)
        super().__init__(num_examples=num_examples, split=split, when=when, every=every)
        self.epsilon = jnp.asarray(epsilon, dtype=float)
        self.relative_epsilon = jnp.asarray(relative_epsilon, dtype=float)
        self.matrix = matrix
        self.estimator = Lanczos() if estimator is None else estimator
        self.batch_size = batch_size

    def measure(self, sampler: Sampler, *, key: PRNGKeyArray) -> dict[str, Array]:
        spectrum = spectrum_of_matrix(
            sampler, self.matrix, self.estimator, batch_size=self.batch_size, key=key
        )
        rank = epsilon_rank(spectrum, self.epsilon)
        smallest, largest = spectrum.range()
        relative = epsilon_rank(spectrum, self.relative_epsilon, relative=True)
        return {
            "epsilon_rank": rank.value,
            "epsilon_rank_low": rank.low,
            "epsilon_rank_high": rank.high,
            "normalised_epsilon_rank": rank.value / spectrum.dim,
            "relative_epsilon_rank": relative.value,
            "smoothed_density_mass": smoothed_density_mass(spectrum, self.epsilon),
            "spectral_stable_rank": spectral_stable_rank(spectrum).value,
            "spectral_effective_rank": spectral_effective_rank(spectrum).value,
            "largest": largest,
            "smallest": smallest,
        }

    def quantities(self) -> dict[str, Quantity]:
        rank: dict[str, Any] = {
            "limits": (0.0, None),
            "better": "higher",
            "figure": "curvature_ranks",
            "cost": cost_of(self.estimator),
        }
        unclear: dict[str, Any] = {"figure": "curvature_ranks", "cost": rank["cost"]}
        of = f"of {getattr(self.matrix, '__name__', 'the matrix')}"
        return {
            "epsilon_rank": Quantity(f"epsilon-rank {of}", scale="log", **rank),
            "relative_epsilon_rank": Quantity(f"relative epsilon-rank {of}", scale="log", **rank),
            "smoothed_density_mass": Quantity(f"smoothed density mass {of}", **rank),
            "spectral_stable_rank": Quantity(f"stable rank {of}", **rank),
            "spectral_effective_rank": Quantity(f"effective rank {of}", **rank),
            # A large value is good or bad, depending on the publication.
            "largest": Quantity(f"largest eigenvalue {of}", **unclear),
        }
