"""The gradient of each example's loss in the parameters."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..risk._check_risk import check_risk
from ..risk._loss import loss_gradient
from ..risk._risk import Risk
from ..risk.examples._example_batch import ExampleBatch
from ._linearised import linearise


def example_gradients(risk: Risk, params: PyTree) -> PyTree[Float[Array, "examples ..."]]:
    """The gradient of the loss of each example in the parameters.

    The mean over the leading axis is the gradient of the risk, and the mean of the outer products
    is `Fisher(risk, params, factor=Empirical())`. For losses with several labels for each example,
    or with labels that do not count, the sum over the leading axis is `risk.num_labels` times the
    gradient of the risk.

    ```python
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    from spectral.curvature import example_gradients, Risk, SquaredError

    def forward(model, inputs):
        return jax.vmap(model)(inputs)

    model = eqx.nn.Linear(3, 2, key=jax.random.key(0))
    risk = Risk(forward, SquaredError(), jnp.ones((5, 3)), jnp.zeros((5, 2)))
    example_gradients(risk, model).weight  # [5, 2, 3]
    ```

    **Arguments:** those of `GaussNewton`. The result has one number for each parameter and
    example. The examples of one batch of the risk run together, and the batches in turn. All of it
    is compiled.

    **Returns:** a pytree like the parameters, with a leading axis over the examples.

    **Raises:** `ValueError` as `GaussNewton` does, and for a risk that is `batch_dependent`: the
    gradient of one example is undefined if its loss depends on the others.
    """
    check_single_examples(risk)
    check_risk(risk, params)
    return _gradients(risk, params)


def check_single_examples(risk: Risk) -> None:
    """**Raises:** `ValueError` if the losses of single examples are undefined."""
    if risk.batch_dependent:
        raise ValueError(
            "`risk` is `batch_dependent`, but the gradient of one example is undefined if its loss "
            "depends on the other examples: put the network into inference mode, and leave out "
            "`batch_dependent=True`."
        )


def example_gradient(risk: Risk, params: PyTree, example: ExampleBatch) -> PyTree:
    """The gradient of the loss of one example, a batch of one, in the parameters."""
    network = linearise(risk, params, example)
    gradient = loss_gradient(risk.loss, network.outputs, example.targets)
    like_outputs = lambda g, z: g.astype(z.dtype)
    return network.pull()(jax.tree.map(like_outputs, gradient, network.outputs))


@eqx.filter_jit
def _gradients(risk: Risk, params: PyTree) -> PyTree[Float[Array, "examples ..."]]:
    def of_batch(batch: ExampleBatch) -> PyTree:
        # Padding repeats the last example, and is cut off.
        of_example = lambda place: example_gradient(risk, params, batch.example(place))
        return jax.vmap(of_example)(jnp.arange(batch.indices.shape[0]))

    with jax.default_matmul_precision("highest"):
        return risk.each(of_batch)
