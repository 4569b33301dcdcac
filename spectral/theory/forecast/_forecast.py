"""A forecast of the training loss that a network reaches in a budget of steps."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.experimental.ode import odeint
from jaxtyping import Array, Bool, Float, Int, PyTree, Real

from ..._arguments import check_above, check_count
from ..._blas import single_threaded_blas
from ...curvature import Gram, Risk, SquaredError
from .._base._hypotheses import output_shape
from .._base._open_interval import check_strictly_between_0_and_1


Outputs = Float[Array, "examples *shape"]  # noqa: F821 (ruff reads a product of two names)


class Forecast(eqx.Module):
    """What gradient descent on the linearised network reaches, see `trainability_forecast`.

    - `loss`, `initial_loss`: the loss at the end of the budget, and before the first step.
    - `epsilon`, `upper`: the smallest and the largest eigenvalue of the loss-weighted Gram matrix
        whose direction shrinks enough in the budget; above `upper` descent overshoots too far.
    - `directions`: how many eigenvalues lie between these two.
    - `largest`: the largest eigenvalue; plain gradient descent is stable if lr * largest < 2.
    - `possible`: the necessary condition on slow directions; true if it is not known.
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


def budget_epsilon(
    lr: Real[Array, ""] | float, steps: int, *, shrinkage: Real[Array, ""] | float = 0.5
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Returns the epsilon that follows from a budget: the two eigenvalues of the Gram matrix
    between which `steps` steps of gradient descent shrink a residual by the factor `shrinkage` or
    more.

    |1 - lr lambda|^steps <= shrinkage if and only if lambda lies from (1 - shrinkage^(1/steps)) /
    lr to (1 + shrinkage^(1/steps)) / lr.

    ```python
    budget_epsilon(0.03, 1500)[0]  # 0.0154
    ```

    **Raises:** `ValueError` if `lr` is not positive, `steps` is below 1, or `shrinkage` is outside
    (0, 1).
    """
    check_budget(lr, steps, shrinkage)
    # 1 - rho^(1/K) loses all digits for large K.
    logarithm = jnp.log(jnp.asarray(shrinkage, dtype=float)) / steps
    return -jnp.expm1(logarithm) / lr, (1 + jnp.exp(logarithm)) / lr


def check_budget(
    lr: Real[Array, ""] | float, steps: int, shrinkage: Real[Array, ""] | float
) -> None:
    check_above("lr", lr, 0)
    check_count("steps", steps)
    check_strictly_between_0_and_1("shrinkage", shrinkage)


def trainability_forecast(
    risk: Risk,
    params: PyTree,
    *,
    lr: Real[Array, ""] | float,
    steps: int,
    target: Real[Array, ""] | float,
    shrinkage: Real[Array, ""] | float = 0.5,
) -> Forecast:
    """Forecasts the training loss after `steps` steps of gradient descent with learning rate `lr`,
    and whether a network is trainable in that budget, before the first step.

    The network is replaced by its linearisation at `params`, and each step uses all examples,
    without penalties. For `SquaredError` the residual along an eigenvector u_i of the Gram matrix
    shrinks by the factor 1 - lr lambda_i a step, so the loss has a closed form: (scale / N) sum_i
    (1 - lr lambda_i)^(2 steps) <u_i, r>^2. For any other loss the outputs follow the gradient flow
    of the linearised network for the time lr * steps, which is integrated numerically. Steps on
    single examples with the same learning rate follow this flow on average.

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
    - `target`: the loss that counts as success.
    - `shrinkage`: the factor by which a residual must shrink in the budget for its direction to
        count among `directions`. It sets `epsilon`, see `budget_epsilon`, and does not affect the
        loss.

    **Returns:** a `Forecast`. For squared error `possible` is a necessary condition: a loss of
    `target` requires that the energy of the residual in directions below epsilon is at most N
    target / (scale shrinkage^2). It is not sufficient.

    **Raises:** `ValueError` as `Gram` and `budget_epsilon`, if `target` is negative, and if the
    outputs are not one array.
    """
    check_above("target", target, 0, strict=False)
    epsilon, upper = budget_epsilon(lr, steps, shrinkage=shrinkage)
    output_shape("A forecast", risk, params)
    numbers = [jnp.asarray(x, dtype=float) for x in (lr, steps, target, shrinkage)]
    with single_threaded_blas():
        return jax.block_until_ready(_forecast(risk, params, epsilon, upper, *numbers))


@eqx.filter_jit
def _forecast(
    risk: Risk,
    params: PyTree,
    epsilon: Float[Array, ""],
    upper: Float[Array, ""],
    lr: Float[Array, ""],
    steps: Float[Array, ""],
    target: Float[Array, ""],
    shrinkage: Float[Array, ""],
) -> Forecast:
    with jax.default_matmul_precision("highest"):
        outputs = risk.each(lambda part: risk.outputs(params, part))
        kernel = _kernel(risk, params, outputs)
        weighted = _weighted(risk, outputs, kernel)
        values, vectors = jnp.linalg.eigh(weighted)
        # Eigenvalues below 0 are rounding errors, along which the residual would grow.
        values = jnp.maximum(values, 0)
        possible = jnp.asarray(True)
        if isinstance(risk.loss, SquaredError):
            parts = vectors.T @ (outputs - risk.targets).reshape(-1)
            unit = risk.loss.scale / risk.num_examples
            # log |1 - lr lambda| in a form in which a small lr lambda keeps its digits.
            shrinkage_a_step = jnp.log1p(jnp.maximum(-lr * values, lr * values - 2))
            loss = unit * jnp.sum(jnp.exp(2 * steps * shrinkage_a_step) * parts**2)
            slow = jnp.sum(jnp.where(values < epsilon, parts**2, 0))
            possible = unit * shrinkage**2 * slow <= target
        else:
            loss = _mean_loss(risk, _flow(risk, outputs, kernel, lr * steps))
    return Forecast(
        loss=loss,
        initial_loss=_mean_loss(risk, outputs),
        epsilon=epsilon,
        upper=upper,
        directions=jnp.sum((values >= epsilon) & (values <= upper)),
        largest=jnp.max(values),
        possible=possible,
        trainable=loss <= target,
    )


def _mean_loss(risk: Risk, outputs: Outputs) -> Float[Array, ""]:
    # `losses` returns one number for each example or their mean; the mean of either is the mean.
    # The mean of a risk is over its labels.
    scale = risk.num_examples / risk.num_labels
    return scale * jnp.mean(risk.loss.losses(outputs, risk.targets))


def _kernel(risk: Risk, params: PyTree, outputs: Outputs) -> Float[Array, "rows rows"]:
    """The neural tangent kernel J J^T / N, with one row for each example and output."""
    # The Hessian of half the squared distance is the identity.
    plain = Risk(
        risk.forward,
        SquaredError(),
        risk.inputs,
        jnp.zeros_like(outputs),
        batch_size=risk.batch_size,
    )
    return Gram(plain, params).dense()


def _weighted(
    risk: Risk, outputs: Outputs, kernel: Float[Array, "rows rows"]
) -> Float[Array, "columns columns"]:
    """The loss-weighted Gram matrix: the kernel multiplied on both sides by the root of the Hessian
    of each example's loss in its outputs."""
    examples, entries = outputs.shape[0], math.prod(outputs.shape[1:])
    root = risk.loss.hessian_root(outputs, risk.targets)
    root = root.reshape(-1, examples, entries).astype(kernel.dtype)
    blocks = kernel.reshape(examples, entries, examples, entries)
    half = jnp.einsum("knc,ncmd->nkmd", root, blocks)
    whole = jnp.einsum("nkmd,lmd->nkml", half, root)
    size = examples * root.shape[0]
    return (risk.num_examples / risk.num_labels * whole).reshape(size, size)


def _flow(
    risk: Risk,
    outputs: Outputs,
    kernel: Float[Array, "rows rows"],
    time: Float[Array, ""],
) -> Outputs:
    """The outputs after gradient flow of the linearised network."""
    gradient = jax.grad(lambda z: risk.num_examples * _mean_loss(risk, z))

    def velocity(z: Array, t: Array) -> Array:
        return -(kernel @ gradient(z).reshape(-1)).reshape(z.shape)

    times = jnp.stack([jnp.zeros_like(time), time]).astype(outputs.dtype)
    return odeint(velocity, outputs, times, rtol=1e-4, atol=1e-4)[-1]
