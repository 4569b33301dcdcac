"""One work, done by this library and by its peers."""

from collections.abc import Callable
from dataclasses import dataclass, field

import jax


@dataclass(frozen=True)
class Contender:
    """Who does the work: a call of `run` does it `units` times, such as steps or products.

    The call returns only when the work is done; arrays of JAX in what it returns are waited for.
    """

    run: Callable[[], object]
    units: int = 1

    def __call__(self) -> None:
        jax.block_until_ready(self.run())


@dataclass(frozen=True)
class Case:
    """One work, done by this library and by its peers. All numbers are for one unit.

    - `ours`, `peers`: who does it; the peers by name, such as `"PyTorch"`.
    - `flops`: the floating-point operations that the work needs, however it is done.
    - `traffic`: the bytes that it must read and write, with each array once.
    - `working_set`: the bytes that it works on again and again. Bandwidth is measured by copying
      arrays of this size, which may fit into a cache.
    - `product`: m, k and n of the largest matrix product in it, for the limit of FLOP/s.
    - `rounds`: how often all contenders are timed, if not as often as the command says.

    Work whose operations or bytes are unknown has no limit.
    """

    ours: Contender
    peers: dict[str, Contender] = field(default_factory=dict)
    flops: float | None = None
    traffic: float | None = None
    working_set: int | None = None
    product: tuple[int, int, int] | None = None
    rounds: int | None = None


def operations(function: Callable[..., object], *arguments: object) -> float:
    """The floating-point operations of a function of arrays, as XLA counts them before it
    optimises. The bodies of loops count once."""
    found = jax.jit(function).lower(*arguments).cost_analysis()
    return float(found["flops"])  # pyright: ignore[reportOptionalSubscript, reportArgumentType]
