"""What follows from the two factors of a block alone."""

from jaxtyping import Array, Float, Int

from ._block import AbstractProducts
from ._factor import square_of, trace_of, values_of


class AbstractPair(AbstractProducts):
    """A block that is the Kronecker product of `inputs` and `outputs`, in either order."""

    def trace(self) -> Float[Array, ""]:
        return trace_of(self.inputs) * trace_of(self.outputs)

    def square(self) -> tuple[Float[Array, ""], Int[Array, ""]]:
        (a, of_inputs), (b, of_outputs) = square_of(self.inputs), square_of(self.outputs)
        return a * b, of_inputs + of_outputs

    def eigenvalues(self) -> tuple[Float[Array, " longer"], Float[Array, " shorter"]]:
        a, b = values_of(self.inputs), values_of(self.outputs)
        return (a, b) if a.size >= b.size else (b, a)
