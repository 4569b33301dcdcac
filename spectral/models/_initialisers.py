"""How the weights and biases of a layer are drawn."""

from abc import abstractmethod

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray


class AbstractInitialiser(eqx.Module):
    """Draws the weights of a layer, `[out, in, *kernel]`, and its biases, `[out]`.

    The fan-in of an output is `in` times the size of the kernel; the fan-out, `out` times that
    size.
    """

    @abstractmethod
    def weight(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> Float[Array, "out in *kernel"]:
        """Weights of the given shape."""

    def bias(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> Float[Array, " out"]:
        """Biases that go with weights of the given shape; zero unless an initialiser says more."""
        return jnp.zeros(shape[0])


class KaimingUniform(AbstractInitialiser):
    """Weights uniform on +-sqrt(6 / fan_in), zero biases (He et al., 2015, for ReLU)."""

    def weight(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> Float[Array, "out in *kernel"]:
        return jax.nn.initializers.he_uniform(in_axis=1, out_axis=0)(key, shape)


class KaimingNormal(AbstractInitialiser):
    """Normal weights of variance 2 / fan_in, zero biases (He et al., 2015, for ReLU)."""

    def weight(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> Float[Array, "out in *kernel"]:
        fan_in = shape[1] * _kernel_size(shape)
        return jax.random.normal(key, shape) * (2 / fan_in) ** 0.5


class LecunNormal(AbstractInitialiser):
    """Weights of variance 1 / fan_in from a normal distribution cut at two standard deviations,
    zero biases (LeCun et al., 1998)."""

    def weight(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> Float[Array, "out in *kernel"]:
        return jax.nn.initializers.lecun_normal(in_axis=1, out_axis=0)(key, shape)


class FanOutNormal(AbstractInitialiser):
    """Weights of variance 2 / fan_out from a normal distribution cut at two standard deviations,
    zero biases (He et al., 2015, equation 14: the scale of the gradients is kept)."""

    def weight(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> Float[Array, "out in *kernel"]:
        scaled = jax.nn.initializers.variance_scaling(
            2.0, "fan_out", "truncated_normal", in_axis=1, out_axis=0
        )
        return scaled(key, shape)


class TorchDefault(AbstractInitialiser):
    """Weights and biases uniform on +-sqrt(1 / fan_in), as PyTorch's layers begin."""

    def weight(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> Float[Array, "out in *kernel"]:
        return self._draw(key, shape, shape)

    def bias(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> Float[Array, " out"]:
        return self._draw(key, shape, shape[:1])

    def _draw(
        self, key: PRNGKeyArray, shape: tuple[int, ...], drawn: tuple[int, ...]
    ) -> Float[Array, "..."]:
        bound = (shape[1] * _kernel_size(shape)) ** -0.5
        return jax.random.uniform(key, drawn, minval=-bound, maxval=bound)


def _kernel_size(shape: tuple[int, ...]) -> int:
    size = 1
    for length in shape[2:]:
        size *= length
    return size
