"""Experiments from YAML files, which may name a published experiment."""

import os
from collections.abc import Iterable, Mapping
from typing import Any

from ..._arguments import unknown_name
from ..experiment._benchmark import Benchmark, BENCHMARK_KEYS
from ..experiment._experiment import Experiment
from ..experiment._make import make_experiment
from ..experiment._settings import given_path, override, read_settings, SettingsError
from ._continual_imagenet import continual_imagenet
from ._incremental_cifar import incremental_cifar
from ._own_presets import PRESETS_KEY, with_own_preset
from ._permuted_mnist import permuted_mnist
from ._presets import check_preset
from ._slippery_ant import slippery_ant


BENCHMARKS = {
    b.__name__: b for b in (permuted_mnist, continual_imagenet, incremental_cifar, slippery_ant)
}


def load_experiment(
    path: str | os.PathLike[str],
    *,
    assignments: Iterable[str] = (),
    seeds: int | None = None,
    data_dir: str | None = None,
) -> Experiment:
    """Load the experiment that a YAML file describes.

    ```python
    few = ["stream.num_tasks=20"]
    experiment = studies.load_experiment("examples/digits.yaml", assignments=few)
    ```

    **Arguments:**

    - `path`: the file. It names constructors of `spectral` and their arguments: see
      `examples/digits.yaml`. Parts of one's own are named as `package.module:Name`; the module is
      imported from the import path or from the folder of the file. Or it names a `benchmark`,
      such as `continual_imagenet`, with its `preset` and its `scale`. Sections that the file also
      gives replace those of the benchmark. A file without a benchmark may have `presets` of its
      own, see `examples/dqn/minatar_sequence.yaml`.
    - `assignments`: changes such as `"stream.num_tasks=20"` or `"preset=paper"`.
    - `seeds`: the number of networks that each algorithm trains, instead of the number in the file.
    - `data_dir`: the folder of the data sets, for all constructors that take a `data_dir`, instead
      of the one in the file.

    **Raises:** `SettingsError` for the first mistake in the file, before anything is compiled or
    written.
    """
    settings, benchmark = read_experiment(path, assignments, seeds=seeds)
    folder = given_path("path", path).parent
    return make_experiment(settings, data_dir=data_dir, benchmark=benchmark, folder=folder)


def read_experiment(
    path: str | os.PathLike[str],
    assignments: Iterable[str] = (),
    *,
    seeds: int | None = None,
) -> tuple[dict[str, Any], Benchmark | None]:
    """The settings and the benchmark in a file, after the changes of `load_experiment`."""
    settings = read_settings(given_path("path", path))
    assignments = list(assignments)
    chosen = [a for a in assignments if a.partition("=")[0] in BENCHMARK_KEYS]
    for assignment in chosen:
        settings = override(settings, assignment)
    settings, benchmark = _expanded(settings)
    for assignment in (a for a in assignments if a not in chosen):
        settings = override(settings, assignment)
    if seeds is not None:
        settings = {**settings, "seeds": seeds}
    return settings, benchmark


def _expanded(settings: Mapping[str, Any]) -> tuple[dict[str, Any], Benchmark | None]:
    """The settings, with the sections that they do not give taken from the benchmark they name."""
    own = {k: v for k, v in settings.items() if k not in BENCHMARK_KEYS}
    options = {k: v for k, v in settings.items() if k in BENCHMARK_KEYS}
    if PRESETS_KEY in own:
        return with_own_preset(own, options), None
    if not options:
        return own, None
    if "benchmark" not in options:
        given, *_ = options
        raise SettingsError(
            f"`{given}` is {options[given]!r}, but the settings have no `benchmark` that it "
            f"belongs to: leave it out, or set `benchmark` to one of {', '.join(BENCHMARKS)}."
        )
    name = options.pop("benchmark")
    if not isinstance(name, str) or name not in BENCHMARKS:
        raise SettingsError(unknown_name("`benchmark`: Benchmark", str(name), BENCHMARKS))
    options: dict[str, Any] = {"preset": "paper"} | options
    check_preset(options["preset"])
    benchmark = BENCHMARKS[name](**options)
    return {**benchmark.settings, **own}, benchmark
