"""Permuted MNIST, as the paper and Dohare et al. publish it."""

from ..experiment._benchmark import Benchmark, PresetName, Settings
from ._presets import benchmark, probes, published, Size


def permuted_mnist(preset: PresetName, *, scale: float = 1.0) -> Benchmark:
    """Online Permuted MNIST: one image at a time, the pixels permuted anew in every task.

    ```python
    experiment = studies.make_experiment(studies.permuted_mnist("small").settings, data_dir="data")
    ```

    **Arguments:**

    - `preset`: `"paper"` (He et al., Appendix G, at the fixed learning rate of Table 2), `"dohare"`
      (Dohare et al. 2024), or `"small"`, which two CPU cores train in minutes. `docs/benchmarks.md`
      lists every difference.
    - `scale`: the fraction of the tasks, of the units in each layer and of the steps in each task.

    **Raises:** `SettingsError` for an unknown preset, or a scale that is not above 0 and at most 1.
    """
    presets = {"paper": _paper, "dohare": _dohare, "small": _small}
    return benchmark("permuted_mnist", preset, scale, presets, _DEPARTURES)


_DEPARTURES = {
    "paper": (
        "Evaluated on 2000 test rows; the published code took training rows.",
        "Each step sees another row; the published code took the last 100 rows of a task 21 times.",
        "Permutations are of the original pixels; in law this is the same as of permuted ones.",
    ),
    "dohare": (
        "The weights of the last layer are Kaiming-uniform with the gain of ReLU; published: 1.",
        "Units are measured on 1000 training rows before each task; published: the first 2000.",
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
            "steps_per_task": size(60_000, 100),  # whole windows of the effective rank
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
    return _experiment(size, 10, 800, 2000, published("dohare", "permuted_mnist"))


def _small(size: Size) -> Settings:
    return _experiment(size, 1, 20, 100, published("paper", "permuted_mnist"))
