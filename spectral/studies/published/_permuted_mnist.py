"""Permuted MNIST as published in the paper and by Dohare et al."""

from ..experiment._benchmark import Benchmark, PresetName, Settings
from ._presets import benchmark, probes, published, RUN_UTILITY, Size


def permuted_mnist(preset: PresetName, *, scale: float = 1.0) -> Benchmark:
    """Online Permuted MNIST: one image at a time, with a new permutation of the pixels per task.

    ```python
    experiment = studies.make_experiment(studies.permuted_mnist("small").settings, data_dir="data")
    ```

    **Arguments:**

    - `preset`: `"paper"` (He et al., Appendix G, at the fixed learning rate of Table 2), `"dohare"`
      (Dohare et al. 2024), or `"small"`, which trains in minutes on two CPU cores.
      `docs/benchmarks.md` lists every difference.
    - `scale`: the fraction of the tasks, of the units per layer and of the steps per task that are
      kept.

    **Raises:** `SettingsError` if the preset is unknown, or if the scale is not in (0, 1].
    """
    presets = {"paper": _paper, "dohare": _dohare, "small": _small}
    return benchmark("permuted_mnist", preset, scale, presets, _DEPARTURES)


_DEPARTURES = {
    "paper": (
        "Evaluated on 2000 test rows; the published code uses training rows.",
        "Each step uses a new row; the published code uses the last 100 rows of a task 21 times.",
        "The original pixels are permuted; published: those of the task before, which gives tasks "
        "of the same distribution.",
        "Gradients are not clipped; Table 1 prints a threshold of 0.5, which the published code "
        "does not use.",
        "The Hessian is of 1000 training rows, by three vectors; published: of 2000 training and "
        "of 2000 held-out rows, by one vector.",
        RUN_UTILITY,
    ),
    "dohare": (
        "Units are measured on 1000 training rows before each task; published: on the first 2000.",
    ),
}


def _experiment(
    size: Size, seeds: int, num_tasks: int, width: int, algorithms: Settings
) -> Settings:
    num_tasks = size(num_tasks)
    return {
        "seeds": seeds,
        "stream": {
            "type": "PermutedImages",
            "images": {"type": "load_images", "name": "mnist"},
            "num_tasks": num_tasks,
            "steps_per_task": size(60_000, 100),  # a multiple of the window of the effective rank
            "minibatch_size": 1,
            "standardise": False,
            "num_evaluation_examples": 2000,
        },
        "model": {"type": "MLP", "width": size(width), "depth": 3},
        "algorithms": algorithms,
        "probes": probes(num_tasks, 1000),
    }


def _paper(size: Size) -> Settings:
    return _experiment(size, 5, 800, 1000, published("paper", "permuted_mnist"))


def _dohare(size: Size) -> Settings:
    settings = _experiment(size, 10, 800, 2000, published("dohare", "permuted_mnist"))
    head = {"head_initialiser": {"type": "LecunUniform"}}  # Kaiming-uniform with a gain of 1
    return settings | {"model": settings["model"] | head}


def _small(size: Size) -> Settings:
    return _experiment(size, 1, 20, 100, published("paper", "permuted_mnist"))
