"""What the best step along the gradient gains under the quadratic model of the loss."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from ..._arguments import check_count
from ..._base._readable import readable
from ..._base._scaling import joint_norm
from ..operators._example_gradients import check_single_examples, example_gradient
from ..operators._hessian import Hessian
from ..risk._check_risk import check_risk
from ..risk._parameters import split_parameters
from ..risk._risk import Risk
from ..spectra._estimate import Estimate, standard_error


class OneStepGain(eqx.Module):
    """The quadratic model of the loss along its gradient g, and the best step along it."""

    loss: Float[Array, ""]
    norm: Float[Array, ""]  # ||g||
    sharpness: Float[Array, ""]  # g^T H g / ||g||^2; NaN if g is 0
    gain: Float[Array, ""]  # ||g||^4 / (2 g^T H g), in the unit of the loss; NaN if g^T H g <= 0

    __repr__ = readable


class NoisyOneStepGain(eqx.Module):
    """The best expected gain of a step along the gradient of a minibatch."""

    exact: OneStepGain
    noise: Estimate  # tr(H S) / ||g||^2, with S the covariance of the gradients of the examples
    gain: Float[Array, ""]  # NaN if the curvature that a step meets is not positive

    __repr__ = readable


def one_step_gain(risk: Risk, params: PyTree) -> OneStepGain:
    """The sharpness along the gradient, and the largest decrease of the quadratic model of the loss
    along it.

    A lower sharpness and a higher gain leave more room for progress. As signs of plasticity they
    are ours. The model has no best step where it is not convex along g; the gain is NaN there, and
    the sharpness says why. Divide the gain by the loss to compare tasks. This takes one gradient
    and one product with the Hessian.

    ```python
    import jax.numpy as jnp
    from spectral.curvature import closed_risk, one_step_gain

    scales = jnp.array([4.0, 1.0])
    risk = closed_risk(lambda p: p, lambda z: jnp.sum(scales * z**2) / 2)
    found = one_step_gain(risk, jnp.ones(2))
    found.sharpness, found.gain  # 65 / 17 and 289 / 130
    ```

    **Arguments:** those of `Hessian`, with a `Risk`.

    **Raises:** `ValueError` as `Hessian` does.
    """
    check_risk(risk, params)
    return _exact(risk, params)


def noisy_one_step_gain(
    risk: Risk,
    params: PyTree,
    *,
    minibatch_size: int,
    num_samples: int = 10,
    key: PRNGKeyArray,
) -> NoisyOneStepGain:
    """The largest expected decrease of the quadratic model in one step of SGD, over learning rates.

    It is ||g||^4 / (2 (g^T H g + tr(H S) / m)) for minibatches of m examples drawn with
    replacement. The trace is the mean of (g_i - g)^T H (g_i - g) over examples. It is taken over
    `num_samples` of them, each at the price of a product with the Hessian. If the curvature is
    beta in all directions the gain is L / (2 beta) times the optimisation readiness. It is ours.

    **Arguments:**

    - `risk`, `params`: as for `one_step_gain`. The examples of a batch must not depend on one
        another.
    - `minibatch_size`: m.
    - `num_samples`: how many examples the trace is the mean over. They are drawn without
        replacement, so the trace is exact if it is the number of examples.
    - `key`: for this draw.

    **Returns:** a `NoisyOneStepGain`. The standard error of `noise` is over the examples.

    **Raises:** `ValueError` as `Hessian` and `example_gradients` do, if a size is not a positive
    integer, or if `num_samples` is larger than the number of examples.
    """
    check_count("minibatch_size", minibatch_size)
    check_count("num_samples", num_samples)
    check_single_examples(risk)
    if num_samples > risk.num_examples:
        raise ValueError(
            f"`num_samples` is {num_samples}, but must be at most {risk.num_examples}, the number "
            "of examples: ask for fewer, or pass more examples."
        )
    check_risk(risk, params)
    return _noisy(risk, params, minibatch_size, num_samples, key)


@eqx.filter_jit
def _exact(risk: Risk, params: PyTree) -> OneStepGain:
    return _quadratic_model(risk, params)[0]


@eqx.filter_jit
def _noisy(
    risk: Risk, params: PyTree, minibatch_size: int, num_samples: int, key: PRNGKeyArray
) -> NoisyOneStepGain:
    exact, gradient, product = _quadratic_model(risk, params)
    scale = jnp.where(exact.norm > 0, exact.norm, 1)
    # The mean of the gradients of the examples is the gradient, also if they have several labels.
    factor = risk.num_examples / risk.num_labels

    def curvature_along(index: Int[Array, ""]) -> Float[Array, ""]:
        with jax.default_matmul_precision("highest"):
            own = example_gradient(risk, params, risk.batch(index[None]))
        deviation = lambda x, g: ((factor * x - g) / scale).astype(g.dtype)
        shift = jax.tree.map(deviation, own, gradient)
        return _inner(shift, product(shift))

    chosen = jax.random.permutation(key, risk.num_examples)[:num_samples]
    samples = jax.lax.map(curvature_along, chosen)
    # The examples are the whole population.
    sem = standard_error(samples) * (1 - num_samples / risk.num_examples) ** 0.5
    noise = jnp.where(exact.norm > 0, jnp.mean(samples), jnp.nan)
    gain = _gain(exact.norm, exact.sharpness + noise / minibatch_size)
    return NoisyOneStepGain(exact, Estimate(value=noise, sem=sem), gain)


def _quadratic_model(
    risk: Risk, params: PyTree
) -> tuple[OneStepGain, PyTree, Callable[[PyTree], PyTree]]:
    """The gain, the gradient, and the product with the Hessian."""
    dynamic, constants = split_parameters(params)
    with jax.default_matmul_precision("highest"):
        value, gradient = jax.value_and_grad(lambda p: risk(eqx.combine(p, constants)))(dynamic)
    product = Hessian(risk, params).product()
    length = joint_norm(jax.tree.leaves(gradient))
    scale = jnp.where(length > 0, length, 1)
    direction = jax.tree.map(lambda g: g / scale.astype(g.dtype), gradient)
    sharpness = jnp.where(length > 0, _inner(direction, product(direction)), jnp.nan)
    found = OneStepGain(value, length, sharpness, _gain(length, sharpness))
    return found, gradient, product


def _gain(length: Float[Array, ""], curvature: Float[Array, ""]) -> Float[Array, ""]:
    convex = curvature > 0
    return jnp.where(convex, length * (length / (2 * jnp.where(convex, curvature, 1))), jnp.nan)


def _inner(a: PyTree, b: PyTree) -> Float[Array, ""]:
    return jax.tree.reduce(jnp.add, jax.tree.map(lambda x, y: jnp.sum(x * y), a, b))
