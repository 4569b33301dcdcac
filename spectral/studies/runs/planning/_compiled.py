"""Programs that are compiled once, with what compiling took and the memory that each needs."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax

from ...._carry import arrays_of


@dataclass(frozen=True)
class Program:
    """A compiled program.

    - `call`: runs it, with arguments as it was compiled for.
    - `seconds`: what tracing and compiling took; 0 if it was known.
    - `temporary`, `outputs`: bytes beside those of the arguments.
    """

    call: Callable[..., Any]
    seconds: float
    temporary: int
    outputs: int


class Programs:
    """Compiles programs, and those that a run compiles once only once."""

    def __init__(self):
        self._known: dict[Any, Program] = {}
        self._measured: dict[int, float] = {}

    def compile(self, program: Any, *arguments: Any, members: int) -> Program:
        """The compiled program.

        `members` is the number of members in the run, for which the run compiles it, also if the
        arguments hold fewer.
        """
        began = time.perf_counter()
        lowered = _lowered(program, arguments)
        # As JAX, which compiles again for another structure of the arguments.
        key = lowered.as_text(), jax.tree.structure(arguments), members
        if key in self._known:
            known = self._known[key]
            return Program(known.call, 0.0, known.temporary, known.outputs)
        compiled = lowered.compile()
        seconds = time.perf_counter() - began
        memory = getattr(compiled, "compiled", compiled).memory_analysis()
        made = Program(compiled, seconds, memory.temp_size_in_bytes, memory.output_size_in_bytes)
        self._known[key] = made
        return made

    def measured(self, program: Program, measure: Callable[[], float]) -> float:
        """`measure()`, or what it returned for the same program before."""
        found = self._measured.get(id(program.call))
        return self._measured.setdefault(id(program.call), measure() if found is None else found)

    @property
    def count(self) -> int:
        """The number of programs that were compiled."""
        return len(self._known)


def _lowered(program: Any, arguments: tuple[Any, ...]) -> Any:
    """The program before it is compiled, also for arrays that are given by their shapes; then only
    what it needs can be found, and it is not called."""
    if not any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(arguments)):
        return program.lower(*arguments)
    sized = lambda leaf: eqx.is_array(leaf) or isinstance(leaf, jax.ShapeDtypeStruct)
    arrays, static = eqx.partition(arguments, sized)
    return jax.jit(lambda arrays: arrays_of(program(*eqx.combine(arrays, static)))).lower(arrays)
