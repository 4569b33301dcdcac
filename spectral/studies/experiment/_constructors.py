"""The constructors that YAML can name: public ones of the package, found by their signatures, and
what is known of any constructor."""

import functools
import inspect
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import optax
from jaxtyping import AbstractArray

from ... import algorithms, curvature, models, probes, tasks, theory


# The rooms of the package whose public names can be used in settings.
_ROOMS = (tasks, models, algorithms, probes, curvature, theory)
_PLAIN = {
    Any: "any value",
    int: "an integer",
    float: "a number",
    bool: "true or false",
    str: "text",
    types.NoneType: "null",
}


def constructors(wanted: Any) -> dict[str, Callable[..., Any]]:
    """The constructors of objects that fit the annotation `wanted`, by name.

    These are classes, and functions with a return annotation. They need no registration. Where
    optax takes a schedule, our schedules fit too: an `Optimiser` lets them follow the clock.

    ```python
    sorted(constructors(spectral.tasks.AbstractTaskStream))  # ["PermutedImages", ...]
    ```
    """
    parts = alternatives(wanted)
    if optax.Schedule in parts:
        parts = (*parts, algorithms.AbstractLearningRateSchedule)
    return {n: v for n, v, made in _public() if any(fits(made, part) for part in parts)}


def makers(wanted: Any) -> dict[str, Callable[..., Any]]:
    """The public constructors that fit the annotation `wanted` themselves, uncalled, by name.

    They exist if the annotation is a function with typed arguments. For example, `KFAC` fits
    `Callable[[Risk, PyTree], AbstractOperator]`, and is written `matrix: KFAC` in YAML, or
    `matrix: {type: KFAC, separate_bias: true}` with options.
    Functions that return arrays fit as well, such as those of `UnitFacts`.
    """
    found = {}
    for part in alternatives(wanted):
        given = typing.get_args(part)
        if typing.get_origin(part) is Callable and isinstance(given[0], list):
            for name, value, made in _public():
                if not (fits(made, given[-1]) or _same_arrays(made, given[-1])):
                    continue
                needed = [p for p in parameters(value).values() if p.default is p.empty]
                if len(needed) == len(given[0]) and all(
                    given_type in alternatives(parameter.annotation)
                    for given_type, parameter in zip(given[0], needed, strict=True)
                ):
                    found[name] = value
    return found


def parameters(constructor: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The parameters that can be passed by name. Without an annotation, any value fits."""
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {p.name: p for p in _signature(constructor) if p.kind in named}


def positional(constructor: Callable[..., Any]) -> tuple[list[Any], Any]:
    """The annotations of the parameters that can be passed by position, and the annotation of all
    further ones (`None` if there are none, as without `*args`)."""
    by_position = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    given = _signature(constructor)
    further = [p.annotation for p in given if p.kind is inspect.Parameter.VAR_POSITIONAL]
    return [p.annotation for p in given if p.kind in by_position], further[0] if further else None


def further_named(constructor: Callable[..., Any]) -> Any:
    """The annotation of arguments by other names than those of parameters, as `**kwargs` takes;
    `None` if there are none."""
    kinds = {p.kind: p.annotation for p in _signature(constructor)}
    return kinds.get(inspect.Parameter.VAR_KEYWORD)


def _signature(constructor: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        signature = inspect.signature(constructor, eval_str=True)
    except NameError:  # an annotation as text that names something which is only there for checkers
        signature = inspect.signature(constructor)
    unknown = lambda annotation: (
        annotation is inspect.Parameter.empty or isinstance(annotation, str)
    )
    return [
        p.replace(annotation=Any) if unknown(p.annotation) else p
        for p in signature.parameters.values()
    ]


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
    elif annotation == optax.Schedule:
        yield "a schedule such as `{type: WarmupCosine, ...}`"
        yield "`{type: optax:cosine_decay_schedule, ...}`"
    elif is_array(annotation):
        return
    elif names := sorted(makers(annotation)):
        yield f"the name {' or '.join(names)}, or a mapping of it as `type` and its options"
    elif names := sorted(constructors(annotation)):
        yield f"a mapping with the `type` {' or '.join(names)} or `package.module:Name`"


def is_array(annotation: Any) -> bool:
    """Whether an annotation stands for arrays, or for scalars of NumPy."""
    kinds = (jax.Array, np.ndarray, np.generic, AbstractArray)
    return inspect.isclass(annotation) and issubclass(annotation, kinds)


def _public() -> Iterator[tuple[str, Any, type]]:
    """Name, constructor and product of everything that settings can name."""
    for room in _ROOMS:
        for name, value in vars(room).items():
            if name.startswith("_"):
                continue
            product = product_of(value)
            if product is not None and not inspect.isabstract(value):
                yield name, value, product


def product_of(constructor: Any) -> type | None:
    """The class of the objects that a class or a function makes; `None` if it is unknown."""
    if inspect.isclass(constructor):
        return constructor
    return _returned(constructor) if inspect.isfunction(constructor) else None


@functools.cache
def _returned(function: Callable[..., Any]) -> type | None:
    """The class of the objects that a function returns, if its annotation is a class."""
    try:
        made = inspect.signature(function, eval_str=True).return_annotation
    except NameError:
        return None
    return made if inspect.isclass(made) and made is not inspect.Signature.empty else None


def _same_arrays(product: type, annotation: Any) -> bool:
    """Whether two annotations describe equal arrays. They are different objects even then."""
    both = (product, annotation)
    if not all(inspect.isclass(x) and issubclass(x, AbstractArray) for x in both):
        return False
    return (product.dtypes, product.dim_str) == (annotation.dtypes, annotation.dim_str)


def fits(product: type, annotation: Any) -> bool:
    """Whether objects of a class have the role that an annotation (not a union) describes."""
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
