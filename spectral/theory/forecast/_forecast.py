"""What training loss a network can reach in a budget of steps, before the first of them."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.experimental.ode import odeint
from jaxtyping import Array, Bool, Float, Int, PyTree, Real

from ..._arguments import check_above, check_count
from ..._blas import single_threaded_blas
from ...curvature import Gram, Risk, SquaredError


Outputs = Float[Array, "examples *shape"]  # noqa: F821 (ruff reads a product of two names)


class Forecast(eqx.Module):
    """What gradient descent on the linearised network will reach; see `trainability_forecast`."""

    loss: Float[Array, ""]  # at the end of the budget
    initial_loss: Float[Array, ""]
    epsilon: Float[
        Array, ""
    ]  # smallest eigenvalue of a direction that shrinks enough in the budget
    upper: Float[Array, ""]  # and the largest: beyond it descent overshoots too much
    directions: Int[Array, ""]  # eigenvalues of the loss-weighted Gram matrix between the two
    largest: Float[Array, ""]  # eigenvalue: plain descent is stable where lr * largest < 2
    possible: Bool[Array, ""]  # the necessary condition on slow directions; True if not known
    trainable: Bool[Array, ""]  # the verdict: loss <= target


def budget_epsilon(
    lr: Real[Array, ""] | float, steps: int, *, shrinkage: Real[Array, ""] | float = 0.5
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The epsilon that follows from a budget: between which eigenvalues of the Gram matrix a
    residual shrinks at least by the factor `shrinkage` in `steps` steps of gradient descent.

    |1 - lr lambda|^steps <= shrinkage if and only if lambda lies from (1 - shrinkage^(1/steps)) /
    lr to (1 + shrinkage^(1/steps)) / lr.

    ```python
    budget_epsilon(0.03, 1500)[0]  # 0.0154
    ```

    **Raises:** `ValueError` for a rate that is not positive, fewer than one step, or a shrinkage
    outside (0, 1).
    """
    check_above("lr", lr, 0)
    check_count("steps", steps)
    check_above("shrinkage", shrinkage, 0)
    check_above("1 - shrinkage", 1 - shrinkage, 0)
    # 1 - rho^(1/K) loses all digits for large K.
    logarithm = jnp.log(jnp.asarray(shrinkage, dtype=float)) / steps
    return -jnp.expm1(logarithm) / lr, (1 + jnp.exp(logarithm)) / lr


def trainability_forecast(
    risk: Risk,
    params: PyTree,
    *,
    lr: Real[Array, ""] | float,
    steps: int,
    target: Real[Array, ""] | float,
    shrinkage: Real[Array, ""] | float = 0.5,
) -> Forecast:
    """Forecast the training loss after `steps` steps of gradient descent at the rate `lr`, and
    whether a network is trainable in that budget, before the first step.

    The network is replaced by its linearisation at `params`, all examples are in every step, and
    there is no penalty. For `SquaredError` the residual along an eigenvector u_i of the Gram matrix
    then shrinks by 1 - lr lambda_i a step, so the loss is known in closed form, (scale / N) sum_i
    (1 - lr lambda_i)^(2 steps) <u_i, r>^2. For any other loss the outputs follow the gradient flow
    of the linearised network for the time lr * steps, which is integrated numerically. With steps
    on single examples at the same rate the flow is what descent follows on average.

    A forecast is exact for a network that is linear in its parameters. (But for rounding, which is
    relative to the largest eigenvalue: in float32 a direction without curvature may seem to shrink
    in some 1e6 steps.) How far another one moves from its linearisation is not known beforehand:
    look at the calibration in `docs/theory.md`.

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

    - `risk`, `params`: as for `GaussNewton`. The matrix has a row for each example and output, and
        is taken apart: give no more than some hundreds of examples.
    - `lr`, `steps`: the budget.
    - `target`: the loss that counts as success.
    - `shrinkage`: by which factor a residual has to shrink in the budget for its direction to count
        among `directions`; it sets `epsilon`, see `budget_epsilon`, and has no part in the loss.

    **Returns:** a `Forecast`. `possible` is a necessary condition for squared error: a loss of
    `target` needs the energy of the residual in directions below epsilon to be at most N target /
    (scale shrinkage^2). It is not sufficient.

    **Raises:** `ValueError` as `Gram` and `budget_epsilon`, for a target below 0, and for outputs
    that are not one array.
    """
    check_above("target", target, 0, strict=False)
    epsilon, upper = budget_epsilon(lr, steps, shrinkage=shrinkage)
    like = eqx.filter_eval_shape(lambda p: risk.forward(p, risk.inputs), params)
    if not isinstance(like, jax.ShapeDtypeStruct):
        raise ValueError(
            "A forecast has the hypothesis of one array of outputs for an example, but `forward` "
            f"returned {jax.tree.structure(like)}: give a risk of the part that is trained."
        )
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
        # None is negative but by rounding, along which a residual would grow.
        values = jnp.maximum(values, 0)
        possible = jnp.asarray(True)
        if isinstance(risk.loss, SquaredError):
            parts = vectors.T @ (outputs - risk.targets).reshape(-1)
            unit = risk.loss.scale / risk.num_examples
            # log |1 - lr lambda|, in which a small lr lambda keeps its digits.
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
    # One number for each example, or their mean: the mean of both is the mean.
    return jnp.mean(risk.loss.losses(outputs, risk.targets))


def _kernel(risk: Risk, params: PyTree, outputs: Outputs) -> Float[Array, "rows rows"]:
    """J J^T / N, with one row for each example and output: the neural tangent kernel."""
    # Half the squared distance has the identity as its Hessian.
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
    """The loss-weighted Gram matrix, with S for each example on both sides of the kernel."""
    examples, entries = outputs.shape[0], math.prod(outputs.shape[1:])
    root = risk.loss.hessian_root(outputs, risk.targets)
    root = root.reshape(-1, examples, entries).astype(kernel.dtype)
    blocks = kernel.reshape(examples, entries, examples, entries)
    half = jnp.einsum("knc,ncmd->nkmd", root, blocks)
    whole = jnp.einsum("nkmd,lmd->nkml", half, root)
    size = examples * root.shape[0]
    return whole.reshape(size, size)


def _flow(
    risk: Risk,
    outputs: Outputs,
    kernel: Float[Array, "rows rows"],
    time: Float[Array, ""],
) -> Outputs:
    """The outputs after gradient flow on the linearised network."""
    gradient = jax.grad(lambda z: risk.num_examples * _mean_loss(risk, z))

    def velocity(z: Array, t: Array) -> Array:
        return -(kernel @ gradient(z).reshape(-1)).reshape(z.shape)

    times = jnp.stack([jnp.zeros_like(time), time]).astype(outputs.dtype)
    return odeint(velocity, outputs, times, rtol=1e-4, atol=1e-4)[-1]
