"""Lists and descriptions of the parts that an experiment can name."""

import inspect
import re
import textwrap
from collections.abc import Callable
from typing import Any

from ..._arguments import unknown_name
from ...algorithms import Algorithm
from ...curvature import AbstractOperator, AbstractSpectrum, Estimate
from ...models import AbstractActivation, AbstractNetwork
from ...probes import AbstractProbe
from ...tasks import AbstractTaskStream
from ..experiment._constructors import constructors, describe, parameters
from ..experiment._parse import NOT_IN_SETTINGS
from ..experiment._settings import SettingsError
from ..measures._align import align
from ..published._load import BENCHMARKS
from ._first_sentence import first_sentence
from ._kinds import Kind, KINDS


# What the constructors of each kind make. Benchmarks are settings and have a list of their own.
_MADE: dict[Kind, Any] = {
    "streams": AbstractTaskStream,
    "models": AbstractNetwork,
    "activations": AbstractActivation,
    "algorithms": Algorithm,
    "probes": AbstractProbe,
    "operators": AbstractOperator,
    "estimators": Callable[..., AbstractSpectrum] | Callable[..., Estimate],
}
_WIDTH = 100


def known_parts(*, kind: Kind | None = None) -> str:
    """The parts that an experiment can name, with a line for each: its name and what it is.

    The names and the lines are those of the public constructors and their docstrings.

    ```python
    print(studies.known_parts(kind="algorithms"))
    ```

    **Arguments:**

    - `kind`: `"streams"`, `"models"`, `"activations"`, `"algorithms"`, `"probes"`, `"operators"`,
      `"estimators"` or `"benchmarks"`. By default all, with a heading for each.

    **Raises:** `SettingsError` if there is no such kind.
    """
    if kind is not None and kind not in KINDS:
        raise SettingsError(unknown_name("`kind`: Kind", str(kind), KINDS))
    if kind is not None:
        return _table(kind)
    return "\n\n".join(f"{kind}:\n{textwrap.indent(_table(kind), '  ')}" for kind in KINDS)


def describe_part(name: str) -> str:
    """A description of one part: what it does, and its arguments with their types and defaults.

    ```python
    print(studies.describe_part("l2_er"))
    ```

    **Arguments:**

    - `name`: of anything that an experiment can name, such as `"l2_er"`, `"MLP"`, `"load_images"`
      or `"continual_imagenet"`.

    **Raises:** `SettingsError` if nothing has this name.
    """
    known = constructors(object) | BENCHMARKS
    if name not in known:
        raise SettingsError(unknown_name("Part", name, known))
    part = known[name]
    room = ".".join(part.__module__.split(".")[:2])
    told = _told_arguments(part)
    allowed = {n: p for n, p in parameters(part).items() if n not in NOT_IN_SETTINGS}
    arguments = [_argument(n, p, told.get(n, "")) for n, p in allowed.items()]
    return "\n\n".join([f"{room}.{name}", _prose(part), *arguments])


def _table(kind: Kind) -> str:
    known = BENCHMARKS if kind == "benchmarks" else constructors(_MADE[kind])
    return align([(name, first_sentence(_prose(part))) for name, part in sorted(known.items())])


def _prose(part: Callable[..., Any]) -> str:
    """The docstring until its example or its first section."""
    return re.split(r"\n+(?:\*\*|```)", inspect.getdoc(part) or "")[0]


def _told_arguments(part: Callable[..., Any]) -> dict[str, str]:
    """What the docstrings of a part say about its arguments, by name."""
    texts = [inspect.getdoc(part) or ""]
    if inspect.isclass(part):
        texts.append(inspect.getdoc(part.__init__) or "")
    told = {}
    for text in texts:
        for section in re.findall(r"\*\*Arguments:\*\*(.*?)(?=\n\*\*|\n```|\Z)", text, re.DOTALL):
            for names, words in _BULLET.findall(section):
                told |= dict.fromkeys(re.findall(r"\w+", names), " ".join(words.split()))
    return told


# Such as "- `num_examples`, `split`: how many examples to draw, and from where."
_BULLET = re.compile(r"^- ((?:`\w+`(?:, )?)+): (.*(?:\n +.*)*)", re.MULTILINE)


def _argument(name: str, parameter: inspect.Parameter, told: str) -> str:
    default = parameter.default
    text = getattr(default, "__name__", repr(default))
    given = "required" if default is parameter.empty else f"default: {text}"
    wrap = lambda text, first, rest: textwrap.fill(
        text, _WIDTH, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False
    )
    lines = [wrap(f"{name}: {describe(parameter.annotation)}; {given}", "  ", "      ")]
    return "\n".join([*lines, wrap(told, "      ", "      ")] if told else lines)
