"""The inputs and output gradients of a layer, at all positions of its calls."""

from abc import abstractmethod

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped

from ...._base._precision import in_single


class AbstractRecord(eqx.Module):
    """For each example and column of the output factor, the gradient in the matrix [weight, bias]
    is a sum over positions of outer products of `gradients` and `inputs`."""

    gradients: eqx.AbstractVar[Float[Array, "cotangents examples positions outputs"]]

    @property
    @abstractmethod
    def dense(self) -> "Recorded":
        """The same with vectors as inputs."""

    @property
    @abstractmethod
    def seen(self) -> Shaped[Array, "examples positions ..."]:
        """The inputs of each example, in the form that `matrix` takes."""

    @abstractmethod
    def matrix(
        self,
        seen: Shaped[Array, "positions ..."],
        gradients: Float[Array, "cotangents positions outputs"],
    ) -> Float[Array, "cotangents rows columns"]:
        """The gradient in the weight for the inputs and gradients of one example."""

    @abstractmethod
    def within(self, columns: Bool[np.ndarray, " columns"]) -> "AbstractRecord":
        """The gradient in the marked columns of [weight, bias]."""

    @abstractmethod
    def rotated(
        self, u: Float[Array, "columns columns"], v: Float[Array, "rows rows"] | None
    ) -> "AbstractRecord":
        """The gradient V^T G U; `None` stands for the identity."""


class Recorded(AbstractRecord):
    """Vectors as inputs."""

    inputs: Float[Array, "examples positions inputs"]
    gradients: Float[Array, "cotangents examples positions outputs"]
    transposed: bool = eqx.field(static=True, default=False)  # rows of the matrix are inputs

    @property
    def dense(self) -> "Recorded":
        return self

    @property
    def seen(self) -> Float[Array, "examples positions inputs"]:
        return self.inputs

    def matrix(
        self,
        seen: Shaped[Array, "positions ..."],
        gradients: Float[Array, "cotangents positions outputs"],
    ) -> Float[Array, "cotangents rows columns"]:
        if self.transposed:
            return seen.T[None] @ gradients
        return gradients.swapaxes(1, 2) @ seen[None]

    def within(self, columns: Bool[np.ndarray, " columns"]) -> "Recorded":
        if self.transposed:
            return Recorded(self.inputs, self.gradients[..., columns], True)
        return Recorded(self.inputs[..., columns], self.gradients)

    def rotated(
        self, u: Float[Array, "columns columns"], v: Float[Array, "rows rows"] | None
    ) -> "Recorded":
        assert v is not None  # only lookups leave the standard basis
        of_inputs, of_gradients = (v, u) if self.transposed else (u, v)
        inputs, gradients = in_single(self.inputs), in_single(self.gradients)
        return Recorded(inputs @ of_inputs, gradients @ of_gradients, self.transposed)


class LookedUp(AbstractRecord):
    """Tokens as inputs. The matrix has one row for each token."""

    tokens: Int[Array, "examples positions"]
    gradients: Float[Array, "cotangents examples positions outputs"]
    num_tokens: int = eqx.field(static=True)

    @property
    def dense(self) -> Recorded:
        one_hot = jax.nn.one_hot(self.tokens, self.num_tokens, dtype=self.gradients.dtype)
        return Recorded(one_hot, self.gradients, True)

    @property
    def seen(self) -> Int[Array, "examples positions"]:
        return self.tokens

    def matrix(
        self,
        seen: Shaped[Array, "positions ..."],
        gradients: Float[Array, "cotangents positions outputs"],
    ) -> Float[Array, "cotangents rows columns"]:
        shape = gradients.shape[0], self.num_tokens, gradients.shape[2]
        return jnp.zeros(shape, gradients.dtype).at[:, seen].add(gradients)

    def within(self, columns: Bool[np.ndarray, " columns"]) -> "LookedUp":
        return LookedUp(self.tokens, self.gradients[..., columns], self.num_tokens)

    def rotated(
        self, u: Float[Array, "columns columns"], v: Float[Array, "rows rows"] | None
    ) -> AbstractRecord:
        gradients = in_single(self.gradients) @ u
        if v is None:
            return LookedUp(self.tokens, gradients, self.num_tokens)
        return Recorded(v[self.tokens], gradients, True)


def matrices(record: Recorded) -> Float[Array, "cotangents examples rows columns"]:
    """The gradient of each example in the weight."""
    if record.transposed:
        return jnp.einsum("npi,cnpo->cnio", record.inputs, record.gradients)
    return jnp.einsum("cnpo,npi->cnoi", record.gradients, record.inputs)
