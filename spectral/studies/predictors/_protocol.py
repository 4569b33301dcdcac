"""What is decided before signs are compared."""

import dataclasses
from dataclasses import KW_ONLY
from typing import Any, get_args, Literal

from ..._arguments import check_above, check_count, unknown_name
from ..experiment._settings import SettingsError


Variant = Literal["raw", "balanced"]

REACHED = 0.8  # of the trainability of a fresh network: a branch that reaches it succeeds


@dataclasses.dataclass(frozen=True)
class PredictorProtocol:
    """What is decided before signs of lost plasticity are compared, and printed with the result.

    Decide it before the runs: a comparison whose outcome, threshold or seeds were chosen after a
    look at the results favours the signs that were lucky.

    ```python
    studies.PredictorProtocol(outcome="trainability.end.sgd_excess", tuning_seeds=3)
    ```

    **Arguments:**

    - `outcome`: the column of the history that the signs predict. By default the primary number of
      the probe `Trainability`.
    - `tuning_seeds`: directions and thresholds come from the first seeds, this many, and all other
      results from the rest. By default a third of the seeds, at least one.
    - `epsilon`: of the ranks that count what lies beyond a threshold. The columns of probes with
      another `epsilon` are left out. By default all are compared.
    - `variant`: with `"raw"`, what `Balanced` recorded is left out. With `"balanced"` it stands in
      place of the column at raw weights.

    **Raises:** `ValueError` for an unknown variant, an epsilon that is not positive, or fewer than
    one tuning seed.
    """

    _: KW_ONLY
    outcome: str | None = None
    tuning_seeds: int | None = None
    epsilon: float | None = None
    variant: Variant = "raw"

    def __post_init__(self):
        if self.variant not in get_args(Variant):
            raise ValueError(unknown_name("`variant`: Variant", self.variant, get_args(Variant)))
        if self.tuning_seeds is not None:
            check_count("tuning_seeds", self.tuning_seeds)
        if self.epsilon is not None:
            check_above("epsilon", self.epsilon, 0)

    def split(self, seeds: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The tuning seeds, and those of the results. A single seed is both.

        **Raises:** `SettingsError` if no seed is left for the results.
        """
        if len(seeds) == 1:
            return seeds, seeds
        count = max(1, len(seeds) // 3) if self.tuning_seeds is None else self.tuning_seeds
        if count >= len(seeds):
            raise SettingsError(
                f"`--tuning-seeds` is {count}, but must be below the number of seeds that "
                f"finished, {len(seeds)}: pass at most {len(seeds) - 1}, or train more seeds."
            )
        return seeds[:count], seeds[count:]


@dataclasses.dataclass(frozen=True)
class AppliedProtocol:
    """A protocol, with what it meant for some runs.

    - `outcome`, `label`, `better`: the column, its name and which end is better.
    - `ratio`: the column that says whether a branch reached 0.8 of a fresh network; `None` if it
      was not recorded.
    - `budget`: the gradient steps of a branch; `None` if the probe has no such setting.
    - `epsilons`: of the probes that were compared.
    - `tuning_seeds`, `result_seeds`: the seeds of the two halves.
    """

    outcome: str
    label: str
    better: str
    ratio: str | None
    budget: int | None
    epsilons: tuple[float, ...]
    variant: str
    tuning_seeds: tuple[int, ...]
    result_seeds: tuple[int, ...]

    @property
    def text(self) -> str:
        """The protocol as lines of text."""
        seeds = lambda some: ", ".join(map(str, some)) or "none"
        budget = "" if self.budget is None else f", budget {self.budget} gradient steps"
        epsilons = ", ".join(f"{e:g}" for e in self.epsilons) or "none recorded"
        return (
            f"Outcome: {self.label} ({self.outcome}), {self.better} is better{budget}.\n"
            f"Signs: {self.variant} weights, epsilon {epsilons}.\n"
            f"Directions and thresholds from seeds {seeds(self.tuning_seeds)}, all else from "
            f"seeds {seeds(self.result_seeds)}."
        )

    @property
    def facts(self) -> dict[str, Any]:
        """The fields, as a file can hold them."""
        return dataclasses.asdict(self)
