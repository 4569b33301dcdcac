"""The result of a comparison of signs."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import pandas as pd

from ._coverage import Coverage
from ._protocol import AppliedProtocol
from .statistics._bootstrap import Estimate


@dataclasses.dataclass(frozen=True)
class RankedSign:
    """What was found about one sign. Numbers are NaN where they could not be had.

    Correlations are with outcomes of which higher is better. They are positive if the sign says
    what its quantity declares; of a sign that declares neither end, if it says what it said in the
    tuning seeds.

    - `name`, `column`, `when`, `trivial`: the sign, and whether it needs no diagnostic.
    - `claimed`: which end promises a better outcome, `"higher"` or `"lower"`; `"neither"` if the
      quantity does not say.
    - `observed`: which end did so in the tuning seeds, within runs; `"neither"` if unknown.
    - `rank`: by `within`: one more than the number of signs that are better, where two are tied
      if the interval of their difference contains 0.
    - `within`, `partial`, `across_algorithms`, `across_seeds`: Kendall's tau-b; `partial` is that
      within runs given task index, loss at the start and previous outcome.
    - `spearman`: Spearman's correlation `within`, `across_algorithms` and `across_seeds`.
    - `p_value`, `holm`: of the test by exchanged seeds, and adjusted over all diagnostics.
    - `lead`: by how many tasks the sign falls before the outcome, over runs in which `both` fall,
      of `falling` in which the outcome does; `false_alarms` of the `steady` runs.
    - `roc`: the area under the ROC curve for reaching 0.8 of a fresh network, by algorithm.
    - `threshold`, `right`: the threshold of the tuning seeds, and the mean rate of right answers.
    - `cost`: in gradient evaluations, as the quantity declares.
    """

    name: str
    column: str
    when: str
    trivial: bool
    claimed: str
    observed: str
    rank: int | None
    within: Estimate
    partial: Estimate
    across_algorithms: Estimate
    across_seeds: Estimate
    spearman: Mapping[str, float]
    p_value: float
    holm: float
    lead: Estimate
    both: int
    falling: int
    false_alarms: int
    steady: int
    roc: Estimate
    threshold: float
    right: float
    cost: float | None

    @property
    def flat(self) -> dict[str, Any]:
        """The numbers as the columns of a table; an interval is `_low` and `_high`."""
        found: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Estimate):
                ends = {"": value.value, "_low": value.low, "_high": value.high}
                found |= {f"{field.name}{end}": number for end, number in ends.items()}
            elif isinstance(value, Mapping):
                found |= {f"{field.name}_{level}": number for level, number in value.items()}
            else:
                found[field.name] = value
        return found


@dataclasses.dataclass(frozen=True)
class PredictorRanking:
    """All signs of some runs, the best first, as `rank_predictors` found them.

    - `protocol`: what was decided before.
    - `signs`: the results.
    - `coverage`: how often each sign was measured in each algorithm, and what is missing.
    - `messages`: what the runs lack for parts of the comparison.
    """

    protocol: AppliedProtocol
    signs: tuple[RankedSign, ...]
    coverage: tuple[Coverage, ...]
    messages: tuple[str, ...]

    def to_dataframe(self) -> pd.DataFrame:
        """A row for each sign."""
        return pd.DataFrame([sign.flat for sign in self.signs])
