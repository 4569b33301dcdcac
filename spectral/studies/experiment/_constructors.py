"""What YAML can name: the public constructors of the package, found by their signatures."""

import inspect
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any

from jaxtyping import AbstractArray

from ... import algorithms, curvature, models, probes, tasks


# The package's rooms whose public contents settings can name.
_ROOMS = (tasks, models, algorithms, probes, curvature)
_PLAIN = {
    int: "an integer",
    float: "a number",
    bool: "true or false",
    str: "text",
    types.NoneType: "null",
}


def constructors(wanted: Any) -> dict[str, Callable[..., Any]]:
    """By name, what makes an object that fits the annotation `wanted`.

    These are classes, and functions that say what they return. Nothing has to be registered.

    ```python
    sorted(constructors(spectral.tasks.AbstractTaskStream))  # ["PermutedImages", ...]
    ```
    """
    parts = alternatives(wanted)
    return {n: v for n, v, made in _public() if any(_fits(made, part) for part in parts)}


def makers(wanted: Any) -> dict[str, Callable[..., Any]]:
    """By name, the public constructors that are wanted themselves, uncalled.

    That is where the annotation is a function of given arguments, such as
    `Callable[[Risk, PyTree], AbstractOperator]`: `Hessian` is one, and is named `matrix: Hessian`.
    Functions that return arrays are found as well, such as those of `UnitFacts`.
    """
    found = {}
    for part in alternatives(wanted):
        given = typing.get_args(part)
        if typing.get_origin(part) is Callable and isinstance(given[0], list):
            for name, value, made in _public():
                if not (_fits(made, given[-1]) or _same_arrays(made, given[-1])):
                    continue
                needed = [p for p in parameters(value).values() if p.default is p.empty]
                if len(needed) == len(given[0]) and all(
                    given_type in alternatives(parameter.annotation)
                    for given_type, parameter in zip(given[0], needed, strict=True)
                ):
                    found[name] = value
    return found


def parameters(constructor: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The arguments that can be given by name."""
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    signature = inspect.signature(constructor).parameters
    return {name: p for name, p in signature.items() if p.kind in named}


def alternatives(annotation: Any) -> tuple[Any, ...]:
    """The members of a union; otherwise the annotation alone."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return typing.get_args(annotation)
    return (annotation,)


def describe(annotation: Any) -> str:
    """In words, what may be given in YAML where this annotation stands."""
    words = [word for part in alternatives(annotation) for word in _words(part)]
    return " or ".join(dict.fromkeys(words)) or "left out: it can be given in Python alone"


def _words(annotation: Any) -> Iterator[str]:
    arguments = typing.get_args(annotation)
    if annotation in _PLAIN:
        yield _PLAIN[annotation]
    elif typing.get_origin(annotation) is typing.Literal:
        yield from map(repr, arguments)
    elif typing.get_origin(annotation) is tuple:
        yield f"a list (of {describe(arguments[0])})"
    elif names := sorted(makers(annotation)):
        yield f"the name {' or '.join(names)}"
    elif names := sorted(constructors(annotation)):
        yield f"a mapping with the `type` {' or '.join(names)}"


def _public() -> Iterator[tuple[str, Any, type]]:
    """Name, constructor and product of all that settings can name."""
    for room in _ROOMS:
        for name, value in vars(room).items():
            product = _product(value)
            if not name.startswith("_") and product is not None:
                yield name, value, product


def _product(value: Any) -> type | None:
    """The class of what a constructor makes."""
    if inspect.isclass(value):
        return None if inspect.isabstract(value) else value
    if inspect.isfunction(value):
        made = inspect.signature(value).return_annotation
        return made if inspect.isclass(made) else None
    return None


def _same_arrays(product: type, annotation: Any) -> bool:
    """Whether two annotations of arrays say the same; they are not the same objects."""
    both = (product, annotation)
    if not all(inspect.isclass(x) and issubclass(x, AbstractArray) for x in both):
        return False
    return (product.dtypes, product.dim_str) == (annotation.dtypes, annotation.dim_str)


def _fits(product: type, annotation: Any) -> bool:
    if inspect.isclass(annotation):
        return annotation not in _PLAIN and issubclass(product, annotation)
    if typing.get_origin(annotation) is Callable:
        # An estimator, say, is wanted as something that is called and returns a spectrum.
        call = vars(product).get("__call__")
        wanted = typing.get_args(annotation)[-1]
        made = inspect.signature(call).return_annotation if inspect.isfunction(call) else None
        if wanted is Any or not (inspect.isclass(made) and inspect.isclass(wanted)):
            return False
        return issubclass(made, wanted)
    return False
