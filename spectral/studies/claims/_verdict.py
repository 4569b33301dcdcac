"""What the runs of a study say about a claim."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np

from ..._history import History
from ..measures._interval import student_half_width
from ._claim import Claim, detectable
from ._effects import AbstractEffect
from ._readings import NotRecorded


MIN_SEEDS = 3  # for any verdict

Outcome = Literal["confirmed", "refuted", "undecided", "not run"]
Runs = Mapping[str, Mapping[int, History]]  # finished runs, by algorithm and seed


class Verdict(NamedTuple):
    """What runs say about one claim.

    - `outcome`: `"confirmed"`, `"refuted"`, `"undecided"`, or `"not run"` if an algorithm of the
      claim has not finished from any seed.
    - `value`, `low`, `high`: the mean of the effect over seeds and its 95 % interval (Student's t);
      NaN if there is none.
    - `seeds`: how many seeds have a number.
    - `detects`: the distance from the limit of the claim at which 80 % of studies with these seeds
      and their standard deviation decide, in the unit of the effect.
    - `reason`: why there is no verdict, or how the seeds differ from the plan; may be empty.
    """

    claim: Claim
    outcome: Outcome
    value: float
    low: float
    high: float
    seeds: int
    detects: float
    reason: str


def judge(claim: Claim, runs: Runs) -> Verdict:
    """The verdict of the finished runs of a study about one of its claims.

    ```python
    claim = next(c for c in studies.paper_claims() if c.name == "permuted_digits.bp_loses")
    studies.judge(claim, {}).outcome  # "not run"
    ```
    """
    needed = claim.effect.algorithms
    common = set.intersection(*(set(runs.get(algorithm, ())) for algorithm in needed))
    if not common:
        absent = ", ".join(a for a in needed if not runs.get(a)) or "a seed of all algorithms"
        return Verdict(claim, "not run", *_NO_NUMBER, f"not finished: {absent}")
    try:
        effects = _by_seed(claim.effect, runs, common)
        value, low, high = _interval(effects)
        told = _condition(claim, runs, common)
    except NotRecorded as error:
        return Verdict(claim, "undecided", *_NO_NUMBER, f"not recorded: {error}")
    known, count = len(effects), len(common)
    spread = float(np.std(effects, ddof=1)) if known > 1 else np.nan
    numbers = value, low, high, known, spread * detectable(known)
    if known < MIN_SEEDS:
        return Verdict(
            claim, "undecided", *numbers, f"{known} of at least {MIN_SEEDS} seeds have a number"
        )
    if 2 * known < count:
        return Verdict(claim, "undecided", *numbers, f"{known} of {count} seeds have a number")
    if told:
        return Verdict(claim, "undecided", *numbers, told)
    inside = claim.says.judge(low, high)
    few = f"{known} of {claim.seeds} seeds" if known < claim.seeds else ""
    if inside is None:
        both = "the interval is on both sides of the limit"
        return Verdict(claim, "undecided", *numbers, f"{both}, {few}" if few else both)
    return Verdict(claim, "confirmed" if inside else "refuted", *numbers, few)


_NO_NUMBER = np.nan, np.nan, np.nan, 0, np.nan


def _by_seed(effect: AbstractEffect, runs: Runs, seeds: set[int]) -> np.ndarray:
    """The effects of the seeds that have a number."""
    histories = [{a: runs[a][seed] for a in effect.algorithms} for seed in sorted(seeds)]
    effects = np.array([effect.of_seed(own) for own in histories])
    return effects[np.isfinite(effects)]


def _interval(effects: np.ndarray) -> tuple[float, float, float]:
    if not len(effects):
        return np.nan, np.nan, np.nan
    mean, half = float(np.mean(effects)), float(student_half_width(effects))
    return mean, mean - half, mean + half


def _condition(claim: Claim, runs: Runs, seeds: set[int]) -> str:
    """Why the condition of the claim is not met; empty if it is or if there is none."""
    if claim.given is None:
        return ""
    effect, says = claim.given.effect, claim.given.says
    common = seeds.intersection(*(set(runs.get(a, ())) for a in effect.algorithms))
    effects = _by_seed(effect, runs, common)
    value, low, high = _interval(effects)
    if len(effects) >= MIN_SEEDS and says.judge(low, high):
        return ""
    number = "not known" if np.isnan(value) else f"{value:.3g}"
    return f"condition not met: {effect.text} is {number}, not {says.text}"
