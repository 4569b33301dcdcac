"""The parts that the published benchmarks share: presets, sizes and settings."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any, get_args, Literal

from ..._arguments import unknown_name
from ...algorithms import Preset, PRESETS
from ..experiment._benchmark import Benchmark, PresetName, Settings
from ..experiment._settings import differences, SettingsError


RUN_UTILITY = (  # a difference between the text and the code of the paper
    "The utility of continual backpropagation is one of Dohare et al., corrected for age; "
    "published: |mean activation| times mean |outgoing weight|, without a correction."
)


@dataclasses.dataclass(frozen=True)
class Size:
    """Scales sizes by one factor."""

    scale: float

    def __call__(self, full: int, multiple_of: int = 1) -> int:
        """`full` times the scale, rounded to a positive multiple of `multiple_of`."""
        return max(1, round(full * self.scale / multiple_of)) * multiple_of


def benchmark(
    name: str,
    preset: PresetName,
    scale: float,
    presets: Mapping[str, Callable[[Size], Settings]],
    departures: Mapping[str, tuple[str, ...]],
) -> Benchmark:
    """The benchmark at a scale, from functions that make the settings of its presets.

    **Raises:** `SettingsError` if the preset is unknown, or if the scale is not in (0, 1].
    """
    check_preset(preset)
    number = isinstance(scale, int | float) and not isinstance(scale, bool)
    if not number or not 0 < scale <= 1:
        raise SettingsError(
            f"`scale` is {scale!r}, but must be a number above 0 and at most 1: the fraction of "
            "the tasks, widths and examples of the preset that are kept."
        )
    full, settings = presets[preset](Size(1.0)), presets[preset](Size(scale))
    smaller = tuple(differences(full, settings))
    return Benchmark(name, preset, float(scale), settings, smaller, departures.get(preset, ()))


def check_preset(preset: Any) -> None:
    """**Raises:** `SettingsError` if the preset is unknown."""
    if preset not in get_args(PresetName):
        names = get_args(PresetName)
        raise SettingsError(unknown_name("`preset`: Preset", str(preset), names))


def published(
    source: Literal["paper", "dohare"], name: str, *, er_period: int | None = None
) -> Settings:
    """The algorithms that a source publishes for a benchmark, by name.

    `er_period` replaces the published one, for shorter tasks.
    """
    rows = [row for row in PRESETS if (row.source, row.benchmark) == (source, name)]
    return {row.name: _algorithm(row, er_period) for row in rows}


def _algorithm(row: Preset, er_period: int | None) -> Settings:
    lr = {"type": row.optimiser.__name__, **row.optimiser_arguments}
    arguments = _plain(row.arguments)
    if "er_period" in arguments and er_period is not None:
        arguments["er_period"] = er_period
    algorithm = {"type": row.recipe.__name__, "lr": lr, **arguments}
    if not row.then:
        return algorithm
    then = [{"type": make.__name__, **_plain(given)} for make, given in row.then]
    return {"type": "followed_by", "algorithm": algorithm, "transforms": then}


def _plain(arguments: Settings) -> Settings:
    """The arguments as YAML can hold them."""
    named = {k: v.__name__ if inspect.isfunction(v) else v for k, v in arguments.items()}
    return {k: list(v) if isinstance(v, tuple) else v for k, v in named.items()}


def probes(num_tasks: int, num_examples: int) -> Settings:
    """Units and ranks at the starts of about forty tasks, and the spectrum at about eight."""
    often, seldom = max(1, num_tasks // 40), max(1, num_tasks // 8)
    batch_size = min(100, num_examples)
    num_examples -= num_examples % batch_size  # only whole batches
    return {
        "dead": {
            "type": "DeadUnits",
            "when": ["start"],
            "every": often,
            "num_examples": num_examples,
        },
        "rank": {
            "type": "FeatureRank",
            "when": ["start"],
            "every": often,
            "num_examples": num_examples,
        },
        "weights": {"type": "WeightNorm", "when": ["start"], "every": often},
        "hessian": {
            "type": "HessianSpectrum",
            "every": seldom,
            "num_examples": num_examples,
            "batch_size": batch_size,
            "estimator": {"type": "Lanczos", "order": 100, "num_vectors": 3},
        },
    }


def quick_algorithms(*, er_period: int) -> Settings:
    """The algorithms of the small presets, at a learning rate that learns a task in about fifty
    steps."""
    lr = {"type": "sgd", "lr": 1e-2, "momentum": 0.9}
    rank = {"er_lr": 1e-3, "er_period": er_period}
    return {
        "bp": {"type": "bp", "lr": lr},
        "l2": {"type": "l2", "lr": lr, "weight_decay": 1e-3},
        "er": {"type": "er", "lr": lr, **rank},
        "l2_er": {"type": "l2_er", "lr": lr, "weight_decay": 1e-3, **rank},
        "cbp": {"type": "cbp", "lr": lr, "replacement_rate": 1e-4},
    }


def with_quick_probes(settings: Settings) -> Settings:
    """The experiment with few examples per probe, and with spectra of order 40 from one random
    vector, only at the starts of tasks."""
    given = settings["probes"]
    few = {
        name: given[name] | {"num_examples": min(200, given[name]["num_examples"])}
        for name in _UNITS
    }
    num_examples = min(50, given["hessian"]["num_examples"])
    hessian = given["hessian"] | {
        "when": ["start"],
        "every": max(2, given["hessian"]["every"]),
        "num_examples": num_examples,
        "batch_size": num_examples,
        "estimator": {"type": "Lanczos", "order": 40, "num_vectors": 1},
    }
    return settings | {"probes": given | few | {"hessian": hessian}}


_UNITS = ("dead", "rank")
