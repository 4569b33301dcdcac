"""Ranks of the diagonal blocks of a matrix of curvature."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ..._arguments import as_int_or_none, check_above
from ..._base._quantity import Quantity
from ...curvature import (
    epsilon_rank,
    Hessian,
    Lanczos,
    layer_blocks,
    spectral_stable_rank,
)
from ...tasks import Split
from .._base._probe import When
from .._base._sampler import Sampler
from .._base._sampling_probe import AbstractSamplingProbe
from ._of_matrix import check_options, Estimator, Matrix


class BlockSpectra(AbstractSamplingProbe):
    """Records the ranks and the largest eigenvalue of diagonal blocks of the Hessian of the
    stream's criterion, or of another matrix: those of single layers, or of groups of layers such as
    the attention of each block of a transformer. It works for every network.

    The columns of a group begin with its name, in which dots become `_`:

    - `GROUP_epsilon_rank`, `GROUP_normalised_epsilon_rank`: the number and the fraction of the
        eigenvalues of the block with |eigenvalue| > `epsilon`.
    - `GROUP_spectral_stable_rank`: see `spectral.curvature.spectral_stable_rank`.
    - `GROUP_largest`: the largest eigenvalue that was found.

    A block is the matrix of the loss as a function of its own parameters, all others fixed. Blocks
    leave out what couples them, so their ranks do not add up to that of the whole matrix. Each
    block takes a spectrum, and each of its products costs one with the whole matrix, except with
    `GramEigh` and `KroneckerEigh`. Sizes and defaults are those of `CurvatureRanks`.

    ```python
    from spectral.curvature import GaussNewton, GramEigh

    by_part = probes.BlockSpectra(groups=models.TransformerParts(), num_examples=100)
    named = {"attention": "blocks.*.attention.*", "mlp": "blocks.*.mlp.*"}
    ggn = probes.BlockSpectra(
        groups=named, matrix=GaussNewton, estimator=GramEigh(), num_examples=50
    )
    ```

    **Arguments:**

    - `groups`: as for `spectral.curvature.layer_blocks`: a mapping from the names of groups to the
        paths of their layers, in which `*` stands for any text, or a function from the path of a
        layer to the name of its group. By default each layer is a group.
    - `epsilon`: the threshold; the paper uses 0.1 (section 5).
    - `matrix`, `estimator`, `num_examples`, `split`, `batch_size`: as for `HessianSpectrum`.

    **Raises:** `ValueError` if `epsilon` or `num_examples` is not positive, if `batch_size` does
    not divide `num_examples`, if a group has no layers, or if two groups would record a column of
    one name; `TypeError` if `estimator` is a class.
    """

    epsilon: Float[Array, ""]
    groups: Mapping[str, str | Sequence[str]] | Callable[[str], str] | None
    matrix: Matrix
    estimator: Estimator
    batch_size: int | None = eqx.field(static=True, converter=as_int_or_none)

    def __init__(
        self,
        *,
        groups: Mapping[str, str | Sequence[str]] | Callable[[str], str] | None = None,
        epsilon: float | Float[Array, ""] = 0.1,
        matrix: Matrix = Hessian,
        estimator: Estimator | None = None,
        num_examples: int = 1000,
        batch_size: int | None = None,
        split: Split = "train",
        when: tuple[When, ...] = ("start",),
        every: int = 1,
    ):
        check_above("epsilon", epsilon, 0)
        check_options(estimator, batch_size, num_examples)
        super().__init__(num_examples=num_examples, split=split, when=when, every=every)
        self.epsilon = jnp.asarray(epsilon, dtype=float)
        self.groups = groups
        self.matrix = matrix
        self.estimator = Lanczos() if estimator is None else estimator
        self.batch_size = batch_size

    def measure(self, sampler: Sampler, *, key: PRNGKeyArray) -> dict[str, Array]:
        forward_key, vector_key = jax.random.split(key)
        risk = sampler.risk(key=forward_key, batch_size=self.batch_size)
        matrix = self.matrix(risk, sampler.learner.model)
        blocks = layer_blocks(matrix, groups=self.groups)
        keys = jax.random.split(vector_key, len(blocks))
        found = {}
        for (name, block), own_key in zip(blocks.items(), keys, strict=True):
            spectrum = self.estimator(block, key=own_key)
            rank = epsilon_rank(spectrum, self.epsilon).value
            columns = {
                "epsilon_rank": rank,
                "normalised_epsilon_rank": rank / spectrum.dim,
                "spectral_stable_rank": spectral_stable_rank(spectrum).value,
                "largest": spectrum.range()[1],
            }
            own = {f"{_prefix(name)}_{column}": value for column, value in columns.items()}
            if taken := found.keys() & own.keys():
                raise ValueError(
                    f"`groups` has {name!r} and another group that both record the column "
                    f"{min(taken)!r}, because dots become `_`: give one of them another name."
                )
            found |= own
        return found

    def quantities(self) -> dict[str, Quantity]:
        if not isinstance(self.groups, Mapping):
            return {}  # the network alone knows the groups: all columns are shown as they are
        of = f"of {getattr(self.matrix, '__name__', 'the matrix')}"
        rank: dict[str, Any] = {"limits": (0.0, None), "better": "higher", "figure": "block_ranks"}
        kinds: dict[str, tuple[str, dict[str, Any]]] = {
            "epsilon_rank": ("epsilon-rank", rank | {"scale": "log"}),
            "spectral_stable_rank": ("stable rank", rank),
        }
        return {
            f"{_prefix(name)}_{column}": Quantity(f"{label} {of}, {name}", **options)
            for name in self.groups
            for column, (label, options) in kinds.items()
        }


def _prefix(group: str) -> str:
    """Names of columns have no dots of their own: these part the probe, the moment and the name."""
    return group.replace(".", "_")
