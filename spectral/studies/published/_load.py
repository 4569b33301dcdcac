"""Experiments from YAML files, which may name a published one."""

import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

from ..._arguments import unknown_name
from ..experiment._benchmark import Benchmark, BENCHMARK_KEYS
from ..experiment._experiment import Experiment
from ..experiment._make import make_experiment
from ..experiment._settings import override, read_settings, SettingsError
from ._continual_imagenet import continual_imagenet
from ._incremental_cifar import incremental_cifar
from ._permuted_mnist import permuted_mnist
from ._presets import check_preset
from ._slippery_ant import slippery_ant


_BENCHMARKS = {
    b.__name__: b for b in (permuted_mnist, continual_imagenet, incremental_cifar, slippery_ant)
}


def load_experiment(
    path: str | os.PathLike[str],
    *,
    assignments: Iterable[str] = (),
    seeds: int | None = None,
    data_dir: str | None = None,
) -> Experiment:
    """The experiment that a YAML file describes.

    ```python
    experiment = studies.load_experiment("examples/digits.yaml", ["stream.num_tasks=20"])
    ```

    **Arguments:**

    - `path`: the file. It names constructors of `spectral` and their arguments, and holds nothing
      else: see `examples/digits.yaml`. Or it names a `benchmark`, such as `continual_imagenet`, its
      `preset` and its `scale`; what it gives besides takes the place of what the benchmark gives.
    - `assignments`: changes such as `"stream.num_tasks=20"` or `"preset=paper"`.
    - `seeds`: how many networks each algorithm trains, in place of what the file says.
    - `data_dir`: where data sets are, for all constructors that take a `data_dir`, in place of what
      the file says.

    **Raises:** `SettingsError` for whatever is wrong in the file, in one message; nothing has been
    compiled or written by then.
    """
    settings, benchmark = read_experiment(path, assignments, seeds=seeds)
    return make_experiment(settings, data_dir=data_dir, benchmark=benchmark)


def read_experiment(
    path: str | os.PathLike[str],
    assignments: Iterable[str] = (),
    *,
    seeds: int | None = None,
) -> tuple[dict[str, Any], Benchmark | None]:
    """What `load_experiment` reads, before it is checked and put together."""
    settings = read_settings(pathlib.Path(path))
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
    """Settings with the sections of the benchmark that they name, but for those they give."""
    own = {k: v for k, v in settings.items() if k not in BENCHMARK_KEYS}
    options = {k: v for k, v in settings.items() if k in BENCHMARK_KEYS}
    if not options:
        return own, None
    name = options.pop("benchmark", None)
    if not isinstance(name, str) or name not in _BENCHMARKS:
        raise SettingsError(unknown_name("`benchmark`: Benchmark", str(name), _BENCHMARKS))
    options: dict[str, Any] = {"preset": "paper"} | options
    check_preset(options["preset"])
    benchmark = _BENCHMARKS[name](**options)
    return {**benchmark.settings, **own}, benchmark
