"""Matrices whose rows and columns belong to the parameters of a network."""

from typing import Any

import jax
from jaxtyping import PyTree

from ..risk._parameters import split_parameters, structure_of
from ._operator import AbstractOperator


class AbstractParameterOperator(AbstractOperator):
    """A matrix that acts on vectors like the parameters of a network, which are its field `params`.

    **Raises:** `ValueError` if there are no parameters, or if a number in `params` is not in a
    floating-point array.
    """

    # `params` is not declared here: type checkers would make it the first argument of `__init__`.

    def __check_init__(self):
        split_parameters(_parameters(self))

    @property
    def structure(self) -> PyTree[jax.ShapeDtypeStruct]:
        return structure_of(_parameters(self))


def _parameters(operator: Any) -> PyTree:
    return operator.params
