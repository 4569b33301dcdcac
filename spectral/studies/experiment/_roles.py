"""The role that a part of one's own must have: a stream, a probe, an estimator, ..."""

import inspect
import typing
from collections.abc import Callable
from typing import Any, cast

import equinox as eqx
import optax

from ..._types import Optimiser
from ...models import AbstractNetwork
from ._constructors import alternatives, fits, is_array, product_of
from ._settings import SettingsError


def own_role(wanted: Any) -> Any:
    """The annotation that an object of one's own must fit where ours must fit `wanted`.

    Any callable Module can be trained: it need not derive from `AbstractNetwork`.
    """
    return eqx.Module if wanted is AbstractNetwork else wanted


def check_constructor(found: Any, name: str, wanted: Any, where: str) -> None:
    """Check, before it is called, that what settings name can make an object of the role.

    A function without a return annotation passes: its object is checked once it is made.

    **Raises:** `SettingsError` naming the path, what was found and what is wanted.
    """
    got = None
    if not callable(found) or inspect.ismodule(found):
        got = f"a value of the type {type(found).__name__}, which cannot be called"
    elif isinstance(found, eqx.Module):
        got = f"an object of the type {type(found).__name__}, not its constructor"
    elif inspect.isabstract(found):
        got = "an abstract class"
    elif (product := product_of(found)) is not None and not _has_role(product, wanted):
        got = f"it makes an object of the type {product.__name__}"
    if got is not None:
        raise SettingsError(
            f"`{where}.type` is {name!r}: {got}, but must make {role_name(wanted)}. Name a class "
            "or a function that returns one."
        )
    try:
        inspect.signature(cast(Any, found))
    except (TypeError, ValueError) as error:
        raise SettingsError(
            f"`{where}.type` is {name!r}, whose arguments are unknown, since it has no signature: "
            "wrap it in a function of your own."
        ) from error


def _has_role(product: type, wanted: Any) -> bool:
    if wanted is AbstractNetwork:
        may_be_called = any("__call__" in vars(base) for base in product.__mro__)
        return issubclass(product, eqx.Module) and may_be_called
    return any(part is Any or fits(product, part) for part in alternatives(wanted))


def is_optimiser(constructor: Any, wanted: Any) -> bool:
    """Whether a constructor makes an optax transformation where an `Optimiser` is wanted."""
    product = product_of(constructor)
    made = product is not None and issubclass(product, optax.GradientTransformation)
    return made and Optimiser in alternatives(wanted)


def may_be_called(annotation: Any) -> bool:
    """Whether a function that is not called can be an argument of this annotation."""
    return any(
        part is Any or part is Callable or typing.get_origin(part) is Callable
        for part in alternatives(annotation)
    )


def role_name(wanted: Any) -> str:
    """The role in words, for messages."""
    parts = [part for part in alternatives(own_role(wanted)) if part is not type(None)]
    return " or ".join(dict.fromkeys(map(_word, parts)))


def _word(part: Any) -> str:
    if part is float or is_array(part):
        return "a number"
    if part is optax.GradientTransformation:
        return "an optax transformation"
    if part is eqx.Module:
        return "a network, which is a callable `equinox.Module`"
    if typing.get_origin(part) is Callable:
        product = typing.get_args(part)[-1]
        return f"a callable that returns {'any value' if product is Any else _word(product)}"
    if not inspect.isclass(part):
        return str(part)
    return f"{'an' if part.__name__[0] in 'AEIO' else 'a'} {part.__name__}"
