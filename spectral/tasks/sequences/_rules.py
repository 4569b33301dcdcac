"""Rules from a string of symbols to an answer."""

from abc import abstractmethod

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Int

from ..._arguments import as_int, check_count


class AbstractRule(eqx.Module):
    """The answer to a string of symbols. The answer has symbols of the same vocabulary."""

    @abstractmethod
    def num_answers(self, length: int) -> int:
        """Returns the length of the answer to a string of this length."""

    @abstractmethod
    def answer(self, symbols: Int[Array, "examples length"]) -> Int[Array, "examples answers"]:
        """Returns the answers to strings."""

    def check_fits(self, num_symbols: int) -> None:
        """**Raises:** `ValueError` if answers need more than `num_symbols` symbols. By default it
        accepts all numbers."""


class CopySymbols(AbstractRule):
    """The answer is the string itself.

    ```python
    import jax.numpy as jnp

    tasks.CopySymbols().answer(jnp.array([[3, 1, 2]]))  # [[3, 1, 2]]
    ```
    """

    def num_answers(self, length: int) -> int:
        return length

    def answer(self, symbols: Int[Array, "examples length"]) -> Int[Array, "examples answers"]:
        return symbols


class ReverseSymbols(AbstractRule):
    """The answer is the string from its end to its start.

    ```python
    import jax.numpy as jnp

    tasks.ReverseSymbols().answer(jnp.array([[3, 1, 2]]))  # [[2, 1, 3]]
    ```
    """

    def num_answers(self, length: int) -> int:
        return length

    def answer(self, symbols: Int[Array, "examples length"]) -> Int[Array, "examples answers"]:
        return symbols[:, ::-1]


class SortSymbols(AbstractRule):
    """The answer has the symbols of the string in ascending order.

    ```python
    import jax.numpy as jnp

    tasks.SortSymbols().answer(jnp.array([[3, 1, 2]]))  # [[1, 2, 3]]
    ```
    """

    def num_answers(self, length: int) -> int:
        return length

    def answer(self, symbols: Int[Array, "examples length"]) -> Int[Array, "examples answers"]:
        return jnp.sort(symbols, axis=1)


class ModularAddition(AbstractRule):
    """The answer is one symbol: the sum of all symbols modulo `modulus`.

    ```python
    import jax.numpy as jnp

    tasks.ModularAddition(5).answer(jnp.array([[3, 4]]))  # [[2]]
    ```

    **Raises:** `ValueError` if `modulus` is below 2.
    """

    modulus: int = eqx.field(static=True, converter=as_int)

    def __check_init__(self):
        check_count("modulus", self.modulus, minimum=2)

    def num_answers(self, length: int) -> int:
        return 1

    def answer(self, symbols: Int[Array, "examples length"]) -> Int[Array, "examples answers"]:
        return jnp.sum(symbols, axis=1, keepdims=True) % self.modulus

    def check_fits(self, num_symbols: int) -> None:
        if self.modulus > num_symbols:
            raise ValueError(
                f"`modulus` is {self.modulus}, but there are {num_symbols} symbols, so it must be "
                f"at most {num_symbols}: lower it, or raise `num_symbols`."
            )
