"""Slippery Ant as published in the paper and by Dohare et al."""

from ..experiment._benchmark import Benchmark, PresetName, Settings
from ._presets import benchmark, probes, published, RUN_UTILITY, Size


def slippery_ant(preset: PresetName, *, scale: float = 1.0) -> Benchmark:
    """Slippery Ant: PPO on an ant, with a ground friction that changes.

    ```python
    benchmark = studies.slippery_ant("small")
    experiment = studies.make_experiment(benchmark.settings)
    ```

    **Arguments:**

    - `preset`: `"paper"` (He et al., Appendix J), `"dohare"` (Dohare et al. 2024), or `"small"`,
      which trains in minutes on two CPU cores. `docs/benchmarks.md` lists every difference.
    - `scale`: the fraction of the tasks, of the steps per task and of the units per layer that are
      kept.

    **Raises:** `SettingsError` if the preset is unknown, or if the scale is not in (0, 1].
    """
    presets = {"paper": _paper, "dohare": _dohare, "small": _small}
    return benchmark("slippery_ant", preset, scale, presets, _DEPARTURES)


_BODY = "The ant is that of brax with spring physics: 27 observations, and only the feet collide."
_DEPARTURES = {
    "paper": (
        _BODY,
        "Every episode begins in a new state; published: always in the same state.",
        "10 tasks of 2,000,000 steps; the table of the paper prints 5,000,000 steps in total.",
        "The learning rate is 1e-4, the best of Table 7; Table 8 prints 2.5e-4.",
        "Adam's betas are 0.9 and 0.999 for all algorithms, as printed; the published code uses "
        "0.99 and 0.99 for some.",
        "The logarithm of the friction is uniform on [0.02, 2], a range that the paper does not "
        "print.",
        "Effective-rank steps come after the minibatches of an epoch; published: before them.",
        "The effective rank is the mean over all layers of actor and critic, which is half of the "
        "published sum of two means; its learning rates are therefore twice those of Table 7.",
        "Advantages of a minibatch are divided by the unbiased standard deviation; published: by "
        "the biased one, which is smaller by a factor of 0.968 for 16 rows.",
        "The Hessian is of 2000 rows of new rollouts, by three vectors; published: of one rollout "
        "of 1000 steps, by one vector.",
        RUN_UTILITY,
    ),
    "dohare": (
        _BODY,
        "Continual backpropagation also resets Adam's state of a unit that it replaces.",
    ),
}


def _experiment(
    size: Size,
    *,
    num_tasks: int,
    steps_per_task: int,
    world: Settings,
    learning: Settings,
    model: Settings,
    algorithms: Settings,
    seeds: int = 5,
    num_examples: int = 2000,
) -> Settings:
    steps_per_rollout = 2048
    measured = probes(num_tasks, num_examples)
    measured["hessian"] |= {"when": ["start", "end"]}
    return {
        "seeds": seeds,
        "stream": {
            "type": "PPO",
            "world": {
                "type": "SlipperyAnt",
                "steps_per_task": size(steps_per_task),
                "limit_is_terminal": True,
                **world,
            },
            "num_tasks": num_tasks,
            "steps_per_rollout": steps_per_rollout,
            **learning,
        },
        "model": {"type": "ActorCritic", **model},
        "algorithms": algorithms,
        "probes": measured,
    }


def _paper(size: Size) -> Settings:
    return _experiment(
        size,
        num_tasks=size(10),
        steps_per_task=2_000_000,
        world={"change": "step", "schedule": {"type": "LogUniform", "seed": 0}},
        learning={
            "minibatches_per_epoch": 128,
            "clip_value": True,
            "entropy_weight": 0.01,
            "advantages": "minibatch",
        },
        model={"width": size(256), "depth": 1},
        algorithms=published("paper", "slippery_ant"),
    )


def _dohare(size: Size) -> Settings:
    return _experiment(
        size,
        num_tasks=size(10),
        steps_per_task=2_000_000,
        world={"change": "episode", "schedule": {"type": "LogUniform", "seed": None}},
        learning={},
        model={"width": size(256), "depth": 2},
        algorithms=published("dohare", "slippery_ant"),
    )


def _small(size: Size) -> Settings:
    """Shorter tasks, narrower networks and a higher learning rate."""
    lr = {"type": "adam", "lr": 1e-3}
    settings = _experiment(
        size,
        seeds=1,
        num_examples=500,
        num_tasks=size(4),
        steps_per_task=81_920,
        world={"change": "step", "limit_is_terminal": False},
        learning={
            "epochs": 8,
            "minibatches_per_epoch": 8,
            "discount": 0.97,
            "num_evaluation_environments": 0,
        },
        model={"width": size(64), "depth": 2, "initial_log_std": -1.0},
        algorithms={
            "bp": {"type": "bp", "lr": lr},
            "l2": {"type": "l2", "lr": lr, "weight_decay": 1e-3},
            "l2_er": {
                "type": "l2_er",
                "lr": lr,
                "weight_decay": 1e-3,
                "er_lr": 1e-5,
                "er_period": 8,
                "er_window": 1,
            },
            "cbp_l2": {
                "type": "cbp_l2",
                "lr": lr,
                "weight_decay": 1e-3,
                "replacement_rate": 1e-4,
                "maturity": 1000,
            },
        },
    )
    del settings["probes"]["dead"]  # every rollout records it already
    settings["probes"]["hessian"] |= {
        "num_examples": 500,
        "batch_size": 500,
        "estimator": {"type": "Lanczos", "order": 60, "num_vectors": 2},
    }
    return settings
