"""The generalised Gauss-Newton matrix."""

from collections.abc import Callable

import equinox as eqx
import jax
from jaxtyping import Array, PyTree

from ..risk._parameters import split_parameters, structure_of
from ..risk._risk import hold, Part, Risk
from ._gram import Gram
from ._operator import AbstractOperator
from ._output_factor import AbstractOutputFactor, Exact


class GaussNewton(AbstractOperator):
    """The generalised Gauss-Newton matrix of a risk: the mean over its examples of J^T H J.

    J is the Jacobian of the outputs of one example in the parameters, H the Hessian of its loss in
    these outputs. It is the Hessian of the risk with the network replaced by its linearisation at
    `params`; what is left is the residual, `Hessian(risk, params) - GaussNewton(risk, params)`. It
    is positive semi-definite for convex losses, of rank at most N times the number of outputs
    (minus N for softmax cross-entropy).

    ```python
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    from spectral.curvature import GaussNewton, Risk, SoftmaxCrossEntropy

    def forward(model, inputs):
        return jax.vmap(model)(inputs)

    model = eqx.nn.MLP(3, 2, 4, 1, key=jax.random.key(0))
    risk = Risk(forward, SoftmaxCrossEntropy(), jnp.ones((10, 3)), jnp.zeros(10, int))
    ggn = GaussNewton(risk, model)
    ggn.dense()  # [26, 26]
    ggn.gram().dense()  # [20, 20], with the same eigenvalues but for zeros
    ```

    **Arguments:**

    - `risk`: a `Risk`, or `closed_risk(forward, loss)` for functions that hold their data.
    - `params`: any pytree of floating-point arrays, or an Equinox network as it is.

    The network is linearised once, which serves J and its transpose; a risk of several batches is
    linearised anew in every product, in the memory of one batch. H is applied in closed form for
    the losses of this package and by differentiation for others.

    Reinforcement learning: PPO's surrogate is not convex in the outputs, and what is called its
    Gauss-Newton matrix is the Fisher matrix of the policy plus the Gauss-Newton matrix of the value
    loss. Give outputs `(logits, value)` the loss

    ```python
    def surrogate(outputs, targets):
        logits, value = outputs
        old = jax.lax.stop_gradient(jax.nn.log_softmax(logits))
        kl = jnp.sum(jnp.exp(old) * (old - jax.nn.log_softmax(logits)), axis=1)
        return kl + 0.5 * (value - targets) ** 2
    ```

    The divergence from the policy itself has no gradient, and its Hessian is the Fisher matrix;
    the same holds for any other distribution of actions.

    **Raises:** `ValueError` if there are no parameters, if a number in `params` is not in a
    floating-point array, or (when a product is first asked for) if the outputs or losses are not
    as `Risk` wants them.

    See Schraudolph (2002) and Martens (2020), section 8.
    """

    risk: Risk
    params: PyTree

    def __check_init__(self):
        split_parameters(self.params)

    @property
    def structure(self) -> PyTree[jax.ShapeDtypeStruct]:
        return structure_of(self.params)

    def product(self) -> Callable[[PyTree], PyTree]:
        return factored_product(self.risk, self.params, Exact())

    def gram(self) -> Gram:
        """The Gram matrix of the same factors, which has the same eigenvalues but for zeros."""
        return Gram(self.risk, self.params, factor=Exact())

    def within(self, kept: PyTree[bool]) -> "GaussNewton":
        """The block of the parameters that are marked, as the matrix of a risk of these alone."""
        return GaussNewton(*hold(self.risk, self.params, kept))


def factored_product(
    risk: Risk, params: PyTree, factor: AbstractOutputFactor
) -> Callable[[PyTree], PyTree]:
    """The map v -> mean over examples of J^T S S^T J v."""
    dynamic, constants = split_parameters(params)

    def of_part(part: Part) -> Callable[[PyTree], PyTree]:
        forward = lambda p: risk.outputs(eqx.combine(p, constants), part)
        outputs, push = jax.linearize(forward, dynamic)
        pull = jax.linear_transpose(push, dynamic)
        middle = factor.product(risk.loss, outputs, part.targets, part.rows)

        def apply(vector: PyTree) -> PyTree:
            tangent = push(vector)

            def weigh(x: Array, like: Array) -> Array:
                weights = part.weights.reshape(-1, *[1] * (x.ndim - 1))
                return (weights * x).astype(like.dtype)

            return pull(jax.tree.map(weigh, middle(tangent), tangent))[0]

        return apply

    return risk.summed(of_part)
