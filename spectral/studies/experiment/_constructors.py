"""The constructors that YAML can name: public ones of the package, found by their signatures."""

import functools
import inspect
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any

from jaxtyping import AbstractArray

from ... import algorithms, curvature, models, probes, tasks


# The rooms of the package whose public names can be used in settings.
_ROOMS = (tasks, models, algorithms, probes, curvature)
_PLAIN = {
    int: "an integer",
    float: "a number",
    bool: "true or false",
    str: "text",
    types.NoneType: "null",
}


def constructors(wanted: Any) -> dict[str, Callable[..., Any]]:
    """The constructors of objects that fit the annotation `wanted`, by name.

    These are classes, and functions with a return annotation. They need no registration.

    ```python
    sorted(constructors(spectral.tasks.AbstractTaskStream))  # ["PermutedImages", ...]
    ```
    """
    parts = alternatives(wanted)
    return {n: v for n, v, made in _public() if any(_fits(made, part) for part in parts)}


def makers(wanted: Any) -> dict[str, Callable[..., Any]]:
    """The public constructors that fit the annotation `wanted` themselves, uncalled, by name.

    They exist if the annotation is a function with typed arguments. For example, `Hessian` fits
    `Callable[[Risk, PyTree], AbstractOperator]`, and is written `matrix: Hessian` in YAML.
    Functions that return arrays fit as well, such as those of `UnitFacts`.
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
    """The parameters that can be passed by name."""
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    signature = inspect.signature(constructor).parameters
    return {name: p for name, p in signature.items() if p.kind in named}


def alternatives(annotation: Any) -> tuple[Any, ...]:
    """The members of a union. For any other annotation, a tuple of the annotation alone."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return typing.get_args(annotation)
    return (annotation,)


def describe(annotation: Any) -> str:
    """A description of what YAML may give for an argument with this annotation."""
    words = [word for part in alternatives(annotation) for word in _words(part)]
    return " or ".join(dict.fromkeys(words)) or "left out, because only Python can give it"


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
    """Name, constructor and product of everything that settings can name."""
    for room in _ROOMS:
        for name, value in vars(room).items():
            if name.startswith("_"):
                continue
            if inspect.isclass(value):
                product = None if inspect.isabstract(value) else value
            else:
                product = _returned(value) if inspect.isfunction(value) else None
            if product is not None:
                yield name, value, product


@functools.cache
def _returned(function: Callable[..., Any]) -> type | None:
    """The class of the objects that a function returns, if its annotation is a class."""
    made = inspect.signature(function).return_annotation
    return made if inspect.isclass(made) else None


def _same_arrays(product: type, annotation: Any) -> bool:
    """Whether two annotations describe equal arrays. They are different objects even then."""
    both = (product, annotation)
    if not all(inspect.isclass(x) and issubclass(x, AbstractArray) for x in both):
        return False
    return (product.dtypes, product.dim_str) == (annotation.dtypes, annotation.dim_str)


def _fits(product: type, annotation: Any) -> bool:
    if inspect.isclass(annotation):
        return annotation not in _PLAIN and issubclass(product, annotation)
    if typing.get_origin(annotation) is Callable:
        # For example, an estimator is annotated as a callable that returns a spectrum.
        wanted = typing.get_args(annotation)[-1]
        if wanted is Any or not inspect.isclass(wanted):
            return False
        call = next((vars(c)["__call__"] for c in product.__mro__ if "__call__" in vars(c)), None)
        made = _returned(call) if inspect.isfunction(call) else None
        return made is not None and issubclass(made, wanted)
    return False
