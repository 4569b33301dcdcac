"""The settings that the paper and Dohare et al. publish for their benchmarks, and those that others
publish for deep Q-networks, in one table.

`weight_decay=w` adds w theta to the gradient, in all publications.
"""

from collections.abc import Callable
from dataclasses import dataclass, KW_ONLY
from typing import Any, Literal

from ..._arguments import unknown_name
from ..._base._optimiser import Optimiser
from .._base._algorithm import Algorithm
from .._base._protocols import AbstractTransform
from ..optimisers._adam import adam
from ..optimisers._sgd import sgd
from ..transforms.units._utilities import contribution
from ..transforms.weights._reset import Reset
from ..transforms.weights._step_decay import StepDecay
from ._c_chain import c_chain
from ._followed_by import followed_by
from ._paper import bp, er, l2, l2_er
from ._units import cbp, cbp_l2, redo
from ._weights import reset, snp_l2


Then = tuple[Callable[..., AbstractTransform], dict[str, Any]]
Source = Literal["paper", "dohare", "sokar", "nikishin", "tang"]


@dataclass(frozen=True)
class Preset:
    """One row: a recipe with the arguments that a publication gives for a benchmark, and the
    further transforms, with their arguments, that it uses there.

    `name` is the name of the recipe, unless a publication has another name for the algorithm."""

    source: str
    benchmark: str
    recipe: Callable[..., Algorithm]
    optimiser: Callable[..., Optimiser]
    optimiser_arguments: dict[str, float]
    arguments: dict[str, Any]  # the other arguments of the recipe
    _: KW_ONLY
    name: str
    then: tuple[Then, ...] = ()

    def algorithm(self) -> Algorithm:
        """Makes the algorithm that the row describes."""
        algorithm = self.recipe(self.optimiser(**self.optimiser_arguments), **self.arguments)
        return followed_by(algorithm, tuple(make(**given) for make, given in self.then))


def _rows(
    source: str,
    benchmark: str,
    optimiser: Callable[..., Optimiser],
    shared: dict[str, float],
    *rows: tuple[Callable[..., Algorithm], float, dict[str, Any]],
    then: tuple[Then, ...] = (),
    name: str | None = None,
) -> list[Preset]:
    """Makes presets of rows (recipe, learning rate, other arguments). `shared` are arguments of the
    optimiser in each row. `name` replaces the name of the recipe."""
    return [
        Preset(
            source,
            benchmark,
            recipe,
            optimiser,
            {"lr": lr} | shared,
            arguments,
            name=recipe.__name__ if name is None else name,
            then=then,
        )
        for recipe, lr, arguments in rows
    ]


_MOMENTUM = {"momentum": 0.9}
_BETAS = {"b1": 0.99, "b2": 0.99}
_ANT_CBP = {"maturity": 10_000, "utility": contribution}
_ZERO_HEAD: Then = (Reset, {"part": "head", "to": "zero"})
_NEW_HEAD: Then = (Reset, {"part": "head"})
_NEW_NETWORK: Then = (Reset, {"part": "network"})
_STEP_DECAY: Then = (StepDecay, {"factor": 0.2, "chunks": (60, 120, 160)})

PRESETS: tuple[Preset, ...] = (
    # He et al., Table 2, at the fixed and at the best learning rate.
    *(
        row
        for benchmark, lr in (("permuted_mnist", 1e-2), ("permuted_mnist_best_lr", 1e-3))
        for row in _rows(
            "paper",
            benchmark,
            sgd,
            {},
            (bp, lr, {}),
            (er, lr, {"er_lr": 1e-3, "er_period": 100}),
            (l2_er, lr, {"er_lr": 1e-3, "er_period": 100, "weight_decay": 1e-3}),
            (cbp, lr, {"replacement_rate": 1e-6}),
            (l2, lr, {"weight_decay": 1e-3}),
        )
    ),
    # Table 4. Table 3 prints a window of 1 minibatch, but the runs used an epoch of 12.
    *_rows(
        "paper",
        "continual_imagenet",
        sgd,
        _MOMENTUM,
        (bp, 1e-4, {}),
        (er, 1e-4, {"er_lr": 1e-5, "er_period": 12}),
        (l2_er, 1e-3, {"er_lr": 1e-4, "er_period": 12, "weight_decay": 1e-3}),
        (cbp, 1e-4, {"replacement_rate": 1e-5}),
        (l2, 1e-4, {"weight_decay": 1e-3}),
    ),
    # Table 6. Section 8 judges plasticity by RESET; it runs as BP, with a new network in each task.
    *_rows(
        "paper",
        "incremental_cifar",
        sgd,
        _MOMENTUM,
        (bp, 1e-2, {}),
        (er, 1e-2, {"er_lr": 1e-4, "er_period": 5}),
        (l2_er, 1e-2, {"er_lr": 1e-3, "er_period": 5, "weight_decay": 1e-3}),
        (cbp, 1e-2, {"replacement_rate": 1e-6}),
        (l2, 1e-2, {"weight_decay": 1e-4}),
        (reset, 1e-2, {}),
    ),
    # Table 7. It prints effective-rank learning rates of 1e-7 (outside its sweep) and 1e-6, for the
    # sum of two objectives: the mean over the layers of the actor and the mean over the layers of
    # the critic. Our objective is the mean over all layers, which is half of that sum, so the
    # learning rates here are twice as large. The table does not print the weight decay of CBP; the
    # published run has 1e-3.
    *_rows(
        "paper",
        "slippery_ant",
        adam,
        {},
        (bp, 1e-4, {}),
        (er, 1e-4, {"er_lr": 2e-7, "er_period": 128}),
        (l2_er, 1e-4, {"er_lr": 2e-6, "er_period": 128, "weight_decay": 1e-3}),
        (cbp_l2, 1e-4, {"replacement_rate": 1e-7, "weight_decay": 1e-3} | _ANT_CBP),
        (l2, 1e-4, {"weight_decay": 1e-3}),
    ),
    # Dohare et al. (2024). On Permuted MNIST, and for `bp` on Continual ImageNet, they sweep a
    # range; these are the middle values.
    *_rows(
        "dohare",
        "permuted_mnist",
        sgd,
        {},
        (bp, 3e-3, {}),
        (l2, 3e-3, {"weight_decay": 1e-4}),
        (snp_l2, 3e-3, {"weight_decay": 1e-4, "noise": 1e-5}),
        (cbp, 3e-3, {"replacement_rate": 1e-5}),
    ),
    *_rows(
        "dohare",
        "continual_imagenet",
        sgd,
        _MOMENTUM,
        (bp, 1e-3, {}),
        (l2, 3e-2, {"weight_decay": 3e-6}),
        (snp_l2, 1e-2, {"weight_decay": 1e-5, "noise": 1e-5}),
        (cbp, 1e-2, {"replacement_rate": 3e-4}),
        then=(_ZERO_HEAD,),
    ),
    *_rows(
        "dohare",
        "incremental_cifar",
        sgd,
        _MOMENTUM,
        (l2, 0.1, {"weight_decay": 5e-4}),
        (snp_l2, 0.1, {"weight_decay": 5e-4, "noise": 1e-5}),
        (
            cbp_l2,
            0.1,
            {"replacement_rate": 1e-5, "maturity": 1000, "utility": contribution}
            | {"weight_decay": 5e-4},
        ),
        then=(_STEP_DECAY,),
    ),
    *(
        row
        for name, renewed in (
            ("retrained_network", _NEW_NETWORK),
            ("head_resetting", _NEW_HEAD),
        )
        for row in _rows(
            "dohare",
            "incremental_cifar",
            sgd,
            _MOMENTUM,
            (l2, 0.1, {"weight_decay": 5e-4}),
            then=(renewed, _STEP_DECAY),
            name=name,
        )
    ),
    *_rows("dohare", "slippery_ant", adam, {}, (bp, 1e-4, {})),
    *_rows(
        "dohare",
        "slippery_ant",
        adam,
        _BETAS,
        (l2, 1e-4, {"weight_decay": 1e-3}),
        (cbp_l2, 1e-4, {"replacement_rate": 1e-4, "weight_decay": 1e-4} | _ANT_CBP),
    ),
    # Deep Q-networks with chunks of 8 gradient steps. Sokar et al.: the threshold and the period of
    # the paper, and the batch of 256 examples and Adam of their code.
    *_rows(
        "sokar",
        "dqn",
        adam,
        {"eps": 1.5e-4},
        (bp, 6.25e-5, {}),
        (redo, 6.25e-5, {"threshold": 0.025, "period": 1000, "window": 8}),
    ),
    # Nikishin et al., SPR: every 20,000 environment steps, which are a task here, the last layer
    # and Adam's state for it are new. The replay is kept.
    *_rows("nikishin", "dqn", adam, {"eps": 1.5e-4}, (reset, 1e-4, {"part": "head"})),
    # Tang et al., double DQN on MinAtar: `initial` for 10,000 steps.
    *_rows(
        "tang",
        "dqn",
        adam,
        {},
        (bp, 3e-4, {}),
        (
            c_chain,
            3e-4,
            {"scale": 0.01, "initial": 50.0, "initial_chunks": 1250, "window": 50_000}
            | {"restarts": False},
        ),
    ),
)


def preset(benchmark: str, recipe: str, *, source: Source = "paper") -> Algorithm:
    """Returns the algorithm of a row of `PRESETS`: the settings that `source` publishes for a
    benchmark.

    Rows of Dohare et al. set the output layer to zero at every task of Continual ImageNet, and let
    the learning rate fall within each task of Incremental CIFAR. `docs/benchmarks.md` lists where
    rows differ from the publications.

    **Arguments:**

    - `benchmark`: `"permuted_mnist"` (at the fixed learning rate), `"permuted_mnist_best_lr"`,
      `"continual_imagenet"`, `"incremental_cifar"` or `"slippery_ant"`; of the last three sources
      `"dqn"`, for a `tasks.DQN` with chunks of 8 gradient steps.
    - `recipe`: the name of a recipe, such as `"l2_er"`, or of a row with its own name:
      `"retrained_network"` and `"head_resetting"` of Dohare et al.'s Incremental CIFAR, which are
      `l2` with a new network or a new output layer in each task.
    - `source`: He et al. (Tables 2, 4, 6 and 7), Dohare et al. (2024), Sokar et al. (2023, `bp` and
      `redo`), Nikishin et al. (2022, `reset`) or Tang et al. (2025, `bp` and `c_chain`).

    **Raises:** `ValueError` for a row that does not exist.

    ```python
    algo = preset("continual_imagenet", "l2_er")
    ```
    """
    rows = {f"{r.source} {r.benchmark} {r.name}": r for r in PRESETS}
    wanted = f"{source} {benchmark} {recipe}"
    if wanted not in rows:
        raise ValueError(unknown_name("Preset", wanted, rows))
    return rows[wanted].algorithm()
