"""The dense layers that Lemma 6.3 is about, and the inputs of each."""

import equinox as eqx
from jaxtyping import Array, Float

from ...models import apply_network, DescribesUnits, MLP
from .._base._hypotheses import check_relu_network


def dense_layers(statement: str, model: DescribesUnits) -> MLP:
    """Returns the network if it is an `MLP` of ReLUs.

    **Raises:** `ValueError` naming the statement and the hypothesis that fails.
    """
    if not isinstance(model, MLP):
        raise ValueError(
            f"{statement} has the hypothesis that each layer multiplies the activations of the "
            f"previous one by a matrix, but `model` is of type {type(model).__name__}: pass an "
            "`MLP`."
        )
    check_relu_network(statement, model)
    return model


@eqx.filter_jit
def layer_inputs(
    model: MLP, inputs: Float[Array, "examples in_size"]
) -> dict[str, Float[Array, "examples size"]]:
    """The inputs of each hidden layer, by the name of its tap."""
    taps = apply_network(model, None, inputs, inference=True)[1].taps
    features = [inputs, *(taps[group.name] for group in model.units())]
    return {g.name: x for g, x in zip(model.units(), features, strict=False)}
