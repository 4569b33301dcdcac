"""Experiments from settings: checked and put together."""

import dataclasses
import functools
import os
import re
from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx

from ... import _core, _programs
from ..._arguments import unknown_name
from ..._base._origin import part_of, passes
from ..._base._quantity import Quantity
from ..._check_parts import check_independent, check_parts
from ...algorithms import AbstractPenalty, AbstractTransform, Algorithm
from ...models import AbstractNetwork
from ...probes import AbstractProbe
from ...tasks import AbstractTaskStream
from ._benchmark import Benchmark, BENCHMARK_KEYS
from ._call import Call
from ._experiment import Experiment, FOLDERS, MADE_IN_PYTHON, RECORDED
from ._groups import assemble, groups
from ._own_parts import check_recorded, place_in_own_code, recorded_folders
from ._parse import parse
from ._settings import given_path, SettingsError
from ._watches import check_columns, parse_watches, WATCH


def make_experiment(
    settings: Mapping[str, Any],
    *,
    data_dir: str | None = None,
    benchmark: Benchmark | None = None,
    folder: str | os.PathLike[str] | None = None,
) -> Experiment:
    """Make the experiment that settings describe. `load_experiment` reads them from a file.

    ```python
    benchmark = studies.continual_imagenet("paper")
    experiment = studies.make_experiment(benchmark.settings, data_dir="data")
    model, model_state, key = experiment.member(0)
    algo = experiment.algorithms["l2_er"]
    train_continual(model, experiment.stream, algo, model_state=model_state, key=key)
    ```

    **Arguments:**

    - `settings`: with the sections stream, model, algorithms, probes, watch and seeds,
        `batch_dependent`, as in `train_continual`, and `first_seed`, by default 0: member i starts
        from this seed + i.
    - `data_dir`: as for `load_experiment`.
    - `benchmark`: the origin of the settings, for the record of a run.
    - `folder`: where modules of the form `package.module:Name` are looked for, after the import
      path. They are imported, as by a script.

    **Raises:** `SettingsError` for the first mistake, before anything is compiled or written.
    """
    _check_top(settings)
    given = () if folder is None else (given_path("folder", folder).resolve(),)
    folders = tuple(dict.fromkeys((*given, *recorded_folders(settings.get(RECORDED)))))
    supplied = {} if data_dir is None else {"data_dir": data_dir}
    settings = settings if data_dir is None else _moved(settings, data_dir)
    parsed = functools.partial(parse, folders=folders)
    stream = parsed(settings["stream"], AbstractTaskStream, "stream", supplied)
    algorithms = _parse_all(settings, "algorithms", Algorithm, supplied, parsed)
    probes = _parse_all(settings, "probes", AbstractProbe, supplied, parsed)
    check_names(WATCH, settings.get(WATCH, {}))
    watches = parse_watches(settings.get(WATCH, {}))
    made_algorithms = {name: call.make() for name, call in algorithms.items()}
    made_probes = {name: call.make() for name, call in probes.items()}
    made_stream = stream.make()
    sizes = ("in_size", "in_shape", *_AT_LEAST)
    sizes = {n: getattr(made_stream, n) for n in sizes if hasattr(made_stream, n)}
    model = parsed(settings["model"], AbstractNetwork, "model", supplied | sizes)
    _check_sizes(model, sizes)
    resolved = {
        "seeds": settings.get("seeds", 1),
        "stream": stream.settings,
        "model": model.settings,
        "algorithms": {name: call.settings for name, call in algorithms.items()},
        "probes": {name: call.settings for name, call in probes.items()},
    } | {name: settings[name] for name in (_BATCH_DEPENDENT, _FIRST_SEED) if name in settings}
    resolved |= {WATCH: watches} if watches else {}
    experiment = Experiment(
        resolved,
        resolved["seeds"],
        made_stream,
        model.make,
        made_algorithms,
        made_probes,
        benchmark=benchmark,
        folders=folders,
        batch_dependent=settings.get(_BATCH_DEPENDENT, False),
        watches=watches,
        first_seed=settings.get(_FIRST_SEED, 0),
    )
    experiment = checked(experiment)
    check_columns(experiment)
    return experiment


def checked(experiment: Experiment) -> Experiment:
    """The experiment with its quantities. **Raises:** `SettingsError` if the parts do not fit
    together."""
    return dataclasses.replace(experiment, quantities=_check_parts(experiment))


_MOST_SEEDS = 10_000
# Sizes of a network that may be larger than the stream needs, such as more outputs than classes.
_AT_LEAST = ("out_size", "vocabulary_size", "context")
_LONGEST_NAME = 200  # names of files have at most 255
_BATCH_DEPENDENT = "batch_dependent"
_FIRST_SEED = "first_seed"
_TOP = ("seeds", _FIRST_SEED, "stream", "model", "algorithms", "probes", WATCH, _BATCH_DEPENDENT)


def _moved(settings: Any, data_dir: str) -> Any:
    """The settings with every `data_dir` replaced."""
    if isinstance(settings, Mapping):
        moved = {name: _moved(value, data_dir) for name, value in settings.items()}
        return moved | ({"data_dir": data_dir} if "data_dir" in moved else {})
    if isinstance(settings, list):
        return [_moved(value, data_dir) for value in settings]
    return settings


def _check_top(settings: Mapping[str, Any]) -> None:
    check_recorded(settings.get(RECORDED))
    if (settings.get(RECORDED) or {}).get(MADE_IN_PYTHON):
        raise SettingsError(
            "The settings record a run whose parts were made in Python, so it cannot be made again "
            "from them: make the parts, and pass the `experiment` of `studies.experiment_of`."
        )
    for name in settings:
        if name not in (*_TOP, RECORDED):
            raise SettingsError(
                unknown_name(f"`{name}`: Setting", str(name), (*_TOP, *BENCHMARK_KEYS))
            )
    for name in ("stream", "model", "algorithms"):
        if name not in settings:
            raise SettingsError(
                f"`{name}` is missing, but every experiment needs a stream, a model and "
                f"algorithms: add `{name}:` to the file."
            )
    check_seeds(settings.get("seeds", 1))
    first = settings.get(_FIRST_SEED, 0)
    if isinstance(first, bool) or not isinstance(first, int) or not 0 <= first < 2**31:
        raise SettingsError(
            f"`{_FIRST_SEED}` is {first!r}, but must be an integer from 0 to {2**31 - 1}: correct "
            "it, or leave it out."
        )
    if not isinstance(settings.get(_BATCH_DEPENDENT, False), bool):
        raise SettingsError(
            f"`{_BATCH_DEPENDENT}` is {settings[_BATCH_DEPENDENT]!r}, but must be true or false: "
            "leave it out unless the network is meant to see the other examples of a batch."
        )


def check_seeds(seeds: Any) -> None:
    """**Raises:** `SettingsError` if the number of seeds is not one."""
    if isinstance(seeds, bool) or not isinstance(seeds, int) or seeds < 1:
        raise SettingsError(f"`seeds` is {seeds!r}, but must be an integer of at least 1.")
    if seeds > _MOST_SEEDS:
        raise SettingsError(
            f"`seeds` is {seeds}, but must be at most {_MOST_SEEDS}, because one program trains "
            "all of them: lower it, or divide the seeds among several experiments."
        )


def _parse_all(
    settings: Mapping[str, Any],
    place: str,
    wanted: type,
    supplied: Mapping[str, Any],
    parsed: Callable[..., Call],
) -> dict[str, Call]:
    sections = settings.get(place, {})
    check_names(place, sections)
    return {n: parsed(s, wanted, f"{place}.{n}", supplied) for n, s in sections.items()}


def check_names(place: str, sections: Any) -> None:
    """**Raises:** `SettingsError` if algorithms, probes or watches (the `place`) are not a mapping,
    or have a name that cannot be used."""
    if not isinstance(sections, Mapping) or (place == "algorithms" and not sections):
        raise SettingsError(
            f"`{place}` is {sections!r}, but must be a mapping of names to constructors, such as "
            f"`{{my_name: {{type: ...}}}}`."
        )
    for name in sections:
        # Names are used for folders, columns of the history and the paths of `--set`.
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_+-]+", name):
            raise SettingsError(
                f"`{place}` has the name {name!r}, but names must consist of letters, digits, `_`, "
                "`+` and `-`: choose another, and quote it if it is a number or yes or no."
            )
        if len(name) > _LONGEST_NAME:
            raise SettingsError(
                f"`{place}` has the name {name[:20]!r}..., of {len(name)} characters, but names "
                f"must have at most {_LONGEST_NAME}: choose a shorter one."
            )
        if place == "algorithms" and name in FOLDERS:
            raise SettingsError(
                f"`{place}` has the name {name!r}, which is a folder of every run: choose another "
                f"name than {', '.join(FOLDERS)}."
            )


def _check_sizes(model: Call, sizes: Mapping[str, Any]) -> None:
    for name, size in sizes.items():
        given = model.arguments.get(name, size)
        if given != size and (name not in _AT_LEAST or given < size):
            raise SettingsError(
                f"`model.{name}` is {given}, but the stream needs {size}: leave `{name}` out."
            )


def _check_parts(experiment: Experiment) -> dict[str, Quantity]:
    """Check that the parts fit together, by tracing the programs of the run.

    Returns what the recorded columns are that are meant to be shown.
    """
    quantities: dict[str, Quantity] = {}
    for group in groups(experiment):
        # Only shapes are needed. Training reuses the programs that are traced here.
        try:
            parts = eqx.filter_eval_shape(lambda names: assemble(experiment, names), group.names)
        except SettingsError:
            raise
        except (Exception, SystemExit) as error:
            raise _error_in("model", error) from error
        # Stream and probes of the experiment have their numbers, for their quantities.
        parts["stream"] = experiment.stream
        del parts["probes"]
        if group.index == 0 and parts["model_state"] is not None:
            _check_independent(experiment, parts)
        trials = {f"algorithms.{group.names[0][0]}": {}}
        if group.index == 0:
            trials |= {f"probes.{name}": {name: p} for name, p in experiment.probes.items()}
        for place, probes in trials.items():
            try:
                quantities |= check_parts(**parts, probes=probes)
            except (Exception, SystemExit) as error:
                network = type(parts["model"].stacked)
                raise _error_in(
                    place if probes else _origin(error, network, place), error
                ) from error
    return quantities


def _check_independent(experiment: Experiment, parts: Mapping[str, Any]) -> None:
    """Check the network of the first seed, once for all algorithms."""
    if experiment.batch_dependent:
        return
    needed = ("model", "model_state", "stream", "algo", "key")
    try:
        run = eqx.filter_eval_shape(_programs.start, *(parts[name] for name in needed))
        model, model_state, key = experiment.member(0)
        check_independent(model, model_state, experiment.stream, run, key)
    except (Exception, SystemExit) as error:
        raise _error_in("model", error) from error


def _origin(error: BaseException, network: type, algorithm: str) -> str:
    """The place of the part in which tracing the training failed."""
    ours = (Algorithm, AbstractPenalty, AbstractTransform)
    kinds = {"stream": AbstractTaskStream, "model": network, algorithm: ours}
    # What the loop itself calls, with other arguments than a method takes, is of the stream.
    return part_of(error, kinds) or ("stream" if passes(error, _core.__file__) else algorithm)


def _error_in(place: str, error: BaseException) -> SettingsError:
    told = isinstance(error, ValueError | TypeError)
    kind = "" if told else f"{type(error).__name__}: "
    return SettingsError(f"In `{place}`: {kind}{error}{place_in_own_code(error)}")
