"""Strings and their answers by a rule that changes."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Integer, PRNGKeyArray

from ..._arguments import as_int, check_count, check_each
from ..._types import Clock
from .._base._splits import Split
from .._base._unused import unused
from ._rules import AbstractRule
from ._sequence_batch import SequenceBatch
from ._sequence_loader import SequenceLoader
from ._sequence_stream import AbstractSequenceStream
from ._text import token_type


class FormalTask(eqx.Module):
    """The state of a stream of formal tasks."""

    rule: Int[Array, ""]  # the index of the rule
    shifts: Int[Array, "positions symbols"]  # which strings are held out


class FormalTasks(AbstractSequenceStream[FormalTask]):
    """Every task asks for the answers to strings by another rule. The rules return in turn.

    A sequence is a string of `length` random symbols, a separator, and the answer of the rule. The
    network predicts each next token, but only the positions whose next token is of the answer
    count. The separator is the last token of the vocabulary. Nothing in the sequence tells which
    rule holds.

    A part of all strings is held out in each task, and never trained on: those with
    (s_1 + f(s_2, s_3, ...)) mod `num_symbols` below a bound, where f is a sum of random numbers,
    one for each symbol and position, that are drawn at the task boundary. The rule determines the
    answer, so the smallest possible loss is 0, and the loss is its own excess.

    ```python
    additions = tuple(tasks.ModularAddition(modulus) for modulus in (5, 7, 11))
    sums = tasks.FormalTasks(additions, num_symbols=11, length=2, num_tasks=6)
    sums.context, sums.vocabulary_size  # (3, 12)
    rules = tasks.CopySymbols(), tasks.ReverseSymbols(), tasks.SortSymbols()
    strings = tasks.FormalTasks(rules, num_symbols=8, length=6)
    ```
    """

    rules: tuple[AbstractRule, ...]
    loader: SequenceLoader
    num_symbols: int = eqx.field(static=True, converter=as_int)
    length: int = eqx.field(static=True, converter=as_int)
    # First symbols, for any other symbols of a string.
    num_held_out: int = eqx.field(static=True, converter=as_int)
    num_tasks: int = eqx.field(static=True, converter=as_int)

    def __init__(
        self,
        rules: tuple[AbstractRule, ...],
        *,
        num_symbols: int = 10,
        length: int = 8,
        held_out_fraction: float = 0.1,
        num_tasks: int = 100,
        loader: SequenceLoader | None = None,
    ):
        """**Arguments:**

        - `rules`: such as `CopySymbols()` and `ModularAddition(7)`.
        - `num_symbols`: different symbols of a string. The vocabulary also has the separator.
        - `length`: symbols of a string. 2 gives the sum of two numbers for `ModularAddition`.
        - `held_out_fraction`: of all strings. It is rounded to a multiple of 1 / `num_symbols`,
          which is the smallest fraction, while 1 - 1 / `num_symbols` is the largest.
        - `num_tasks`: tasks in the stream.
        - `loader`: by default `SequenceLoader()`.

        **Raises:** `ValueError` for no rules, for a rule whose answers need more symbols, for fewer
        than two symbols, for another number below one, or for a fraction that is not between 0 and
        1; `TypeError` unless `rules` is a tuple of `AbstractRule`.
        """
        check_count("num_symbols", num_symbols, minimum=2)
        check_count("length", length)
        check_count("num_tasks", num_tasks)
        check_each("rules", rules, AbstractRule, "tasks.CopySymbols()")
        if not rules:
            raise ValueError(
                "`rules` is empty, but there must be at least one: pass for example "
                "`(tasks.CopySymbols(),)`."
            )
        for rule in rules:
            rule.check_fits(num_symbols)
        if not 0 < held_out_fraction < 1:
            raise ValueError(
                f"`held_out_fraction` is {held_out_fraction}, but must be above 0 and below 1: "
                "pass for example 0.1."
            )
        self.rules = tuple(rules)
        self.loader = SequenceLoader() if loader is None else loader
        self.num_symbols = num_symbols
        self.length = length
        self.num_held_out = min(max(1, round(held_out_fraction * num_symbols)), num_symbols - 1)
        self.num_tasks = num_tasks

    @property
    def context(self) -> int:
        """The number of tokens that the network sees at once: all except the last answer."""
        return self.length + self._num_answers

    @property
    def vocabulary_size(self) -> int:
        """The number of symbols, and the separator."""
        return self.num_symbols + 1

    def task(self, index: Int[Array, ""], *, key: PRNGKeyArray) -> FormalTask:
        shape = (self.length - 1, self.num_symbols)
        shifts = jax.random.randint(key, shape, 0, self.num_symbols)
        return FormalTask(index % len(self.rules), shifts)

    def fresh_task(self, state: FormalTask, clock: Clock, *, key: PRNGKeyArray) -> FormalTask:
        """Returns a task with one of the rules after the first `num_tasks`, which the run never
        uses. A rule that is not in the list is not known.

        **Raises:** `NoFreshTaskError` if there are no such rules.
        """
        index_key, task_key = jax.random.split(key)
        return self.task(unused("rules", len(self.rules), self.num_tasks, index_key), key=task_key)

    def draw(
        self, state: FormalTask, num_examples: int, split: Split, *, key: PRNGKeyArray
    ) -> Integer[Array, "examples length"]:
        """Returns `num_examples` random strings of a split, each with the same probability.

        **Raises:** `ValueError` for a split that does not exist.
        """
        check_count("num_examples", num_examples)
        if split not in ("train", "held_out"):
            raise ValueError(
                f"`split` is {split!r}, but must be 'train' or 'held_out', because formal tasks "
                "have no other strings: pass one of these."
            )
        bounds = (0, self.num_held_out) if split == "held_out" else (self.num_held_out, None)
        low, high = bounds[0], bounds[1] or self.num_symbols
        other_key, residue_key = jax.random.split(key)
        others = jax.random.randint(other_key, (num_examples, self.length - 1), 0, self.num_symbols)
        residues = jax.random.randint(residue_key, (num_examples,), low, high)
        first = (residues - self._shift(state, others)) % self.num_symbols
        strings = jnp.concatenate([first[:, None], others], axis=1)
        return strings.astype(token_type(self.num_symbols))

    def present(self, state: FormalTask, tokens: Int[Array, "examples length"]) -> SequenceBatch:
        answers = jax.lax.switch(state.rule, [partial(self._padded, r) for r in self.rules], tokens)
        separator = jnp.full((len(tokens), 1), self.num_symbols)
        told = jnp.where(answers == SequenceBatch.ignore_label, self.num_symbols, answers)
        nothing = jnp.full(tokens.shape, SequenceBatch.ignore_label)
        return SequenceBatch(
            jnp.concatenate([tokens, separator, told[:, :-1]], axis=1),
            jnp.concatenate([nothing, answers], axis=1),
        )

    @property
    def _num_answers(self) -> int:
        """The length of the longest answer."""
        return max(rule.num_answers(self.length) for rule in self.rules)

    def _padded(
        self, rule: AbstractRule, symbols: Int[Array, "examples length"]
    ) -> Int[Array, "examples answers"]:
        answers = rule.answer(symbols)
        missing = self._num_answers - answers.shape[1]
        return jnp.pad(answers, ((0, 0), (0, missing)), constant_values=SequenceBatch.ignore_label)

    def _shift(
        self, state: FormalTask, others: Int[Array, "examples positions"]
    ) -> Int[Array, " examples"]:
        """f of the symbols after the first."""
        shifts = jnp.take_along_axis(state.shifts.T, others, axis=0)
        return jnp.sum(shifts, axis=1)
