"""Muon for weights that are stored as (out, in)."""

from typing import get_args, Literal

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree

from ..._arguments import check_above, check_fraction
from ..._base._optimiser import Optimiser
from ...models import unit_groups
from .._base._arguments import (
    as_fraction,
    as_learning_rate,
    as_positive,
    check_name,
    LearningRate,
    Number,
)


Matrices = Literal["all", "hidden"]


def equinox_muon(
    learning_rate: Number,
    *,
    beta: Number = 0.95,
    adam_learning_rate: Number | None = None,
    consistent_rms: Number | None = None,
    matrices: Matrices = "all",
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

    With `matrices="hidden"`, Adam also trains the matrices that read the inputs and those that give
    the outputs, as the authors advise: the embedding, positions, patches and class token of a
    transformer and its output layer. The network says by its `units()` which these are: tables of
    vectors, the matrices of units that read no other units, and those of no unit.

    **Raises:** `TypeError` with `matrices="hidden"` for a network without `units()`, `ValueError`
    for a beta outside [0, 1), a negative learning rate or a
    `consistent_rms` that is not positive, or an unknown `matrices`.
    """
    check_name("matrices", matrices, get_args(Matrices))
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
        muon_weight_dimension_numbers=_dimensions if matrices == "all" else _hidden_dimensions,
    )


def muon(
    lr: LearningRate = 1e-3,
    *,
    beta: Number = 0.95,
    adam_lr: LearningRate | None = None,
    consistent_rms: Number | None = None,
    matrices: Matrices = "all",
) -> Optimiser:
    """Muon; see `equinox_muon`. Every recipe accepts it as `lr`.

    **Arguments:**

    - `lr`: the learning rate. Updates are orthonormal matrices times sqrt(max(1, out / in)), so it
      is not comparable with the learning rate of Adam.
    - `beta`: decay of the momentum of matrices.
    - `adam_lr`: the learning rate of Adam for biases and norm layers, by default `lr`.
    - `consistent_rms`: scale updates by sqrt(max(in, out)) times this number instead. 0.2 makes
      `lr` comparable with the learning rate of Adam.
    - `matrices`: `"all"`, or `"hidden"` to leave those of the inputs and the outputs to Adam, such
      as the embedding and the output layer of a transformer.

    **Raises:** `ValueError` for an `lr`, `adam_lr` or `consistent_rms` that is not positive, a beta
    outside [0, 1) or an unknown `matrices`; `TypeError`, when training starts, with
    `matrices="hidden"` for a network without `units()`.

    ```python
    algorithms.redo(muon(0.02, adam_lr=1e-3, matrices="hidden"))
    ```
    """
    check_name("matrices", matrices, get_args(Matrices))
    numbers = {
        "learning_rate": as_learning_rate("lr", lr),
        "beta": as_fraction("beta", beta, below_one=True),
    }
    if adam_lr is not None:
        numbers["adam_learning_rate"] = as_learning_rate("adam_lr", adam_lr)
    if consistent_rms is not None:
        numbers["consistent_rms"] = as_positive("consistent_rms", consistent_rms)
    return Optimiser(equinox_muon, matrices=matrices, **numbers)


def _dimensions(params: PyTree) -> PyTree:
    def of(p: Array) -> optax.contrib.MuonDimensionNumbers | None:
        inputs = tuple(range(1, jnp.ndim(p)))
        return optax.contrib.MuonDimensionNumbers(inputs, (0,)) if inputs else None

    return jax.tree.map(of, params)


def _hidden_dimensions(params: PyTree) -> PyTree:
    """As `_dimensions`, for the matrices between hidden units alone."""
    is_masked = lambda node: isinstance(node, optax.MaskedNode)
    if any(map(is_masked, jax.tree.leaves(params, is_leaf=is_masked))):
        return _dimensions(params)  # optax has left nothing but these matrices
    hidden = {id(matrix) for matrix in _between(params)}
    is_dims = lambda node: isinstance(node, optax.contrib.MuonDimensionNumbers | None)
    choose = lambda dims, p: dims if id(p) in hidden else None
    return jax.tree.map(choose, _dimensions(params), params, is_leaf=is_dims)


def _between(model: PyTree) -> list[Array]:
    """The incoming matrices of units that read other units."""
    found, read, is_after_stream = [], set(), False
    for group in unit_groups(model):
        own = [entries.where(model) for entries in group.incoming if entries.axis == 0]
        if is_after_stream or any(id(matrix) in read for matrix in own):
            found += own
        read |= {id(entries.where(model)) for entries in group.outgoing}
        is_after_stream |= not group.outgoing
    return found
