"""The Fisher information matrix, exact, sampled and empirical."""

from collections.abc import Callable
from dataclasses import KW_ONLY

import jax
from jaxtyping import PyTree

from ..risk._parameters import split_parameters, structure_of
from ..risk._risk import hold, Risk
from ._gauss_newton import factored_product
from ._gram import Gram
from ._operator import AbstractOperator
from ._output_factor import AbstractOutputFactor, Exact


class Fisher(AbstractOperator):
    """The Fisher matrix of a risk: the mean over its examples of J^T S S^T J.

    J is the Jacobian of the outputs of one example in the parameters, and `factor` says what S S^T
    is: `Exact()`, `Sampled(key)` or `Empirical()`, which are different matrices with one name.

    ```python
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    from spectral.curvature import Empirical, Fisher, Risk, Sampled, SoftmaxCrossEntropy

    def forward(model, inputs):
        return jax.vmap(model)(inputs)

    model = eqx.nn.MLP(3, 2, 4, 1, key=jax.random.key(0))
    risk = Risk(forward, SoftmaxCrossEntropy(), jnp.ones((10, 3)), jnp.zeros(10, int))
    exact = Fisher(risk, model)  # the Gauss-Newton matrix
    sampled = Fisher(risk, model, Sampled(jax.random.key(1), num_samples=8))
    empirical = Fisher(risk, model, Empirical())
    empirical.gram().dense()  # [10, 10]: inner products of the gradients, divided by 10
    ```

    **Arguments:**

    - `risk`: a `Risk`, whose loss is a negative log-likelihood (but for `Empirical`, which takes
        any loss).
    - `params`: any pytree of floating-point arrays, or an Equinox network as it is.
    - `factor`: by default `Exact()`.

    The network is linearised once; a risk of several batches anew in every product.

    **Raises:** `ValueError` if there are no parameters, if a number in `params` is not in a
    floating-point array, or (when a product is first asked for) if the outputs or losses are not
    as `Risk` wants them, or cannot be sampled from.

    See Martens (2020), sections 5 and 11, and Kunstner, Balles and Hennig (2019).
    """

    risk: Risk
    params: PyTree
    _: KW_ONLY
    factor: AbstractOutputFactor = Exact()

    def __check_init__(self):
        split_parameters(self.params)

    @property
    def structure(self) -> PyTree[jax.ShapeDtypeStruct]:
        return structure_of(self.params)

    def product(self) -> Callable[[PyTree], PyTree]:
        return factored_product(self.risk, self.params, self.factor)

    def gram(self) -> Gram:
        """The Gram matrix of the same factors, which has the same eigenvalues but for zeros."""
        return Gram(self.risk, self.params, factor=self.factor)

    def within(self, kept: PyTree[bool]) -> "Fisher":
        """The block of the parameters that are marked, as the matrix of a risk of these alone."""
        return Fisher(*hold(self.risk, self.params, kept), factor=self.factor)
