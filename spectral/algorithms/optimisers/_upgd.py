"""Utility-based perturbed gradient descent: entries of low utility get larger steps and noise."""

from typing import Any, get_args, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from ..._arguments import check_above, check_fraction
from ..._base._scaling import norm
from .._base._arguments import check_adam, check_name, Number
from .._base._noise import gaussian_like


Scope = Literal["global", "global_uncorrected", "local"]


class UPGDState(NamedTuple):
    """The running mean of the utilities, and the number of steps."""

    utility: PyTree
    steps: Int[Array, ""]


class AdaptiveUPGDState(NamedTuple):
    """`UPGDState` with the moments of Adam."""

    utility: PyTree
    mean: PyTree
    square: PyTree
    steps: Int[Array, ""]


def perturbed_sgd(
    learning_rate: Number,
    *,
    utility_decay: Number = 0.999,
    noise: Number = 1e-3,
    weight_decay: Number = 1e-3,
    scope: Scope = "global",
    perturb: Literal["gradient", "noise"] = "gradient",
) -> optax.GradientTransformationExtraArgs:
    """UPGD (Elsayed & Mahmood, 2024) as an optax transformation.

    u is the running mean (decay `utility_decay`) of the utility -g theta of an entry, u^ its value
    with the bias corrected, xi Gaussian noise of standard deviation `noise`, and w the decoupled
    `weight_decay`:

        theta <- (1 - lr w) theta - lr (g + xi) (1 - s)
        s = sigmoid(u^ / max u^), the maximum over all entries of the network   (scope="global")
        s = sigmoid(u^ / max u)                                    (scope="global_uncorrected")
        s = sigmoid(u^ / ||u^||), the norm over the incoming weights of a unit  (scope="local")

    The ratio u^ / max u^ is at most 1, so s is at most 0.73 and every entry keeps learning. The
    authors' public code divides by the maximum before its bias is corrected, which is
    `scope="global_uncorrected"`: the ratio is larger by 1 / (1 - utility_decay^t), a thousand at
    the first step. So s is near 0 or 1 for all entries but those of nearly no utility, and useful
    entries stand still for the first 1 / (1 - utility_decay) steps. The default is the form in
    which every utility is corrected.

    `perturb="noise"` is the variant that does not protect useful entries: it takes g + xi (1 - s)
    instead of (g + xi) (1 - s). If the maximum is not positive, s is zero for every entry; the
    public code would protect the most harmful entries.

    `update` needs `params` and `key`; `spectral.Optimiser.apply` passes both.

    **Raises:** `ValueError` for an unknown scope or perturbation, a decay outside [0, 1), or a
    negative learning rate, noise or weight decay.
    """
    check_name("perturb", perturb, ("gradient", "noise"))
    _check(learning_rate, utility_decay, noise, weight_decay, scope)

    def init(params: PyTree) -> UPGDState:
        return UPGDState(jax.tree.map(jnp.zeros_like, params), jnp.zeros((), int))

    def update(
        updates: PyTree, state: Any, params: PyTree = None, *, key: Any = None, **_: Any
    ) -> tuple[PyTree, UPGDState]:
        utility, steps, plastic = _plasticity(updates, params, state, utility_decay, scope)
        xi = _noise(params, noise, key)

        def step(g, x, p, theta):
            moved = (g + x) * p if perturb == "gradient" else g + x * p
            return -learning_rate * (moved + weight_decay * theta)

        return jax.tree.map(step, updates, xi, plastic, params), UPGDState(utility, steps)

    return optax.GradientTransformationExtraArgs(init, update)


def perturbed_adam(
    learning_rate: Number,
    *,
    utility_decay: Number = 0.999,
    noise: Number = 1e-3,
    weight_decay: Number = 1e-3,
    b1: Number = 0.9,
    b2: Number = 0.999,
    eps: Number = 1e-8,
    scope: Scope = "global",
) -> optax.GradientTransformationExtraArgs:
    """`perturbed_sgd` with the step of Adam in place of the gradient (AdaUPGD):

        theta <- (1 - lr w) theta - lr (m^ / (sqrt(v^) + eps) + xi) (1 - s)

    **Raises:** `ValueError` as `perturbed_sgd` and `entrywise_adam`.
    """
    check_adam(learning_rate, b1, b2, eps)
    _check(learning_rate, utility_decay, noise, weight_decay, scope)

    def init(params: PyTree) -> AdaptiveUPGDState:
        zeros = jax.tree.map(jnp.zeros_like, params)
        return AdaptiveUPGDState(zeros, zeros, zeros, jnp.zeros((), int))

    def update(
        updates: PyTree, state: Any, params: PyTree = None, *, key: Any = None, **_: Any
    ) -> tuple[PyTree, AdaptiveUPGDState]:
        utility, steps, plastic = _plasticity(updates, params, state, utility_decay, scope)
        xi = _noise(params, noise, key)
        mean = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.mean, updates)
        square = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g**2, state.square, updates)
        first, second = 1 - b1**steps, 1 - b2**steps

        def step(m, v, x, p, theta):
            moved = (m / first / (jnp.sqrt(v / second) + eps) + x) * p
            return -learning_rate * (moved + weight_decay * theta)

        moved = jax.tree.map(step, mean, square, xi, plastic, params)
        return moved, AdaptiveUPGDState(utility, mean, square, steps)

    return optax.GradientTransformationExtraArgs(init, update)


def _check(
    learning_rate: Number, utility_decay: Number, noise: Number, weight_decay: Number, scope: str
) -> None:
    """**Raises:** `ValueError` for a number that is not allowed, or an unknown scope."""
    check_name("scope", scope, get_args(Scope))
    check_above("learning_rate", learning_rate, 0, strict=False)
    check_fraction("utility_decay", utility_decay, strict=True)
    check_above("noise", noise, 0, strict=False)
    check_above("weight_decay", weight_decay, 0, strict=False)


def _plasticity(
    grads: PyTree,
    params: PyTree,
    state: UPGDState | AdaptiveUPGDState,
    decay: Number,
    scope: Scope,
) -> tuple[PyTree, Int[Array, ""], PyTree]:
    """Returns the utilities after this step, the number of steps, and 1 - s for every entry."""
    steps = state.steps + 1
    utility = jax.tree.map(
        lambda u, g, p: decay * u - (1 - decay) * g * p, state.utility, grads, params
    )
    corrected = jax.tree.map(lambda u: u / (1 - decay**steps), utility)
    if scope == "local":
        scaled = jax.tree.map(_by_row, corrected)
    else:
        compared = corrected if scope == "global" else utility
        largest = jnp.max(jnp.stack([jnp.max(u) for u in jax.tree.leaves(compared)]))
        scaled = jax.tree.map(lambda u: jnp.where(largest > 0, u / largest, -jnp.inf), corrected)
    return utility, steps, jax.tree.map(lambda s: jax.nn.sigmoid(-s), scaled)


def _by_row(utility: Float[Array, "..."]) -> Float[Array, "..."]:
    axes = tuple(range(1, utility.ndim)) if utility.ndim > 1 else None
    size = norm(utility, axes, keepdims=True)
    return utility / jnp.where(size > 0, size, 1)


def _noise(params: PyTree, noise: Number, key: PRNGKeyArray) -> PyTree:
    return jax.tree.map(lambda x: noise * x, gaussian_like(params, key=key))
