"""Signs and outcome of several runs as arrays over algorithms, seeds and checkpoints."""

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Int

from ..._base._quantity import Quantity
from ..measures._measure import Moment
from .statistics._values import Values


@dataclasses.dataclass(frozen=True)
class Sign:
    """A sign at all checkpoints, NaN where it was not measured, as it was recorded.

    `column` is empty for a sign that is known without a measurement. `direction` is 1 if higher
    values promise a better outcome, and -1 if lower ones do; `claimed` says whether the quantity
    says so.
    """

    values: Values
    quantity: Quantity
    when: Moment
    column: str = ""
    trivial: bool = False
    claimed: bool = False
    direction: int = 1

    @property
    def oriented(self) -> Values:
        """The values, with a sign such that higher ones promise a better outcome."""
        return self.direction * self.values


@dataclasses.dataclass(frozen=True)
class Panel:
    """All that signs are compared on.

    - `algorithms`, `seeds`, `tasks`: the labels of the three axes.
    - `outcome`: higher is better; NaN where it was not measured.
    - `reached`: 1 where the branch reached 0.8 of a fresh network, 0 where not, NaN if unknown.
    """

    algorithms: tuple[str, ...]
    seeds: tuple[int, ...]
    tasks: Int[np.ndarray, " checkpoints"]
    outcome: Values
    reached: Values
    signs: Mapping[str, Sign]

    @property
    def present(self) -> Bool[np.ndarray, "algorithms seeds"]:
        """The runs that have measured the outcome."""
        return np.any(~np.isnan(self.outcome), axis=2)

    @property
    def controls(self) -> dict[str, Values]:
        """The trivial predictors that are known somewhere, by name."""
        trivial = {name: sign.values for name, sign in self.signs.items() if sign.trivial}
        return {name: values for name, values in trivial.items() if not np.isnan(values).all()}

    @property
    def previous(self) -> Values:
        """The outcome at the checkpoint before; NaN at the first."""
        before = np.full(self.outcome.shape, np.nan)
        before[..., 1:] = self.outcome[..., :-1]
        return before

    def of_seeds(self, chosen: tuple[int, ...]) -> "Panel":
        """The panel of some of the seeds."""
        at = [self.seeds.index(seed) for seed in chosen]
        signs = {
            name: dataclasses.replace(sign, values=sign.values[:, at])
            for name, sign in self.signs.items()
        }
        outcome, reached = self.outcome[:, at], self.reached[:, at]
        return dataclasses.replace(
            self, seeds=chosen, outcome=outcome, reached=reached, signs=signs
        )
