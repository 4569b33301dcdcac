"""Reading YAML: with the numbers of YAML 1.2, without repeated keys, and within bounds."""

import re
from typing import Any

import yaml


_MAX_DEPTH = 50  # of nested lists and mappings
_MAX_VALUES = 100_000


def load_yaml(text: str) -> Any:
    """The value in a YAML text.

    Differs from YAML 1.1 in two ways: `1e-3` is a number and not text, and a repeated key is an
    error.

    **Raises:** `ValueError` if the text is not YAML, or is nested too deeply, refers to itself or
    repeats parts until it has too many values. The message follows the name of the source.
    """
    try:
        value = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ValueError(f"{place}: this is not valid YAML: {problem}.") from error
    except RecursionError as error:
        raise ValueError(_too_deep()) from error
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        # A number or a date that Python cannot hold.
        raise ValueError(f": this is not valid YAML: {str(error).splitlines()[0]}.") from error
    if _size(value, {}, 0)[0] > _MAX_VALUES:
        raise ValueError(
            f": this has more than {_MAX_VALUES} values, with those that `*` repeats: leave some "
            "out."
        )
    return value


def _size(value: Any, known: dict[int, tuple[int, int]], depth: int) -> tuple[int, int]:
    """How many values there are, with repeated ones, and how deeply they are nested.

    `known` are the sizes by `id`, and `depth` is where the value is found.
    """
    if not isinstance(value, list | tuple | dict):
        return 1, 0
    if id(value) not in known and depth <= _MAX_DEPTH:  # not so if a value contains itself
        inner = value.values() if isinstance(value, dict) else value
        sizes = [_size(part, known, depth + 1) for part in inner]
        known[id(value)] = (
            1 + sum(count for count, _ in sizes),
            1 + max((height for _, height in sizes), default=0),
        )
    count, height = known.get(id(value), (0, 1))
    if depth + height > _MAX_DEPTH:
        raise ValueError(_too_deep())
    return count, height


def _too_deep() -> str:
    return (
        f": this is nested more than {_MAX_DEPTH} deep, or contains itself through `*`: write it "
        "with fewer brackets."
    )


class _Loader(yaml.SafeLoader):
    """YAML 1.1 with the floats of YAML 1.2 and without repeated keys."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        known = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in known:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} is given twice", key.start_mark
                )
            known.add(key.value if isinstance(key, yaml.ScalarNode) else None)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)$"),
    list("-+.0123456789"),
)
