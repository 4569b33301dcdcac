"""Muon for weights that are stored as (out, in)."""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree

from ..._arguments import check_above, check_fraction
from ..._base._optimiser import Optimiser
from .._base._arguments import as_fraction, as_learning_rate, as_positive, LearningRate, Number


def equinox_muon(
    learning_rate: Number,
    *,
    beta: Number = 0.95,
    adam_learning_rate: Number | None = None,
    consistent_rms: Number | None = None,
) -> optax.GradientTransformation:
    """`optax.contrib.muon` (Jordan et al., 2024) for weights that are stored as (out, in).

    The formula is that of optax. At step t it orthogonalises
    beta m / (1 - beta^(t+1)) + (1 - beta) g / (1 - beta^t), with m the running mean of the
    gradients. The authors' code orthogonalises beta m + (1 - beta) g: there the gradient counts
    less, by a factor of 1.95 in the first step and of nearly 1 after 1 / (1 - beta) steps.

    optax expects kernels as (in, out), and would scale the update of a layer from 27 to 256 units
    by 1 instead of sqrt(256 / 27). Matrices and the kernels of convolutions [out, in, ...] are
    orthogonalised, including the first and the last layer. Vectors are trained by Adam with
    `adam_learning_rate`, by default `learning_rate`. Both use Nesterov momentum, matrices with
    decay `beta`. There is no weight decay; add the `L2` penalty for a coupled one.

    **Raises:** `ValueError` for a beta outside [0, 1), a negative learning rate or a
    `consistent_rms` that is not positive.
    """
    check_fraction("beta", beta, strict=True)
    for name, rate in (
        ("learning_rate", learning_rate),
        ("adam_learning_rate", adam_learning_rate),
    ):
        if rate is not None and not callable(rate):  # optax takes a schedule here
            check_above(name, rate, 0, strict=False)
    if consistent_rms is not None:
        check_above("consistent_rms", consistent_rms, 0)
    return optax.contrib.muon(
        learning_rate,
        beta=beta,
        adam_learning_rate=adam_learning_rate,
        consistent_rms=consistent_rms,
        muon_weight_dimension_numbers=_dimensions,
    )


def muon(
    lr: LearningRate = 1e-3,
    *,
    beta: Number = 0.95,
    adam_lr: LearningRate | None = None,
    consistent_rms: Number | None = None,
) -> Optimiser:
    """Muon; see `equinox_muon`. Every recipe accepts it as `lr`.

    **Arguments:**

    - `lr`: the learning rate. Updates are orthonormal matrices times sqrt(max(1, out / in)), so it
      is not comparable with the learning rate of Adam.
    - `beta`: decay of the momentum of matrices.
    - `adam_lr`: the learning rate of Adam for biases and norm layers, by default `lr`.
    - `consistent_rms`: scale updates by sqrt(max(in, out)) times this number instead. 0.2 makes
      `lr` comparable with the learning rate of Adam.

    **Raises:** `ValueError` for an `lr`, `adam_lr` or `consistent_rms` that is not positive, or a
    beta outside [0, 1).
    """
    numbers = {
        "learning_rate": as_learning_rate("lr", lr),
        "beta": as_fraction("beta", beta, below_one=True),
    }
    if adam_lr is not None:
        numbers["adam_learning_rate"] = as_learning_rate("adam_lr", adam_lr)
    if consistent_rms is not None:
        numbers["consistent_rms"] = as_positive("consistent_rms", consistent_rms)
    return Optimiser(equinox_muon, **numbers)


def _dimensions(params: PyTree) -> PyTree:
    def of(p: Array) -> optax.contrib.MuonDimensionNumbers | None:
        inputs = tuple(range(1, jnp.ndim(p)))
        return optax.contrib.MuonDimensionNumbers(inputs, (0,)) if inputs else None

    return jax.tree.map(of, params)
