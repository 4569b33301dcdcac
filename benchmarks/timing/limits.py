"""What the machine can do: bytes per second of a copy, operations per second of a product."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from timing.case import Case, Contender


# A call should take so long that its own overhead is small, but it repeats no more often than this.
_BYTES, _OPERATIONS, _MOST = 2e8, 2e9, 1000


def limits(case: Case) -> dict[str, dict[str, Contender]]:
    """What is timed beside a case to know its limits: copies of arrays as large as its working set,
    and its largest matrix product, in every library that is there.

    A unit is the bytes that a copy reads and writes, or the operations of a product.
    """
    found: dict[str, dict[str, Contender]] = {}
    if case.traffic is not None and case.working_set is not None:
        found["bandwidth"] = _copies(case.working_set)
    if case.flops is not None and case.product is not None:
        found["product"] = _products(*case.product)
    return found


def _copies(size: int) -> dict[str, Contender]:
    # Half of the working set is written. Memory of zeros would be one page, read again and again.
    data = np.ones(max(size // 8, 1), np.float32)
    target, repeats = data.copy(), _repeats(_BYTES / (2 * data.nbytes))
    units = 2 * data.nbytes * repeats
    scaled = jax.jit(lambda x, n: jax.lax.fori_loop(0, n, lambda _, y: y * 1.0001 + 1.0, x))
    array = jnp.asarray(data)

    def copy() -> None:
        for _ in range(repeats):
            np.copyto(target, data)

    return {
        "NumPy": Contender(copy, units),
        "JAX": Contender(lambda: scaled(array, repeats), units),
    }


def _products(m: int, k: int, n: int) -> dict[str, Contender]:
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=shape).astype(np.float32) for shape in ((m, k), (k, n)))
    operations = 2 * m * k * n
    repeats = _repeats(_OPERATIONS / operations)
    target = np.zeros((m, n), np.float32)
    ours, left, right = jax.jit(jnp.matmul), jnp.asarray(a), jnp.asarray(b)

    def repeated(call: Callable[[], object]) -> Contender:
        def run() -> object:
            for _ in range(repeats - 1):
                call()
            return call()

        return Contender(run, operations * repeats)

    found = {
        "NumPy": repeated(lambda: np.matmul(a, b, out=target)),
        "JAX": repeated(lambda: ours(left, right).block_until_ready()),
    }
    try:
        import torch  # pyright: ignore[reportMissingImports]  (an extra)
    except ImportError:
        return found
    one, other = torch.from_numpy(a), torch.from_numpy(b)
    return found | {"PyTorch": repeated(lambda: one @ other)}


def _repeats(wanted: float) -> int:
    return min(_MOST, max(1, round(wanted)))
