"""The exact diagonal of a Gauss-Newton or Fisher matrix."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from ...operators._gram import Gram
from ...operators._operator import AbstractOperator
from ...spectra._estimate import Estimate
from .._gram_of import gram_of


class ExactDiagonal(eqx.Module):
    """The diagonal of a Gauss-Newton or Fisher matrix F F^T, without random vectors.

    An entry is the sum of the squares in one row of F. Each column, one for each example and column
    of the output factor, is pulled back through the network on its own. So this costs as much as
    the gradients of N times the number of outputs single examples, in the memory of at most 64
    vectors like the parameters, for any network. The key is not used, and the standard error is 0.

    ```python
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    from spectral.curvature import ExactDiagonal, GaussNewton, Risk, SquaredError

    def forward(model, inputs):
        return jax.vmap(model)(inputs)

    model = eqx.nn.Linear(3, 2, key=jax.random.key(0))
    risk = Risk(forward, SquaredError(), jnp.eye(3), jnp.zeros((3, 2)))
    diagonal = ExactDiagonal()(GaussNewton(risk, model), key=jax.random.key(1))
    diagonal.value.weight, diagonal.value.bias  # [2, 3] and [2]
    ```

    With `Sampled` or `Empirical` factors a `Fisher` has fewer columns and costs less. Use
    `HutchinsonDiagonal` or `XDiagonal` for other matrices.

    **Raises:** `TypeError` when called with an operator that has no method `gram`, or a block of
    one.
    """

    def __call__(self, operator: AbstractOperator, *, key: PRNGKeyArray) -> Estimate:
        """The diagonal, like the vectors of `operator`."""
        del key
        gram = gram_of(operator, "ExactDiagonal", "`HutchinsonDiagonal`")
        if not isinstance(gram, Gram):
            raise TypeError(
                f"`gram` of {type(operator).__name__} returns a {type(gram).__name__}, but "
                "`ExactDiagonal` needs a `Gram`, whose rows it can square: use "
                "`HutchinsonDiagonal`."
            )
        return _diagonal(gram)


@eqx.filter_jit
def _diagonal(gram: Gram) -> Estimate:
    value = gram.squared_rows()
    return Estimate(value=value, sem=jax.tree.map(jnp.zeros_like, value))
