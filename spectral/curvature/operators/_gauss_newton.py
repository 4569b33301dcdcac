"""The generalised Gauss-Newton matrix."""

from collections.abc import Callable

from jaxtyping import PyTree

from ..risk._check_risk import check_risk
from ..risk._held import hold
from ..risk._risk import Risk
from ._factored_product import factored_product
from ._gram import Gram
from ._output_factor import EXACT
from ._parameter_operator import AbstractParameterOperator


class GaussNewton(AbstractParameterOperator):
    """The generalised Gauss-Newton matrix of a risk: the mean over its examples of J^T H J.

    J is the Jacobian of the outputs of one example in the parameters, and H is the Hessian of its
    loss in these outputs. This is the Hessian of the risk with the network replaced by its
    linearisation at `params`. The rest of the Hessian is the residual,
    `Hessian(risk, params) - GaussNewton(risk, params)`. For convex losses the matrix is positive
    semi-definite. Its rank is at most N times the number of outputs (minus N for softmax
    cross-entropy).

    ```python
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    from spectral.curvature import GaussNewton, Risk, SoftmaxCrossEntropy

    def forward(model, inputs):
        return jax.vmap(model)(inputs)

    model = eqx.nn.Linear(3, 2, key=jax.random.key(0))
    risk = Risk(forward, SoftmaxCrossEntropy(), jnp.ones((10, 3)), jnp.zeros(10, int))
    ggn = GaussNewton(risk, model)
    ggn.dense()  # [8, 8]
    ggn.gram().dim  # 20: a smaller or larger matrix with the same nonzero eigenvalues
    ```

    **Arguments:**

    - `risk`: a `Risk`, or `closed_risk(forward, loss)` for functions that contain their data.
    - `params`: any pytree of floating-point arrays, or a whole Equinox network.

    The network is linearised once, which serves J and its transpose. A risk with several batches is
    linearised again in every product, in the memory of one batch. H is applied in closed form for
    the losses of this package and by differentiation for others.

    Reinforcement learning: PPO's surrogate is not convex in the outputs. Its "Gauss-Newton matrix"
    is, by convention, the Fisher matrix of the policy plus the Gauss-Newton matrix of the value
    loss. For outputs `(logits, value)`, use the loss

    ```python
    def surrogate(outputs, targets):
        logits, value = outputs
        old = jax.lax.stop_gradient(jax.nn.log_softmax(logits))
        kl = jnp.sum(jnp.exp(old) * (old - jax.nn.log_softmax(logits)), axis=1)
        return kl + 0.5 * (value - targets) ** 2
    ```

    The divergence of the policy from itself has no gradient, and its Hessian is the Fisher matrix;
    the same holds for any other distribution of actions.

    **Raises:** `ValueError` if there are no parameters, if a number in `params` is not in a
    floating-point array, or (when a product is first requested) if the outputs or losses do not
    have the form that `Risk` requires. For concrete arrays also if the outputs depend on the
    division into batches, or if the targets do not fit the loss, see `Risk`.

    See Schraudolph (2002) and Martens (2020), section 8.
    """

    risk: Risk
    params: PyTree

    def __check_init__(self):
        check_risk(self.risk, self.params)

    def product(self) -> Callable[[PyTree], PyTree]:
        return factored_product(self.risk, self.params, EXACT)

    def gram(self) -> Gram:
        """The Gram matrix of the same factors, which has the same nonzero eigenvalues."""
        return Gram(self.risk, self.params, factor=EXACT)

    def within(self, kept: PyTree[bool]) -> "GaussNewton":
        """The block of the marked parameters, as the matrix of a risk of these parameters only."""
        return GaussNewton(*hold(self.risk, self.params, kept))
