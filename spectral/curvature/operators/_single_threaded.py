"""Compiled functions that call LAPACK."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import equinox as eqx
import jax

from ..._blas import single_threaded_blas


Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def jit_single_threaded(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """`eqx.filter_jit` for a function that runs with one BLAS thread and returns when it is done.

    See `single_threaded_blas` for the reason.
    """
    compiled = eqx.filter_jit(function)

    @functools.wraps(function)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        with single_threaded_blas():
            # Computation is asynchronous, and the limit on the threads ends with this block.
            return jax.block_until_ready(compiled(*args, **kwargs))

    return run
