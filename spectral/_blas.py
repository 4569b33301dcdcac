"""Run LAPACK on the CPU with one thread."""

from collections.abc import Iterator
from contextlib import contextmanager

# On CPU, JAX calls the LAPACK in SciPy. It must be loaded before its threads can be limited.
import scipy.linalg.cython_lapack  # noqa: F401
import threadpoolctl


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Run the block with one BLAS thread, and restore the number of threads afterwards.

    With two OpenBLAS threads, `eigh` of a 100 x 100 matrix took 128 ms in some processes and 0.5 ms
    in others. Matrix products are not affected because XLA computes them itself.
    """
    with threadpoolctl.threadpool_limits(1, user_api="blas"):
        yield
