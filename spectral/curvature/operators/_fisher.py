"""The Fisher information matrix, exact, sampled and empirical."""

from collections.abc import Callable
from dataclasses import KW_ONLY

from jaxtyping import PyTree

from ..risk._check_risk import check_risk
from ..risk._held import hold
from ..risk._risk import Risk
from ._factored_product import factored_product
from ._gram import Gram
from ._output_factor import AbstractOutputFactor, EXACT
from ._parameter_operator import AbstractParameterOperator


class Fisher(AbstractParameterOperator):
    """The Fisher matrix of a risk: the mean over its examples of J^T S S^T J.

    J is the Jacobian of the outputs of one example in the parameters. `factor` defines S S^T:
    `Exact()`, `Sampled(key)` and `Empirical()` give different matrices, all of which are called
    Fisher matrices.

    ```python
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    from spectral.curvature import Empirical, Fisher, Risk, Sampled, SoftmaxCrossEntropy

    def forward(model, inputs):
        return jax.vmap(model)(inputs)

    model = eqx.nn.Linear(3, 2, key=jax.random.key(0))
    risk = Risk(forward, SoftmaxCrossEntropy(), jnp.ones((10, 3)), jnp.zeros(10, int))
    exact = Fisher(risk, model)  # the Gauss-Newton matrix
    sampled = Fisher(risk, model, factor=Sampled(jax.random.key(1), num_samples=8))
    empirical = Fisher(risk, model, factor=Empirical())
    empirical.gram().dim  # 10: the matrix of inner products of the gradients, divided by 10
    ```

    **Arguments:**

    - `risk`: a `Risk` whose loss is a negative log-likelihood; `Empirical` accepts any loss.
    - `params`: any pytree of floating-point arrays, or a whole Equinox network.
    - `factor`: by default `Exact()`.

    The network is linearised once; a risk with several batches is linearised again in every
    product.

    **Raises:** `ValueError` if there are no parameters, if a number in `params` is not in a
    floating-point array, or (when a product is first requested) if the outputs or losses do not
    have the form that `Risk` requires, or if the loss cannot be sampled from. For concrete arrays
    also if the outputs depend on the division into batches, or if the targets do not fit the loss,
    see `Risk`.

    See Martens (2020), sections 5 and 11, and Kunstner, Balles and Hennig (2019).
    """

    risk: Risk
    params: PyTree
    _: KW_ONLY
    factor: AbstractOutputFactor = EXACT

    def __check_init__(self):
        check_risk(self.risk, self.params)

    def product(self) -> Callable[[PyTree], PyTree]:
        return factored_product(self.risk, self.params, self.factor)

    def gram(self) -> Gram:
        """The Gram matrix of the same factors, which has the same nonzero eigenvalues."""
        return Gram(self.risk, self.params, factor=self.factor)

    def within(self, kept: PyTree[bool]) -> "Fisher":
        """The block of the marked parameters, as the matrix of a risk of these parameters only."""
        return Fisher(*hold(self.risk, self.params, kept), factor=self.factor)
