"""Theorem B.3: the part of the Hessian that the Gauss-Newton matrix omits."""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from ..._arguments import check_above, check_count
from ...curvature import AbstractOperator, extreme_eigenpairs, GaussNewton, Hessian, Risk
from .._base._hypotheses import output_shape
from ._number import Number


class OperatorNorm(eqx.Module):
    """The largest |eigenvalue| found by Lanczos. It exceeds the norm by rounding at most, and an
    eigenvalue lies within `residual` of it."""

    value: Float[Array, ""]
    residual: Float[Array, ""]


def residual_norm(
    risk: Risk, params: PyTree, *, key: PRNGKeyArray, order: int | None = None
) -> OperatorNorm:
    """Returns ||R||, the operator norm of the Hessian minus the Gauss-Newton matrix, by Lanczos.

    For a ReLU network R has no blocks within a layer, so the two matrices have equal traces, and
    the positive and negative eigenvalues of R sum to 0.

    ```python
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    from spectral.curvature import Risk, SquaredError
    from spectral.theory import residual_norm

    def forward(model, inputs):
        return jax.vmap(model)(inputs)

    model = eqx.nn.MLP(3, 2, 4, 1, key=jax.random.key(0))
    risk = Risk(forward, SquaredError(), jnp.ones((10, 3)), jnp.zeros((10, 2)))
    residual_norm(risk, model, key=jax.random.key(1)).value
    ```

    **Arguments:**

    - `risk`, `params`: as for `GaussNewton`.
    - `order`: as for `extreme_eigenpairs`. The dimension gives the norm up to rounding.

    **Raises:** `ValueError` as `GaussNewton` and `extreme_eigenpairs`.
    """
    return _norm(Hessian(risk, params) - GaussNewton(risk, params), key, order)


def output_curvature(
    risk: Risk, params: PyTree, *, key: PRNGKeyArray, order: int | None = None
) -> float:
    """Returns Gamma of Theorem B.3 on the inputs of a risk: the largest operator norm, over
    examples and outputs, of the second derivative of one output in the parameters.

    The theorem takes the supremum over the whole ball. `two_layer_curvature` bounds it for a
    two-layer ReLU network. For other networks Gamma is known only on given inputs, and a bound that
    uses it holds for these inputs. Lanczos runs once for each example and output.

    **Raises:** `ValueError` as `Hessian` and `extreme_eigenpairs`, and if the outputs are not one
    array.
    """
    num_outputs = math.prod(output_shape("Theorem B.3", risk, params))
    norms = []
    for example in range(risk.num_examples):
        inputs = jax.tree.map(lambda x, n=example: x[n : n + 1], risk.inputs)
        for output in range(num_outputs):
            of_one = Hessian(_Output(risk.forward, inputs, jnp.asarray(output)), params)
            norms.append(float(_norm(of_one, key, order).value))
    return max(norms)


def residual_bound(
    num_outputs: int,
    curvature: Number,
    gradient: Number,
    *,
    shift: Number,
    network_lipschitz: Number,
    gradient_lipschitz: Number,
    label_change: Number,
    limit: Number = math.inf,
) -> float:
    """Theorem B.3 with the term that (33) omits: a bound on ||R|| at the start of a task.

    sqrt(O) Gamma min(limit, sup ||grad_z l|| + L_f L_g d + label_change).

    **Arguments:**

    - `num_outputs`: O, or 1 if `curvature` bounds the second derivative of every sum of outputs
        with coefficients of norm 1, as `two_layer_curvature` does.
    - `curvature`: Gamma on the new inputs, see `output_curvature` and `two_layer_curvature`.
    - `gradient`: the largest norm, over the examples of the old task, of the gradient of the loss
        of one example in its outputs.
    - `shift`: d, the `directed_hausdorff(new, old)` distance of the inputs.
    - `network_lipschitz`: L_f, for ReLU networks at most the product of the spectral norms of all
        weights.
    - `gradient_lipschitz`: L_g, of the gradient of the loss in the outputs: 2 scale for
        `SquaredError(scale)`, 1/2 for softmax cross-entropy.
    - `label_change`: the largest change of that gradient, in norm, when the old example nearest to
        a new one takes the label of the new one: 0 if the label of an input never changes,
        2 scale ||y - y'|| for squared error, sqrt(2) for softmax cross-entropy with different
        labels.
    - `limit`: an upper bound on the norm of the gradient: sqrt(2) for softmax cross-entropy.

    **Raises:** `ValueError` if `num_outputs` is below 1 or another number is negative.
    """
    numbers = {
        "curvature": curvature,
        "gradient": gradient,
        "shift": shift,
        "network_lipschitz": network_lipschitz,
        "gradient_lipschitz": gradient_lipschitz,
        "label_change": label_change,
    }
    for name, number in numbers.items():
        check_above(name, number, 0, strict=False)
    check_count("num_outputs", num_outputs)
    if not limit >= 0:
        raise ValueError(f"`limit` is {limit}, but must be at least 0: pass the bound of a norm.")
    whole = gradient + network_lipschitz * gradient_lipschitz * shift + label_change
    return math.sqrt(num_outputs) * float(curvature) * min(float(limit), float(whole))


def _norm(operator: AbstractOperator, key: PRNGKeyArray, order: int | None) -> OperatorNorm:
    pairs = extreme_eigenpairs(operator, count=1, key=key, order=order)
    smallest, largest = pairs.smallest, pairs.largest
    ends = jnp.stack([jnp.abs(smallest.values[0]), jnp.abs(largest.values[0])])
    residuals = jnp.stack([smallest.residuals[0], largest.residuals[0]])
    return OperatorNorm(value=jnp.max(ends), residual=residuals[jnp.argmax(ends)])


class _Output(eqx.Module):
    """One output for one example, as a function of the parameters."""

    forward: Callable[[PyTree, PyTree], PyTree]
    inputs: PyTree[Array]
    output: Int[Array, ""]

    def __call__(self, params: PyTree) -> Any:
        return self.forward(params, self.inputs).reshape(-1)[self.output]
