"""Matrices whose rows and columns belong to the parameters of a network."""

from typing import TYPE_CHECKING

import equinox as eqx
import jax
from jaxtyping import PyTree

from ..risk._parameters import split_parameters, structure_of
from ._operator import AbstractOperator


class AbstractParameterOperator(AbstractOperator):
    """A matrix that acts on vectors like the parameters of a network.

    **Raises:** `ValueError` if there are no parameters, or if a number in `params` is not in a
    floating-point array.
    """

    if TYPE_CHECKING:
        # To a type checker an abstract variable is a field, which would be the first argument.
        @property
        def params(self) -> PyTree: ...

    else:
        params: eqx.AbstractVar[PyTree]

    def __check_init__(self):
        split_parameters(self.params)

    @property
    def structure(self) -> PyTree[jax.ShapeDtypeStruct]:
        return structure_of(self.params)
