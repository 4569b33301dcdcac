"""The multilayer perceptron."""

import equinox as eqx
import jax
from jaxtyping import Array, Float, PRNGKeyArray

from ..._arguments import as_int, check_count, MOST_WRITTEN_OUT
from .._network import AbstractNetwork
from ..layers._call_key import one_key_each
from ..layers._dense_stack import apply_hidden, dense_stack, options_of
from ..layers._initialisers import AbstractInitialiser, KaimingUniform
from ..layers._sparse import Sparse
from ..layers.activations._activation import (
    AbstractActivation,
    Activation,
    as_activation,
    one_for_each,
)
from ..units._of_layer import successive_groups
from ..units._unit_group import UnitGroup


_KAIMING_UNIFORM = KaimingUniform()


class MLP(AbstractNetwork):
    """A multilayer perceptron.

    The defaults are the network of the paper's Permuted MNIST (Appendix G.1): three hidden layers
    of 1000 ReLUs, the weights of every layer, including the last, uniform on +-sqrt(6 / fan_in),
    and zero biases.

    ```python
    model = MLP(784, 10, key=jax.random.key(0))
    logits, taps = model(jnp.zeros(784))     # taps: {"hidden_0": [1000], ...}
    ```
    """

    layers: tuple[eqx.nn.Linear | Sparse, ...]
    norms: tuple[eqx.nn.LayerNorm | None, ...]
    activations: tuple[AbstractActivation, ...]
    initialiser: AbstractInitialiser
    head_initialiser: AbstractInitialiser | None
    density: float = eqx.field(static=True)

    def __init__(
        self,
        in_size: int,
        out_size: int,
        *,
        width: int = 1000,
        depth: int = 3,
        activation: Activation = "relu",
        layer_norm: bool = False,
        density: float = 1.0,
        initialiser: AbstractInitialiser = _KAIMING_UNIFORM,
        head_initialiser: AbstractInitialiser | None = None,
        key: PRNGKeyArray,
    ):
        """**Arguments:**

        - `in_size`, `out_size`: length of the input and of the output vector.
        - `width`: units per hidden layer. Activations with two outputs per unit (`CReLU`,
          `DeepFourier`) double the inputs of the next layer.
        - `depth`: the number of hidden layers; 0 gives a linear map.
        - `activation`: `"relu"`, `"tanh"`, any elementwise function that outlives the call, or an
          `AbstractActivation`.
        - `layer_norm`: normalise the pre-activations of each example over the units of the layer
          (Ba et al., 2016), with a scale and a shift for each unit.
        - `density`: the fraction of connections into each hidden layer, see `Sparse`. The layer of
          the outputs has all connections.
        - `initialiser`: draws weights and biases.
        - `head_initialiser`: draws those of the layer of the outputs, by default `initialiser`.
          Dohare et al. (2024) use `LecunUniform()` there, a gain of 1.

        **Raises:** `ValueError` if a size is below 1, `depth` is negative or above 1000,
        `density` is not above 0 and at most 1, or the name of the activation is unknown.
        """
        check_count("in_size", in_size)
        check_count("out_size", out_size)
        check_count("width", width)
        check_count("depth", depth, minimum=0, maximum=MOST_WRITTEN_OUT)
        in_size, out_size, width, depth = map(as_int, (in_size, out_size, width, depth))
        activation = as_activation(activation)
        self.layers = dense_stack(
            in_size,
            [width] * depth,
            out_size,
            copies=activation.copies,
            initialiser=initialiser,
            head_initialiser=head_initialiser,
            density=density,
            keys=[*jax.random.split(key, depth + 1)],
        )
        self.norms = tuple(eqx.nn.LayerNorm(width) if layer_norm else None for _ in range(depth))
        own_key = jax.random.fold_in(key, depth + 1)
        self.activations = one_for_each(activation, [width] * depth, key=own_key)
        self.initialiser = initialiser
        self.head_initialiser = head_initialiser
        self.density = density

    def __call__(
        self, x: Float[Array, " in_size"], /, *, key: PRNGKeyArray | None = None
    ) -> tuple[Float[Array, " out_size"], dict[str, Float[Array, " activations"]]]:
        if x.shape != self.layers[0].weight.shape[1:]:
            size = self.layers[0].weight.shape[1]
            steps = [
                *(["flatten `x`, in streams by `loader=Loader(flat=True)`"] if x.ndim != 1 else []),
                *([f"make the network with `in_size={x.size}`"] if x.size != size else []),
            ]
            raise ValueError(
                f"`x` has shape {x.shape}, but this network takes vectors of {size} numbers: "
                f"{', and '.join(steps)}."
            )
        *hidden, last = self.layers
        keys = one_key_each(self.activations, key)
        x, taps = apply_hidden("hidden", hidden, self.norms, self.activations, x, keys)
        return last(x), taps

    def units(self) -> tuple[UnitGroup, ...]:
        """One group per hidden layer, named as in the taps."""
        names = [f"hidden_{i}" for i in range(len(self.activations))]
        return successive_groups(self, names, lambda m: m.layers, initialiser=self.initialiser)

    def fresh(self, *, key: PRNGKeyArray) -> "MLP":
        """Returns a newly initialised network of the same shape."""
        first, last = self.layers[0].weight, self.layers[-1].weight
        return MLP(
            first.shape[1],
            last.shape[0],
            width=first.shape[0],
            depth=len(self.activations),
            **options_of(self),
            head_initialiser=self.head_initialiser,
            key=key,
        )
