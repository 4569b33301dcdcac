"""Initialisers of the weights and biases of a layer."""

from abc import abstractmethod
from dataclasses import KW_ONLY

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ..._arguments import check_above


class AbstractInitialiser(eqx.Module):
    """Draws the weights `[out, in, *kernel]` and the biases `[out]` of a layer.

    Dense layers have no kernel. The fan-in is `in` times the size of the kernel, the fan-out is
    `out` times that size.

    ```python
    weight, bias = LecunNormal()(jax.random.key(0), (32, 3, 5, 5))
    ```
    """

    @abstractmethod
    def __call__(
        self, key: PRNGKeyArray, shape: tuple[int, ...]
    ) -> tuple[Float[Array, "out in *kernel"], Float[Array, " out"]]:
        """Draws weights of the given shape, and the biases of the layer."""

    def rows(
        self, key: PRNGKeyArray, shape: tuple[int, ...], total: int
    ) -> Float[Array, "rows in *kernel"]:
        """Draws weights of the given shape for a few of the `total` outputs of a layer. Renewed
        units get their weights from here.

        This method is correct for every initialiser that treats all outputs alike. It draws a whole
        layer and keeps the first rows.
        """
        return self(key, (total, *shape[1:]))[0][: shape[0]]

    def residual(self, num_blocks: int) -> "AbstractInitialiser":
        """The initialiser of the matrices whose outputs are added to the residual stream of a
        transformer of `num_blocks` blocks. By default it is this one."""
        return self


class AbstractRowInitialiser(AbstractInitialiser):
    """Draws weights that do not depend on the number of outputs. Rows are drawn without the rest
    of the layer, which is much faster."""

    def rows(
        self, key: PRNGKeyArray, shape: tuple[int, ...], total: int
    ) -> Float[Array, "rows in *kernel"]:
        """Draws weights of the given shape, for any `total` number of outputs."""
        return self(key, shape)[0]


class KaimingUniform(AbstractRowInitialiser):
    """Weights uniform on +-sqrt(6 / fan_in), zero biases (He et al., 2015, for ReLU)."""

    def __call__(
        self, key: PRNGKeyArray, shape: tuple[int, ...]
    ) -> tuple[Float[Array, "out in *kernel"], Float[Array, " out"]]:
        draw = jax.nn.initializers.he_uniform(in_axis=1, out_axis=0)
        return draw(key, shape), jnp.zeros(shape[0])


class KaimingNormal(AbstractRowInitialiser):
    """Normal weights of variance `scale` / fan_in, zero biases (He et al., 2015).

    A scale of 2 preserves the size of activations through ReLUs, a scale of 1 through linear
    layers. The distribution is not truncated, in contrast to that of `LecunNormal`.
    """

    _: KW_ONLY
    scale: float = eqx.field(static=True, default=2.0)

    def __check_init__(self):
        check_above("scale", self.scale, 0)

    def __call__(
        self, key: PRNGKeyArray, shape: tuple[int, ...]
    ) -> tuple[Float[Array, "out in *kernel"], Float[Array, " out"]]:
        draw = jax.nn.initializers.variance_scaling(
            self.scale, "fan_in", "normal", in_axis=1, out_axis=0
        )
        return draw(key, shape), jnp.zeros(shape[0])


class LecunNormal(AbstractRowInitialiser):
    """Weights of variance 1 / fan_in, zero biases (LeCun et al., 1998).

    The distribution is a normal distribution truncated at two standard deviations.
    """

    def __call__(
        self, key: PRNGKeyArray, shape: tuple[int, ...]
    ) -> tuple[Float[Array, "out in *kernel"], Float[Array, " out"]]:
        draw = jax.nn.initializers.lecun_normal(in_axis=1, out_axis=0)
        return draw(key, shape), jnp.zeros(shape[0])


class FanOutNormal(AbstractInitialiser):
    """Weights of variance `scale` / fan_out, zero biases (He et al., 2015, section 2.2).

    The distribution is a normal distribution truncated at two standard deviations. A scale of 2
    preserves the size of gradients through ReLUs, a scale of 1 through linear layers.
    """

    _: KW_ONLY
    scale: float = eqx.field(static=True, default=2.0)

    def __check_init__(self):
        check_above("scale", self.scale, 0)

    def __call__(
        self, key: PRNGKeyArray, shape: tuple[int, ...]
    ) -> tuple[Float[Array, "out in *kernel"], Float[Array, " out"]]:
        draw = jax.nn.initializers.variance_scaling(
            self.scale, "fan_out", "truncated_normal", in_axis=1, out_axis=0
        )
        return draw(key, shape), jnp.zeros(shape[0])

    def rows(
        self, key: PRNGKeyArray, shape: tuple[int, ...], total: int
    ) -> Float[Array, "rows in *kernel"]:
        """Draws weights of the given shape with the variance of a layer with `total` outputs."""
        return FanOutNormal(scale=self.scale * shape[0] / total)(key, shape)[0]


class TorchDefault(AbstractRowInitialiser):
    """Weights and biases uniform on +-sqrt(1 / fan_in), the default of PyTorch's layers."""

    def __call__(
        self, key: PRNGKeyArray, shape: tuple[int, ...]
    ) -> tuple[Float[Array, "out in *kernel"], Float[Array, " out"]]:
        weight_key, bias_key = jax.random.split(key)
        draw = jax.nn.initializers.variance_scaling(
            1 / 3, "fan_in", "uniform", in_axis=1, out_axis=0
        )
        weight = draw(weight_key, shape)
        bound = (weight[0].size) ** -0.5
        return weight, jax.random.uniform(bias_key, shape[:1], minval=-bound, maxval=bound)
