"""Continual ImageNet as published in the paper and by Dohare et al."""

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


def continual_imagenet(preset: PresetName, *, scale: float = 1.0) -> Benchmark:
    """Continual ImageNet: every task classifies 32 x 32 images of two classes.

    ```python
    benchmark = studies.continual_imagenet("small", scale=0.5)
    benchmark.smaller[0]  # "`model.channels` was ... and is now ..."
    experiment = studies.make_experiment(benchmark.settings, data_dir="data")
    ```

    **Arguments:**

    - `preset`: `"paper"` (He et al., Appendix H), `"dohare"` (Dohare et al. 2024), or `"small"`,
      which trains in minutes on two CPU cores, on the images of `tiny_imagenet32`.
      `docs/benchmarks.md` lists every difference.
    - `scale`: the fraction of the tasks, of the units per layer and of the training images per
      class that are kept.

    **Raises:** `SettingsError` if the preset is unknown, or if the scale is not in (0, 1].
    """
    presets = {"paper": _paper, "dohare": _dohare, "small": _small}
    return benchmark("continual_imagenet", preset, scale, presets, _DEPARTURES)


_IMAGES = (
    "600 training images of each class, and as test images its 50 of the validation split of "
    "ImageNet; published: 700 of the training split, of which 100 are held out.",
    "Pixels are between 0 and 1; the scale of the published files is unknown.",
)
_DEPARTURES = {
    "paper": (
        *_IMAGES,
        "Effective-rank steps come after the minibatches of an epoch; published: before them.",
        "The Hessian is of 1000 training rows, by three vectors; published: of all 1200 training "
        "rows and of all 200 test rows, by one vector.",
        RUN_UTILITY,
    ),
    "dohare": _IMAGES,
}


def _experiment(
    size: Size,
    *,
    seeds: int,
    images: str,
    per_class: int,
    stream: Settings,
    loader: Settings,
    model: Settings,
    algorithms: Settings,
) -> Settings:
    return {
        "seeds": seeds,
        "stream": {
            "type": "SplitClasses",
            "data": {
                "type": "fewer_images",
                "images": {"type": "load_images", "name": images},
                "train_per_class": per_class,
            },
            "classes_per_task": 2,
            **stream,
            "loader": {"type": "Loader", **loader},
        },
        "model": {
            "type": "ConvNet",
            "channels": [size(32), size(64), size(128)],
            "dense_sizes": [size(128), size(128)],
            **model,
        },
        "algorithms": algorithms,
        "probes": probes(stream["num_tasks"], min(1000, 2 * per_class)),
    }


def _full_size(
    size: Size, *, seeds: int, redraw: bool, model: Settings, algorithms: Settings
) -> Settings:
    return _experiment(
        size,
        seeds=seeds,
        images="imagenet_resized/32x32",
        per_class=_per_class(size),
        stream={"num_tasks": size(2000), "redraw": redraw},
        loader={"epochs": 250, "minibatch_size": 100},
        model=model,
        algorithms=algorithms,
    )


def _per_class(size: Size) -> int:
    return size(600, 50)  # of two classes: whole minibatches of 100


def _paper(size: Size) -> Settings:
    algorithms = published("paper", "continual_imagenet", er_period=_per_class(size) // 50)
    model = {"padding": "same"}
    return _full_size(size, seeds=10, redraw=True, model=model, algorithms=algorithms)


def _dohare(size: Size) -> Settings:
    algorithms = published("dohare", "continual_imagenet")
    model = {"padding": "valid", "initialiser": {"type": "TorchDefault"}}
    return _full_size(size, seeds=30, redraw=False, model=model, algorithms=algorithms)


def _small(size: Size) -> Settings:
    """A quarter of the channels, and a learning rate at which 60 steps suffice for a task."""
    per_class = size(150, 25)
    settings = _experiment(
        size,
        seeds=1,
        images="tiny_imagenet32",
        per_class=per_class,
        stream={"num_tasks": size(40), "redraw": True},
        loader={"epochs": 5, "minibatch_size": 25},
        model={
            "channels": [size(8), size(16), size(32)],
            "dense_sizes": [size(64), size(64)],
            "padding": "same",
        },
        algorithms=quick_algorithms(er_period=per_class // 25),
    )
    return with_quick_probes(settings)
