"""All statistics of all signs of a panel."""

import dataclasses

import numpy as np

from ..measures._interval import MIN_BAND_SEEDS
from ._coverage import coverage, objections
from ._panel import Panel, Sign
from ._protocol import AppliedProtocol
from ._ranking import PredictorRanking, RankedSign
from .statistics._bootstrap import estimate, seed_draws
from .statistics._levels import across_algorithms, across_seeds, given_trivial, within_runs
from .statistics._order import ranks
from .statistics._reaching import best_threshold, right_answers, roc_area
from .statistics._significance import holm, seed_p_value
from .statistics._warnings import falls, warnings_of


_SEED = 0  # of draws and exchanges


def compare(panel: Panel, protocol: AppliedProtocol, *, num_samples: int) -> PredictorRanking:
    """Compare the signs of a panel: directions and thresholds from the tuning seeds, the rest from
    the others. Intervals need five seeds in all."""
    tuning, results = (
        panel.of_seeds(seeds) for seeds in (protocol.tuning_seeds, protocol.result_seeds)
    )
    counts = panel.present.sum(axis=1)
    fewest = counts[counts > 0].min(initial=len(panel.seeds))
    num_draws = num_samples if fewest >= MIN_BAND_SEEDS else 0
    weights = seed_draws(results.present, num_samples=num_draws, seed=_SEED)
    fallen = falls(results.outcome, results.tasks)
    observed = {name: _observed(tuning, sign) for name, sign in tuning.signs.items()}
    oriented = {
        name: sign if sign.claimed else dataclasses.replace(sign, direction=observed[name] or 1)
        for name, sign in results.signs.items()
    }
    measured = {
        name: within_runs(sign.oriented, results.outcome, weights)
        for name, sign in oriented.items()
    }
    rank = ranks({name: drawn for name, (drawn, _) in measured.items()}, results.present)
    p_values = {
        name: seed_p_value(
            sign.values, results.outcome, results.present, num=num_samples, seed=_SEED
        )
        for name, sign in oriented.items()
    }
    diagnostics = {name: p for name, p in p_values.items() if not oriented[name].trivial}
    adjusted = holm(diagnostics)
    found = []
    for name, sign in oriented.items():
        x, y, present = sign.oriented, results.outcome, results.present
        # A trivial predictor is judged given the others.
        controls = [values for other, values in results.controls.items() if other != name]
        algorithms, algorithms_rho = across_algorithms(x, y, weights)
        seeds, seeds_rho = across_seeds(x, y, weights)
        warned = warnings_of(falls(x, results.tasks), fallen, weights)
        x_tuning = sign.direction * tuning.signs[name].values
        threshold = best_threshold(x_tuning, tuning.reached)
        found.append(
            RankedSign(
                name=name,
                column=sign.column,
                when=sign.when,
                trivial=sign.trivial,
                claimed=_end(sign.direction if sign.claimed else 0),
                observed=_end(observed[name]),
                rank=rank[name],
                within=estimate(measured[name][0], present),
                partial=estimate(given_trivial(x, y, controls, weights), present),
                across_algorithms=estimate(algorithms, present),
                across_seeds=estimate(seeds, present),
                spearman={
                    "within": measured[name][1],
                    "across_algorithms": algorithms_rho,
                    "across_seeds": seeds_rho,
                },
                p_value=p_values[name],
                holm=adjusted.get(name, np.nan),
                lead=estimate(warned.lead, present),
                both=warned.both,
                falling=warned.falling,
                false_alarms=warned.false_alarms,
                steady=warned.steady,
                roc=estimate(roc_area(x, results.reached, weights), present),
                threshold=sign.direction * threshold,
                right=right_answers(x, results.reached, threshold),
                cost=sign.quantity.cost,
            )
        )
    # Signs without a number come last.
    found.sort(key=lambda own: (own.rank is None, -np.nan_to_num(own.within.value)))
    seeds = protocol.tuning_seeds, protocol.result_seeds
    messages = [*objections(panel, *seeds)]
    if not num_draws:
        messages.append(
            f"An algorithm has {fewest} seeds, but intervals need at least {MIN_BAND_SEEDS}, so "
            "numbers stand without them and no signs are tied: train more seeds."
        )
    return PredictorRanking(protocol, tuple(found), tuple(coverage(panel)), tuple(messages))


def _observed(tuning: Panel, sign: Sign) -> int:
    """The direction within runs of the tuning seeds: 1, -1, or 0 if it is unknown."""
    once = seed_draws(tuning.present, num_samples=0, seed=_SEED)
    tau = within_runs(sign.values, tuning.outcome, once)[0][0]
    return int(np.sign(np.nan_to_num(tau)))


def _end(direction: int) -> str:
    return {1: "higher", -1: "lower", 0: "neither"}[direction]
