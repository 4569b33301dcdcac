"""Apply a network to a batch."""

import re
from typing import Any, NoReturn

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree, Shaped

from .._base._precision import in_single
from .._types import Aux
from .layers._call_key import call_with_key, takes_key


def apply_network(
    model: Any,
    model_state: eqx.nn.State | None,
    inputs: PyTree[Shaped[Array, "examples ..."]],
    *,
    inference: bool,
    key: PRNGKeyArray | None = None,
) -> tuple[PyTree[Float[Array, "examples ..."]], Aux]:
    """Returns the outputs and activations of a network for a batch of inputs.

    The outputs are in float32 at least, so that losses are, and the activations as they are. These
    are sorted by name, where numbers have the order of numbers.

    **Arguments:**

    - `model`: any callable Module that takes one example and returns `(outputs, taps)`, see
      `AbstractNetwork`.
    - `model_state`: running statistics, or `None` for a network without any.
    - `inference`: the value of all `inference` flags in the network, see `eqx.nn.inference_mode`.
      If true, running statistics are used instead of updated, and dropout is off.
    - `key`: split into one key for each example, if the network takes a `key`. Without it, such a
      network receives `key=None` in training, and one fixed key for all examples in inference
      mode, where most networks draw nothing.

    A network takes a `key` if its `__call__` has a parameter of this name. `**kwargs` is not one.

    **Raises:** `ValueError` if the network has running statistics and `model_state` is `None`,
    `TypeError` if the network cannot be called, does not return a pair of outputs and taps (and the
    state, if it has one), or needs a `key` that it does not take.
    """
    _check_applicable(model, model_state)
    model = eqx.nn.inference_mode(model, inference)
    num_examples = jax.tree.leaves(inputs)[0].shape[0]
    keyed = takes_key(model)
    keys = jax.random.split(key, num_examples) if keyed and key is not None else None
    fixed = jax.random.key(0) if keyed and inference else None

    def call(x: PyTree, key: PRNGKeyArray | None, *state: eqx.nn.State) -> Any:
        found = call_with_key(model, x, *state, key=fixed if key is None else key)
        _check_returned(model, found, with_state=bool(state))
        return found

    try:
        if model_state is not None:
            (outputs, taps), model_state = jax.vmap(
                call, axis_name="batch", in_axes=(0, 0, None), out_axes=(0, None)
            )(inputs, keys, model_state)
        elif num_examples == 1:
            # A single example without a batch axis: on CPU the product W @ x is three to five times
            # faster than the same product written for a batch of one.
            result = call(*jax.tree.map(lambda x: x[0], (inputs, keys)))
            outputs, taps = jax.tree.map(lambda x: jnp.asarray(x)[None], result)
        else:
            outputs, taps = jax.vmap(call)(inputs, keys)
    except RuntimeError as error:
        if keyed or "requires a key" not in str(error):
            raise
        _reject_without_key(model, error)
    return in_single(outputs), Aux(_in_order(taps), model_state)


def _in_order(taps: dict[str, Array]) -> dict[str, Array]:
    """The taps by name, with the numbers in names in the order of numbers: `block_2` is before
    `block_10`."""
    parts = lambda name: [int(p) if p.isdecimal() else p for p in re.split(r"(\d+)", name)]
    return {name: taps[name] for name in sorted(taps, key=parts)}


def _check_applicable(part: Any, model_state: eqx.nn.State | None) -> None:
    if model_state is None and any(map(_is_index, jax.tree.leaves(part, is_leaf=_is_index))):
        raise ValueError(
            f"This {type(part).__name__} keeps running statistics, but `model_state` is None: "
            "pass the state that `eqx.nn.make_with_state` made with it."
        )
    if not callable(part):
        raise TypeError(
            f"`model` is of type {type(part).__name__}, but must be a network that can be called "
            "with one example: pass a Module such as `models.MLP(...)`."
        )


def _reject_without_key(part: Any, error: RuntimeError) -> NoReturn:
    raise TypeError(
        f"`{type(part).__name__}.__call__` has no parameter `key`, but a part of it needs one "
        f"({error}): write `def __call__(self, x, *, key=None)`, and hand the key to the part."
    ) from error


def _check_returned(part: Any, found: Any, *, with_state: bool) -> None:
    """**Raises:** `TypeError` if the network returned anything else than it must for one
    example."""
    name = type(part).__name__
    if with_state:
        pair = isinstance(found, tuple) and len(found) == 2
        if not pair or not isinstance(found[1], eqx.nn.State):
            raise TypeError(
                f"`{name}.__call__` must return `((outputs, taps), state)` for one example, as it "
                f"keeps running statistics, but returned {_shown(found)}: put outputs and taps in "
                "a tuple, and the state second."
            )
        found = found[0]
    if not (isinstance(found, tuple) and len(found) == 2 and isinstance(found[1], dict)):
        raise TypeError(
            f"`model` must return `(outputs, taps)` for one example, with `taps` a dictionary from "
            f"layer names to activations, but `{name}.__call__` returned {_shown(found)}: return "
            "`outputs, {}` if there are no activations to show."
        )
    if wrong := [leaf for leaf in jax.tree.leaves(found) if not eqx.is_array_like(leaf)]:
        raise TypeError(
            f"`{name}.__call__` returned {wrong[0]!r}, of type {type(wrong[0]).__name__}, among "
            "outputs and taps, but these must be arrays: leave it out."
        )


def _shown(found: Any) -> str:
    kinds = lambda values: ", ".join(type(value).__name__ for value in values)
    if isinstance(found, tuple):
        return f"a tuple of {len(found)} ({kinds(found)})"
    return f"a value of type {type(found).__name__}"


def _is_index(node: Any) -> bool:
    return isinstance(node, eqx.nn.StateIndex)
