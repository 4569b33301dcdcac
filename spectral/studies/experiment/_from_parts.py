"""Experiments from parts that were made in Python."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from jaxtyping import PyTree

from ..._arguments import check_kind
from ...algorithms import Algorithm
from ...probes import AbstractProbe
from ...tasks import AbstractTaskStream
from ._experiment import Experiment
from ._make import check_names, check_seeds, checked
from ._record_part import record_part
from ._settings import SettingsError


def experiment_of(
    *,
    stream: AbstractTaskStream,
    model: Callable[..., PyTree],
    algorithms: Mapping[str, Algorithm],
    probes: Mapping[str, AbstractProbe] | None = None,
    seeds: int = 1,
    batch_dependent: bool = False,
) -> Experiment:
    """Make an experiment from parts, as an alternative to `load_experiment`.

    ```python
    import functools

    stream = tasks.PermutedImages(tasks.load_images("digits"), num_tasks=2, steps_per_task=20)
    experiment = studies.experiment_of(
        stream=stream,
        model=functools.partial(models.MLP, stream.in_size, stream.out_size, width=8),
        algorithms={"bp": algorithms.bp(0.03), "l2": algorithms.l2(0.03)},
        probes={"dead": probes.DeadUnits(num_examples=50)},
        seeds=2,
    )
    ```

    `run_experiment`, `sweep_of` and all that reads run folders accept it. The file `config.yaml` of
    a run records the parts: their classes, their plain fields, and hashes of arrays and functions.
    It can be read without the parts, but not run again. To resume or extend the run, pass an
    experiment of equal parts to `run_experiment`.

    **Arguments:**

    - `stream`: the tasks.
    - `model`: a function that makes a network from the argument `key`. It is called once for each
      seed, through `eqx.nn.make_with_state`, which also makes the state of networks that have one.
    - `algorithms`: what is compared, by names for folders and figures.
    - `probes`: measurements at task boundaries, by name.
    - `seeds`: the number of networks that each algorithm trains.
    - `batch_dependent`: as in `train_continual`.

    **Raises:** `SettingsError` if a name cannot be used, or if the parts do not fit together;
    `TypeError` if a part is of another kind. Nothing is compiled before.
    """
    probes = {} if probes is None else probes
    check_kind("stream", stream, AbstractTaskStream, "tasks.PermutedImages(...)")
    for place, given in {"algorithms": algorithms, "probes": probes}.items():
        check_names(place, given)
    for name, algo in algorithms.items():
        check_kind(f"algorithms[{name!r}]", algo, Algorithm, "algorithms.bp()")
    for name, probe in probes.items():
        check_kind(f"probes[{name!r}]", probe, AbstractProbe, "probes.DeadUnits()")
    check_seeds(seeds)
    _check_makes_networks(model)
    settings = {
        "seeds": seeds,
        "stream": record_part(stream),
        "model": record_part(model),
        "algorithms": record_part(algorithms),
        "probes": record_part(probes),
    }
    return checked(
        Experiment(
            settings,
            seeds,
            stream,
            model,
            dict(algorithms),
            dict(probes),
            made_in_python=True,
            batch_dependent=batch_dependent,
        )
    )


def _check_makes_networks(model: Any) -> None:
    try:
        inspect.signature(model).bind(key=None)
    except TypeError as error:
        raise SettingsError(
            f"`model` is {model!r}, but must be a function that makes a network from the argument "
            f"`key` alone ({error}): pass for example `functools.partial(models.MLP, 64, 10)`."
        ) from error
