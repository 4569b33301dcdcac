"""Muon for weights that are stored as (out, in)."""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

from ..._arguments import check_above
from ..._types import Optimiser


def equinox_muon(
    learning_rate: float | Float[Array, ""],
    *,
    beta: float | Float[Array, ""] = 0.95,
    adam_learning_rate: float | Float[Array, ""] | None = None,
    consistent_rms: float | Float[Array, ""] | None = None,
) -> optax.GradientTransformation:
    """`optax.contrib.muon` (Jordan et al., 2024) told that weights are stored as (out, in).

    optax takes kernels as (in, out), and would scale the update of a layer from 27 to 256 units by
    1 instead of sqrt(256 / 27). Matrices and the kernels of convolutions [out, in, ...] are
    orthogonalised, the first and the last layer included; vectors go to Adam, at
    `adam_learning_rate`, which is `learning_rate` where it is not given. Both momenta are
    Nesterov's, that of matrices with decay `beta`. There is no weight decay; for one that is
    coupled add the `L2` penalty.
    """
    return optax.contrib.muon(
        learning_rate,
        beta=beta,
        adam_learning_rate=adam_learning_rate,
        consistent_rms=consistent_rms,
        muon_weight_dimension_numbers=_dimensions,
    )


def muon(
    lr: float | Float[Array, ""] = 1e-3,
    *,
    beta: float | Float[Array, ""] = 0.95,
    adam_lr: float | Float[Array, ""] | None = None,
    consistent_rms: float | Float[Array, ""] | None = None,
) -> Optimiser:
    """Muon; see `equinox_muon`. Every recipe takes it in place of a learning rate.

    **Arguments:**

    - `lr`: the updates are orthonormal matrices times sqrt(max(1, out / in)), so it cannot be
      compared with a rate of Adam.
    - `adam_lr`: rate of Adam for biases and norm layers; `lr` where it is not given.
    - `consistent_rms`: scale updates by sqrt(max(in, out)) times this instead; 0.2 makes `lr`
      comparable with a rate of Adam.

    **Raises:** `ValueError` for a rate that is not positive.
    """
    check_above("lr", lr, 0)
    array = lambda x: jnp.asarray(x, dtype=float)
    given = {}
    if adam_lr is not None:
        check_above("adam_lr", adam_lr, 0)
        given["adam_learning_rate"] = array(adam_lr)
    if consistent_rms is not None:
        check_above("consistent_rms", consistent_rms, 0)
        given["consistent_rms"] = array(consistent_rms)
    return Optimiser(equinox_muon, learning_rate=array(lr), beta=array(beta), **given)


def _dimensions(params: PyTree) -> PyTree:
    def of(p: Array) -> optax.contrib.MuonDimensionNumbers | None:
        inputs = tuple(range(1, jnp.ndim(p)))
        return optax.contrib.MuonDimensionNumbers(inputs, (0,)) if inputs else None

    return jax.tree.map(of, params)
