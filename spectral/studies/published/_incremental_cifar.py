"""Incremental CIFAR, as the paper and Dohare et al. publish it."""

from ..experiment._benchmark import Benchmark, PresetName, Settings
from ._presets import benchmark, probes, published, quick_algorithms, Size, with_quick_probes


def incremental_cifar(preset: PresetName, *, scale: float = 1.0) -> Benchmark:
    """Incremental CIFAR: five more of the hundred classes of CIFAR-100 in every task.

    ```python
    benchmark = studies.incremental_cifar("small")
    experiment = studies.make_experiment(benchmark.settings, data_dir="data")
    ```

    **Arguments:**

    - `preset`: `"paper"` (He et al., Appendix I), `"dohare"` (Dohare et al. 2024), or `"small"`,
      which two CPU cores train in minutes. `docs/benchmarks.md` lists every difference.
    - `scale`: the fraction of the tasks, and so of the classes, of the channels and units in each
      layer, and of the training images of each class.

    **Raises:** `SettingsError` for an unknown preset, or a scale that is not above 0 and at most 1.
    """
    presets = {"paper": _paper, "dohare": _dohare, "small": _small}
    return benchmark("incremental_cifar", preset, scale, presets, _DEPARTURES)


_DEPARTURES = {
    "paper": (
        "Effective-rank steps come after their five minibatches; published: before them.",
        "Minibatches are the same in every epoch of a task, but drawn anew for each task.",
    ),
    "dohare": (
        "The weights at the end of a task are kept; published: those of the epoch with the best "
        "accuracy on 50 further images of each class.",
        "Test images are shown as they are; published: under the random changes of training.",
        "Channels are standardised by the training images used; published: by fixed numbers.",
        "Rotations take the nearest pixel.",
    ),
}


def _experiment(
    size: Size,
    *,
    num_tasks: int,
    per_class: int,
    loader: Settings,
    model: Settings,
    algorithms: Settings,
    seeds: int = 5,
    test_per_class: int | None = None,
) -> Settings:
    return {
        "seeds": seeds,
        "stream": {
            "type": "IncrementalClasses",
            "images": {
                "type": "fewer_images",
                "images": {"type": "load_images", "name": "cifar100"},
                "train_per_class": per_class,
                "test_per_class": test_per_class,
            },
            "classes_per_task": 5,
            "num_tasks": num_tasks,
            "loader": {"type": "Loader", **loader},
        },
        "model": {"type": "ResNet18", "width": size(64), **model},
        "algorithms": algorithms,
        "probes": probes(num_tasks, min(1000, 5 * per_class)),
    }


def _paper(size: Size) -> Settings:
    return _experiment(
        size,
        num_tasks=size(20),
        per_class=size(500, 20),  # whole minibatches in each task, whole windows in all
        loader={"epochs": 200, "minibatch_size": 100, "shuffle": False},
        model={"dense_sizes": [size(512), size(512)]},
        algorithms=published("paper", "incremental_cifar"),
    )


def _dohare(size: Size) -> Settings:
    changes = [
        {"type": "Flip"},
        {"type": "Crop", "padding": 4},
        {"type": "Rotate", "degrees": 15.0},
    ]
    settings = _experiment(
        size,
        num_tasks=size(20),
        per_class=size(450, 18),
        loader={
            "epochs": 200,
            "minibatch_size": 90,
            "standardise": True,
            "augmentation": {"type": "Compose", "changes": changes},
        },
        model={
            "dense_sizes": [],
            "initialiser": {"type": "KaimingNormal"},
            "dense_initialiser": {"type": "KaimingNormal"},
        },
        algorithms=published("dohare", "incremental_cifar"),
    )
    del settings["probes"]["rank"]  # there is no dense hidden layer
    return settings


def _small(size: Size) -> Settings:
    """Half the classes, one block in each stage, few channels, and a constant number of steps in
    each task."""
    settings = _experiment(
        size,
        seeds=1,
        num_tasks=size(10),
        per_class=size(150, 30),
        test_per_class=20,
        loader={"epochs": 12, "minibatch_size": 25, "max_minibatches": 5},
        model={
            "width": size(4),
            "blocks": [1, 1, 1, 1],
            "dense_sizes": [size(64), size(64)],
        },
        algorithms=quick_algorithms(er_period=5),
    )
    return with_quick_probes(settings)
