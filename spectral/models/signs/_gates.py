"""How often units are active."""

import math

import jax.numpy as jnp
from jax.scipy.special import entr
from jaxtyping import Array, Bool, Float


def linearised(pre: Float[Array, "examples units *positions"]) -> Bool[Array, " units"]:
    """Marks the units whose pre-activation is positive on every example and position.

    A ReLU passes it unchanged, so such a unit is linear on the data. Lyle et al., *Disentangling
    the Causes of Plasticity Loss in Neural Networks* (2024), call it a zombie. They also count
    units of low variance, with a threshold that is not known to us, so these are left out. The
    opposite are dead units, whose pre-activation is never positive.

    ```python
    linearised(jnp.array([[1.0, -1.0], [2.0, 3.0]]))  # [True, False]
    ```
    """
    return jnp.all(pre > 0, axis=_samples(pre))


def active_fraction(
    activations: Float[Array, "examples units *positions"],
) -> Float[Array, " units"]:
    """The fraction of examples and positions on which each unit is not exactly zero.

    The mean over units is the fraction of active units (FAU) of Sun et al. (2026, arXiv
    2603.07787), as their group's package Plasticine computes it: the fraction of entries that are
    not 0. It says something after ReLU only.

    ```python
    active_fraction(jnp.array([[1.0, 0.0], [2.0, 3.0]]))  # [1, 0.5]
    ```
    """
    return jnp.mean(activations != 0, axis=_samples(activations), dtype=float)


def sign_entropy(pre: Float[Array, "examples units *positions"]) -> Float[Array, " units"]:
    """The entropy in bits of the sign of each unit's pre-activation over examples and positions.

    With the fraction p on which the pre-activation is positive, it is
    -p log2 p - (1 - p) log2 (1 - p): 0 for dead and linearised units, 1 for p = 1/2. Lewandowski et
    al., *Plastic Learning with Deep Fourier Features* (2025), Definition 1, print the mean of the
    sign, which contradicts the maximum that they state; this is the reading that most have. Each
    position is a sample, and positions are not averaged first.

    ```python
    jax.jit(sign_entropy)(jnp.array([[1.0], [-1.0], [-1.0], [-1.0]]))  # 0.8113
    ```
    """
    p = jnp.mean(pre > 0, axis=_samples(pre), dtype=float)
    return (entr(p) + entr(1 - p)) / math.log(2)


def _samples(x: Array) -> tuple[int, ...]:
    return tuple(axis for axis in range(x.ndim) if axis != 1)
