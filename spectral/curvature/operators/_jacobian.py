"""The Jacobian of a network's outputs in its parameters, as a rectangular linear map."""

import lineax as lx
from jaxtyping import PyTree

from ..risk._check_risk import check_risk
from ..risk._parameters import structure_of
from ..risk._risk import Risk
from ..risk.examples._example_batch import ExampleBatch
from ._linearised import linearise


def jacobian(risk: Risk, params: PyTree) -> lx.FunctionLinearOperator:
    """The Jacobian of the outputs of all examples in the parameters.

    It is a rectangular map, so it is an operator of lineax and not a symmetric `AbstractOperator`:
    `jacobian.mv(v)` maps a vector like the parameters to one like the outputs,
    `[examples, ...]`, `jacobian.T.mv(t)` maps back, and `jacobian.as_matrix()` writes it out.

    ```python
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    from spectral.curvature import jacobian, Risk, SquaredError

    def forward(model, inputs):
        return jax.vmap(model)(inputs)

    model = eqx.nn.Linear(3, 2, key=jax.random.key(0))
    risk = Risk(forward, SquaredError(), jnp.ones((5, 3)), jnp.zeros((5, 2)))
    of_outputs = jacobian(risk, model)
    of_outputs.as_matrix()  # [10, 8]: the rows of example n are 2 n and 2 n + 1
    of_outputs.T.mv(jnp.ones((5, 2)))  # like the parameters
    ```

    **Arguments:**

    - `risk`: a `Risk`, whose loss and targets are not used. A risk with several batches is
        linearised again in every product, in the memory of one batch.
    - `params`: any pytree of floating-point arrays, or a whole Equinox network. Vectors are like
        its parameters, in float32 at least; lineax takes no vector of another dtype.

    The products are not divided by the number of examples, and run in full matrix precision.

    **Raises:** `ValueError` as `GaussNewton` does.
    """
    check_risk(risk, params)
    push = risk.joined(lambda batch: _push(risk, params, batch))
    return lx.FunctionLinearOperator(push, structure_of(params))


def _push(risk: Risk, params: PyTree, batch: ExampleBatch):
    return linearise(risk, params, batch).push
