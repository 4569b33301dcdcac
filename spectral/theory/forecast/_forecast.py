"""A forecast of the training loss that a network reaches in a budget of steps."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree, Real

from ..._arguments import check_above
from ..._blas import single_threaded_blas
from ...curvature import Risk, SquaredError
from .._base._hypotheses import output_shape
from ._budget import budget_epsilon
from ._descent import descended, mean_loss, residual_limits, shrunk
from ._linearisation import linearised, weighted


class Forecast(eqx.Module):
    """What gradient descent on the linearised network reaches, see `trainability_forecast`.

    - `loss`, `initial_loss`: the loss without its penalty, at the end of the budget and before the
        first step. `loss` is infinite if descent leaves the range of floating-point numbers.
    - `epsilon`, `upper`: the smallest and the largest eigenvalue of the loss-weighted Gram matrix
        whose direction shrinks enough in the budget, see `budget_epsilon`; above `upper` descent
        overshoots too far.
    - `directions`: how many eigenvalues lie between these two.
    - `largest`: the largest eigenvalue; plain gradient descent is stable at the start if
        lr * (largest + weight_decay) < 2.
    - `possible`: the necessary condition on the other directions; true if it is not known.
    - `trainable`: the verdict, loss <= target.
    """

    loss: Float[Array, ""]
    initial_loss: Float[Array, ""]
    epsilon: Float[Array, ""]
    upper: Float[Array, ""]
    directions: Int[Array, ""]
    largest: Float[Array, ""]
    possible: Bool[Array, ""]
    trainable: Bool[Array, ""]


def trainability_forecast(
    risk: Risk,
    params: PyTree,
    *,
    lr: Real[Array, ""] | float,
    steps: int,
    target: Real[Array, ""] | float,
    shrinkage: Real[Array, ""] | float = 0.5,
    weight_decay: Real[Array, ""] | float = 0.0,
) -> Forecast:
    """Forecasts the training loss after `steps` steps of gradient descent with learning rate `lr`,
    and whether a network is trainable in that budget, before the first step.

    The network is replaced by its linearisation at `params`, and each step uses all examples. With
    the weight decay w each step is theta - lr (gradient + w theta). In the outputs z this is
    z - lr (K g + w (z - b)), with the neural tangent kernel K, the gradient g in the outputs, and
    the outputs b = f(theta_0) - J theta_0 of the linearised network at theta = 0.

    - For `SquaredError` g is a multiple of the residual r = z - y. So along an eigenvector u of the
        loss-weighted Gram matrix with eigenvalue lambda, a step is r' = (1 - lr (lambda + w)) r +
        lr w c with c = <u, b - y>. Its fixed point is w c / (lambda + w), and the distance from it
        shrinks by the factor 1 - lr (lambda + w) a step, so the loss has a closed form. Without a
        penalty it is (scale / N) sum_i (1 - lr lambda_i)^(2 steps) <u_i, r>^2. With a penalty, a
        direction without curvature tends to c, the residual of the network without parameters.
    - For any other loss the steps are carried out one after the other in the outputs. A step costs
        a product with the kernel, which has a row for each example and output.

    Steps on single examples with a small learning rate follow these steps on average.

    The forecast is exact for a network that is linear in its parameters, up to rounding. Rounding
    is relative to the largest eigenvalue, so in float32 a direction without curvature may seem to
    shrink after some 1e6 steps. How far another network moves from its linearisation is not known
    beforehand; `docs/theory.md` reports the calibration.

    ```python
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    from spectral.curvature import Risk, SquaredError
    from spectral.theory import trainability_forecast

    def forward(model, inputs):
        return jax.vmap(model)(inputs)

    model = eqx.nn.MLP(3, 2, 16, 1, key=jax.random.key(0))
    inputs = jax.random.normal(jax.random.key(1), (20, 3))
    risk = Risk(forward, SquaredError(), inputs, inputs[:, :2])
    forecast = trainability_forecast(risk, model, lr=0.1, steps=1000, target=0.05)
    forecast.loss, forecast.trainable
    ```

    **Arguments:**

    - `risk`, `params`: as for `GaussNewton`. The Gram matrix has a row for each example and output
        and is diagonalised, so pass at most some hundreds of examples.
    - `lr`, `steps`: the budget.
    - `target`: the loss that counts as success, without its penalty.
    - `shrinkage`: the factor by which a residual must shrink in the budget for its direction to
        count among `directions`. It sets `epsilon`, see `budget_epsilon`, and does not affect the
        loss.
    - `weight_decay`: w of the penalty (w/2) ||theta||^2 over all of `params`, as in `L2`.

    **Returns:** a `Forecast`. For squared error `possible` is a necessary condition. Directions
    below `epsilon` or above `upper` keep more than the fraction `shrinkage` of their residual. So
    without a penalty a loss of `target` requires that the energy of the residual in these
    directions is at most N target / (scale shrinkage^2). With a penalty they keep that fraction of
    their distance d from their limits l, and the norm of their residual at the end is at least
    shrinkage ||d|| - ||l||. The condition is not sufficient.

    **Raises:** `ValueError` as `Gram` and `budget_epsilon`, if `target` is negative, and if the
    outputs are not one array.
    """
    check_above("target", target, 0, strict=False)
    epsilon, upper = budget_epsilon(lr, steps, shrinkage=shrinkage, weight_decay=weight_decay)
    output_shape("A forecast", risk, params)
    numbers = [jnp.asarray(x, dtype=float) for x in (lr, target, shrinkage, weight_decay)]
    with single_threaded_blas():
        return jax.block_until_ready(
            _forecast(risk, params, epsilon, upper, jnp.asarray(steps, jnp.int32), *numbers)
        )


@eqx.filter_jit
def _forecast(
    risk: Risk,
    params: PyTree,
    epsilon: Float[Array, ""],
    upper: Float[Array, ""],
    steps: Int[Array, ""],
    lr: Float[Array, ""],
    target: Float[Array, ""],
    shrinkage: Float[Array, ""],
    weight_decay: Float[Array, ""],
) -> Forecast:
    with jax.default_matmul_precision("highest"):
        network = linearised(risk, params)
        values, vectors = jnp.linalg.eigh(weighted(risk, network))
        # Eigenvalues below 0 are rounding errors, along which the residual would grow.
        values = jnp.maximum(values, 0)
        learned = (values >= epsilon) & (values <= upper)
        possible = jnp.asarray(True)
        if isinstance(risk.loss, SquaredError):
            along = lambda outputs: vectors.T @ (outputs - risk.targets).reshape(-1)
            limits = residual_limits(values, along(network.at_zero), weight_decay)
            distances = along(network.outputs) - limits
            odd, count = steps % 2 == 1, steps.astype(lr.dtype)
            left = limits + shrunk(values, distances, lr, weight_decay, count, odd)
            unit = risk.loss.scale / risk.num_examples
            loss = unit * jnp.sum(left**2)
            others = lambda parts: jnp.linalg.norm(jnp.where(learned, 0, parts))
            kept = shrinkage * others(distances) - others(limits)
            possible = unit * jnp.maximum(kept, 0) ** 2 <= target
        else:
            loss = mean_loss(risk, descended(risk, network, lr, weight_decay, steps))
    initial = mean_loss(risk, network.outputs)
    loss = jnp.where(jnp.isnan(loss) & jnp.isfinite(initial), jnp.inf, loss)
    return Forecast(
        loss=loss,
        initial_loss=initial,
        epsilon=epsilon,
        upper=upper,
        directions=jnp.sum(learned),
        largest=jnp.max(values),
        possible=possible,
        trainable=loss <= target,
    )
