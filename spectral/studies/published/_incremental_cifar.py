"""Incremental CIFAR as published in the paper and by Dohare et al."""

from ..experiment._benchmark import Benchmark, PresetName, Settings
from ._presets import (
    benchmark,
    probes,
    published,
    quick_algorithms,
    RUN_UTILITY,
    Size,
    with_quick_probes,
)


def incremental_cifar(preset: PresetName, *, scale: float = 1.0) -> Benchmark:
    """Incremental CIFAR: every task adds five of the hundred classes of CIFAR-100.

    ```python
    benchmark = studies.incremental_cifar("small")
    experiment = studies.make_experiment(benchmark.settings, data_dir="data")
    ```

    **Arguments:**

    - `preset`: `"paper"` (He et al., Appendix I), `"dohare"` (Dohare et al. 2024), or `"small"`,
      which trains in minutes on two CPU cores. `docs/benchmarks.md` lists every difference.
    - `scale`: the fraction of the tasks (and therefore of the classes), of the channels and units
      per layer, and of the training images per class that are kept.

    **Raises:** `SettingsError` if the preset is unknown, or if the scale is not in (0, 1].
    """
    presets = {"paper": _paper, "dohare": _dohare, "small": _small}
    return benchmark("incremental_cifar", preset, scale, presets, _DEPARTURES)


_DEPARTURES = {
    "paper": (
        "Effective-rank steps come after their five minibatches; published: before them.",
        "The minibatches are the same in every epoch of a task, and are drawn again for each task.",
        "Convolutions of stride 2 pad one pixel on each side, as printed; the published code pads "
        "one pixel after the image.",
        "The Hessian is of 1000 training rows of all classes seen, with BatchNorm in inference "
        "mode, by order 100 and three vectors; published: of 2000 training rows and of the 500 "
        "test rows of the new classes, with BatchNorm in training mode, by order 16 and one "
        "vector.",
        RUN_UTILITY,
    ),
    "dohare": (
        "A task begins with the weights from the end of the task before; published: with those of "
        "the epoch with the best accuracy on 50 further images of each class.",
        "Test images are not augmented; published: they are augmented like training images.",
        "Channels are standardised with the statistics of the training images used; published: "
        "with fixed numbers.",
        "A reset of the network also renews the running statistics and the momentum, and one of "
        "the head the momentum of its weights; published: they stay.",
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
            "data": {
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
        per_class=size(500, 20),  # whole minibatches in each task, and whole windows of them
        loader={"epochs": 200, "minibatch_size": 100, "shuffle": False},
        model={"dense_sizes": [size(512), size(512)]},
        algorithms=published("paper", "incremental_cifar"),
    )


def _dohare(size: Size) -> Settings:
    changes = [
        {"type": "Flip"},
        {"type": "Crop", "padding": 4},
        {"type": "Rotate", "degrees": [0.0, 15.0], "fill": "zero"},
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
            "dense_initialiser": {"type": "KaimingNormal", "scale": 1.0},  # of the outputs
        },
        algorithms=published("dohare", "incremental_cifar"),
    )
    del settings["probes"]["rank"]  # the network has no dense hidden layer
    return settings


def _small(size: Size) -> Settings:
    """Half the classes, one block per stage, few channels, and the same number of steps in every
    task."""
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
