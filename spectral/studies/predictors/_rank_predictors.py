"""Which sign of lost plasticity comes first."""

import os
from collections.abc import Iterable, Sequence

from ..._arguments import check_count
from ..analysis._recorded import load_recorded
from ..runs._results import Results
from ._compare import compare
from ._panel import Panel
from ._protocol import AppliedProtocol, PredictorProtocol
from ._ranking import PredictorRanking
from ._read import read_panel
from ._signs_of import budget_of, epsilon_of, known_quantities, outcome_of, ratio_of


def rank_predictors(
    folders: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    protocol: PredictorProtocol | None = None,
    num_samples: int = 1999,
) -> PredictorRanking:
    """Compare all recorded signs of lost plasticity as predictors of an outcome.

    Every quantity that the runs have recorded as numbers of a task is a sign, also one of a probe
    of your own. Beside them stand the trivial predictors: the task index, the previous outcome and
    the loss at the start of the task. `docs/predictors.md` has the protocol and the statistics.

    ```python
    ranking = studies.rank_predictors("runs/digits")
    print(studies.predictors_table(ranking))
    ranking.to_dataframe()[["name", "rank", "within", "holm"]]
    ```

    **Arguments:**

    - `folders`: the folder of a run, or several; an algorithm of another folder is another
      algorithm.
    - `protocol`: what was decided before the runs; by default `PredictorProtocol()`.
    - `num_samples`: bootstrap draws of seeds, and random exchanges of each test.

    **Raises:** `SettingsError` if a folder does not hold a run, if no training run has finished, if
    the outcome was not recorded, or if there are fewer seeds than tuning seeds. What the runs lack
    for a part of the comparison is in `messages` of the result, and the rest is still there.
    """
    check_count("num_samples", num_samples)
    given = [folders] if isinstance(folders, str | os.PathLike) else list(folders)
    return rank_results(load_recorded(given), protocol=protocol, num_samples=num_samples)


def rank_results(
    results: Sequence[Results],
    *,
    protocol: PredictorProtocol | None = None,
    num_samples: int = 1999,
) -> PredictorRanking:
    """As `rank_predictors`, for folders that were read."""
    protocol = protocol or PredictorProtocol()
    panel = read_panel(results, protocol)
    tuning, rest = protocol.split(panel.seeds)
    applied = _applied(results, protocol, panel, tuning, rest)
    return compare(panel, applied, num_samples=num_samples)


def _applied(
    results: Sequence[Results],
    protocol: PredictorProtocol,
    panel: Panel,
    tuning: tuple[int, ...],
    rest: tuple[int, ...],
) -> AppliedProtocol:
    quantities = known_quantities(results)
    outcome = outcome_of(quantities, protocol.outcome)
    epsilons = {epsilon_of(results, sign.column) for sign in panel.signs.values() if sign.column}
    return AppliedProtocol(
        outcome,
        quantities[outcome].label,
        str(quantities[outcome].better),
        ratio_of(quantities, outcome),
        budget_of(results, outcome),
        tuple(sorted(e for e in epsilons if e is not None)),
        protocol.variant,
        tuning,
        rest,
    )
