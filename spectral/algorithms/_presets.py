"""The settings that the paper and Dohare et al. publish for their benchmarks, in one table.

`weight_decay=w` adds w theta to the gradient, in both publications.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from .._arguments import unknown_name
from .._types import Optimiser
from ._adam import adam
from ._base import Algorithm
from ._recipes import bp, er, l2, l2_er
from ._sgd import sgd
from ._unit_recipes import cbp, cbp_l2
from ._utilities import contribution
from ._weight_recipes import snp_l2


class Preset(NamedTuple):
    """One row: a recipe with the arguments that a publication gives for a benchmark."""

    source: str
    benchmark: str
    recipe: Callable[..., Algorithm]
    optimiser: Callable[..., Optimiser]
    rate: dict[str, float]  # arguments of the optimiser
    arguments: dict[str, Any]  # the other arguments of the recipe
    note: str = ""


_MOMENTUM = {"momentum": 0.9}
_BETAS = {"b1": 0.99, "b2": 0.99}
_ANT_CBP = {"maturity": 10_000, "utility": contribution}
_UNPRINTED = "The table prints no weight decay; this is Dohare et al.'s."
_SWEPT = "Published as a sweep; this is the middle value."

PRESETS: tuple[Preset, ...] = (
    # He et al., Table 2, learning rate fixed.
    Preset("paper", "permuted_mnist", bp, sgd, {"lr": 1e-2}, {}),
    Preset("paper", "permuted_mnist", er, sgd, {"lr": 1e-2}, {"er_lr": 1e-3, "er_every": 100}),
    Preset(
        "paper",
        "permuted_mnist",
        l2_er,
        sgd,
        {"lr": 1e-2},
        {"er_lr": 1e-3, "er_every": 100, "weight_decay": 1e-3},
    ),
    Preset("paper", "permuted_mnist", cbp, sgd, {"lr": 1e-2}, {"replacement_rate": 1e-6}),
    Preset("paper", "permuted_mnist", l2, sgd, {"lr": 1e-2}, {"weight_decay": 1e-3}),
    # Table 2, best learning rate.
    Preset("paper", "permuted_mnist_best_lr", bp, sgd, {"lr": 1e-3}, {}),
    Preset(
        "paper", "permuted_mnist_best_lr", er, sgd, {"lr": 1e-3}, {"er_lr": 1e-3, "er_every": 100}
    ),
    Preset(
        "paper",
        "permuted_mnist_best_lr",
        l2_er,
        sgd,
        {"lr": 1e-3},
        {"er_lr": 1e-3, "er_every": 100, "weight_decay": 1e-3},
    ),
    Preset("paper", "permuted_mnist_best_lr", cbp, sgd, {"lr": 1e-3}, {"replacement_rate": 1e-6}),
    Preset("paper", "permuted_mnist_best_lr", l2, sgd, {"lr": 1e-3}, {"weight_decay": 1e-3}),
    # Table 4. One epoch of 12 minibatches between effective-rank steps.
    Preset("paper", "continual_imagenet", bp, sgd, {"lr": 1e-4} | _MOMENTUM, {}),
    Preset(
        "paper",
        "continual_imagenet",
        er,
        sgd,
        {"lr": 1e-4} | _MOMENTUM,
        {"er_lr": 1e-5, "er_every": 12},
        "Table 3 prints a window of 1 minibatch; one epoch is what was run.",
    ),
    Preset(
        "paper",
        "continual_imagenet",
        l2_er,
        sgd,
        {"lr": 1e-3} | _MOMENTUM,
        {"er_lr": 1e-4, "er_every": 12, "weight_decay": 1e-3},
        "Table 3 prints a window of 1 minibatch; one epoch is what was run.",
    ),
    Preset(
        "paper",
        "continual_imagenet",
        cbp,
        sgd,
        {"lr": 1e-4} | _MOMENTUM,
        {"replacement_rate": 1e-5},
    ),
    Preset(
        "paper", "continual_imagenet", l2, sgd, {"lr": 1e-4} | _MOMENTUM, {"weight_decay": 1e-3}
    ),
    # Table 6.
    Preset("paper", "incremental_cifar", bp, sgd, {"lr": 1e-2} | _MOMENTUM, {}),
    Preset(
        "paper",
        "incremental_cifar",
        er,
        sgd,
        {"lr": 1e-2} | _MOMENTUM,
        {"er_lr": 1e-4, "er_every": 5},
    ),
    Preset(
        "paper",
        "incremental_cifar",
        l2_er,
        sgd,
        {"lr": 1e-2} | _MOMENTUM,
        {"er_lr": 1e-3, "er_every": 5, "weight_decay": 1e-3},
    ),
    Preset(
        "paper",
        "incremental_cifar",
        cbp,
        sgd,
        {"lr": 1e-2} | _MOMENTUM,
        {"replacement_rate": 1e-6},
    ),
    Preset("paper", "incremental_cifar", l2, sgd, {"lr": 1e-2} | _MOMENTUM, {"weight_decay": 1e-4}),
    # Table 7.
    Preset("paper", "slippery_ant", bp, adam, {"lr": 1e-4}, {}),
    Preset(
        "paper",
        "slippery_ant",
        er,
        adam,
        {"lr": 1e-4},
        {"er_lr": 1e-7, "er_every": 128},
        "The best value lies outside the printed sweep.",
    ),
    Preset(
        "paper",
        "slippery_ant",
        l2_er,
        adam,
        {"lr": 1e-4},
        {"er_lr": 1e-6, "er_every": 128, "weight_decay": 1e-3},
    ),
    Preset(
        "paper",
        "slippery_ant",
        cbp_l2,
        adam,
        {"lr": 1e-4},
        {"replacement_rate": 1e-7, "weight_decay": 1e-4} | _ANT_CBP,
        _UNPRINTED,
    ),
    Preset("paper", "slippery_ant", l2, adam, {"lr": 1e-4}, {"weight_decay": 1e-3}),
    # Dohare et al. (2024).
    Preset("dohare", "permuted_mnist", bp, sgd, {"lr": 3e-3}, {}, _SWEPT),
    Preset("dohare", "permuted_mnist", l2, sgd, {"lr": 3e-3}, {"weight_decay": 1e-4}, _SWEPT),
    Preset(
        "dohare",
        "permuted_mnist",
        snp_l2,
        sgd,
        {"lr": 3e-3},
        {"weight_decay": 1e-4, "noise": 1e-5},
        _SWEPT,
    ),
    Preset("dohare", "permuted_mnist", cbp, sgd, {"lr": 3e-3}, {"replacement_rate": 1e-5}, _SWEPT),
    Preset("dohare", "continual_imagenet", bp, sgd, {"lr": 1e-3} | _MOMENTUM, {}, _SWEPT),
    Preset(
        "dohare", "continual_imagenet", l2, sgd, {"lr": 3e-2} | _MOMENTUM, {"weight_decay": 3e-6}
    ),
    Preset(
        "dohare",
        "continual_imagenet",
        snp_l2,
        sgd,
        {"lr": 1e-2} | _MOMENTUM,
        {"weight_decay": 1e-5, "noise": 1e-5},
    ),
    Preset(
        "dohare",
        "continual_imagenet",
        cbp,
        sgd,
        {"lr": 1e-2} | _MOMENTUM,
        {"replacement_rate": 3e-4},
    ),
    Preset(
        "dohare",
        "incremental_cifar",
        l2,
        sgd,
        {"lr": 0.1} | _MOMENTUM,
        {"weight_decay": 5e-4},
        "Published with the rate times 0.2 at epochs 60, 120 and 160 of each task.",
    ),
    Preset(
        "dohare",
        "incremental_cifar",
        snp_l2,
        sgd,
        {"lr": 0.1} | _MOMENTUM,
        {"weight_decay": 5e-4, "noise": 1e-5},
        "Published with the rate times 0.2 at epochs 60, 120 and 160 of each task.",
    ),
    Preset(
        "dohare",
        "incremental_cifar",
        cbp_l2,
        sgd,
        {"lr": 0.1} | _MOMENTUM,
        {
            "replacement_rate": 1e-5,
            "maturity": 1000,
            "utility": contribution,
            "weight_decay": 5e-4,
        },
        "Published with the rate times 0.2 at epochs 60, 120 and 160 of each task.",
    ),
    Preset("dohare", "slippery_ant", bp, adam, {"lr": 1e-4}, {}),
    Preset("dohare", "slippery_ant", l2, adam, {"lr": 1e-4} | _BETAS, {"weight_decay": 1e-3}),
    Preset(
        "dohare",
        "slippery_ant",
        cbp_l2,
        adam,
        {"lr": 1e-4} | _BETAS,
        {"replacement_rate": 1e-4, "weight_decay": 1e-4} | _ANT_CBP,
    ),
)


def preset(
    benchmark: str, recipe: str, *, source: Literal["paper", "dohare"] = "paper"
) -> Algorithm:
    """The algorithm with the settings that `source` publishes for a benchmark: a row of `PRESETS`.

    **Arguments:**

    - `benchmark`: `"permuted_mnist"` (at the fixed learning rate), `"permuted_mnist_best_lr"`,
      `"continual_imagenet"`, `"incremental_cifar"` or `"slippery_ant"`.
    - `recipe`: the name of a recipe, such as `"l2_er"`.
    - `source`: He et al. (Tables 2, 4, 6 and 7), or Dohare et al. (2024).

    **Raises:** `ValueError` for a row that does not exist.

    ```python
    algo = preset("continual_imagenet", "l2_er")
    ```
    """
    rows = {f"{r.source} {r.benchmark} {r.recipe.__name__}": r for r in PRESETS}
    wanted = f"{source} {benchmark} {recipe}"
    if wanted not in rows:
        raise ValueError(unknown_name("Preset", wanted, rows))
    row = rows[wanted]
    return row.recipe(row.optimiser(**row.rate), **row.arguments)
