"""Continual ImageNet, as the paper and Dohare et al. publish it."""

from ..experiment._benchmark import Benchmark, PresetName, Settings
from ._presets import benchmark, probes, published, quick_algorithms, Size, with_quick_probes


def continual_imagenet(preset: PresetName, *, scale: float = 1.0) -> Benchmark:
    """Continual ImageNet: every task tells two classes of 32 x 32 images apart.

    ```python
    benchmark = studies.continual_imagenet("small", scale=0.5)
    benchmark.smaller[0]  # "`model.channels` was ... and is ... now"
    experiment = studies.make_experiment(benchmark.settings, data_dir="data")
    ```

    **Arguments:**

    - `preset`: `"paper"` (He et al., Appendix H), `"dohare"` (Dohare et al. 2024), or `"small"`,
      which two CPU cores train in minutes on the images of `tiny_imagenet32`. `docs/benchmarks.md`
      lists every difference.
    - `scale`: the fraction of the tasks, of the units in each layer and of the training images of
      each class.

    **Raises:** `SettingsError` for an unknown preset, or a scale that is not above 0 and at most 1.
    """
    presets = {"paper": _paper, "dohare": _dohare, "small": _small}
    return benchmark("continual_imagenet", preset, scale, presets, _DEPARTURES)


_IMAGES = (
    "600 training images of each class and the 50 of the validation split of ImageNet; published: "
    "700 of the training split, 100 of them held out.",
    "Pixels lie between 0 and 1; how the published files are scaled is not known.",
)
_DEPARTURES = {
    "paper": (
        *_IMAGES,
        "Effective-rank steps come after the minibatches of an epoch; published: before them.",
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
            "images": {
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


def _paper(size: Size) -> Settings:
    per_class = size(600, 50)  # whole minibatches of 100
    return _experiment(
        size,
        seeds=10,
        images="imagenet_resized/32x32",
        per_class=per_class,
        stream={"num_tasks": size(2000), "redraw": True},
        loader={"epochs": 250, "minibatch_size": 100},
        model={"padding": "same"},
        algorithms=published("paper", "continual_imagenet", er_period=per_class // 50),
    )


def _dohare(size: Size) -> Settings:
    per_class = size(600, 50)
    return _experiment(
        size,
        seeds=30,
        images="imagenet_resized/32x32",
        per_class=per_class,
        stream={"num_tasks": size(2000), "redraw": False},
        loader={"epochs": 250, "minibatch_size": 100},
        model={"padding": "valid", "initialiser": {"type": "TorchDefault"}},
        algorithms=published("dohare", "continual_imagenet"),
    )


def _small(size: Size) -> Settings:
    """A quarter of the channels, and a learning rate at which 60 steps are enough for a task."""
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
