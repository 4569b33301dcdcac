"""Does `collapse_test` keep its promises? False alarms, power and coverage by simulation.

    python benchmarks/collapse.py [--series 2000]

A series is exp(s x noise) at 30 tasks, with normal noise of mean 0 and deviation 1 and s = 0.5
unless the row says otherwise, times 0.5 from task 15 on in the rows of a halving. Rows:

- found: the fraction of series in which `collapse_test` finds a drop at the rejection level 0.05.
- covered: the fraction of intervals that contain the true task, and their median width.
- `collapse_task`: the fraction of series that it flags, and how many of these in the last three
  tasks.

The second table has lead times: the fraction of intervals of `lead_time` that contain the true
mean, for normal and for exponential lead times.
"""

import argparse
from collections.abc import Callable

import numpy as np

from spectral.studies import collapse_task, collapse_test, lead_time


TASKS, DROP = 30, 15
Noise = Callable[[np.random.Generator], np.ndarray]


def normal(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=TASKS)


def heavy(rng: np.random.Generator) -> np.ndarray:
    """Student's t with 3 degrees of freedom, scaled to unit variance."""
    return rng.standard_t(3, size=TASKS) / np.sqrt(3)


def autocorrelated(coefficient: float) -> Noise:
    """A stationary autoregressive process of order one with unit variance."""

    def draw(rng: np.random.Generator) -> np.ndarray:
        shocks = rng.normal(size=TASKS) * np.sqrt(1 - coefficient**2)
        values = [rng.normal()]
        for shock in shocks[1:]:
            values.append(coefficient * values[-1] + shock)
        return np.array(values)

    return draw


ROWS = {  # the noise, its size, and the level after the drop
    "no drop": (normal, 0.5, 1.0),
    "no drop, heavy tails": (heavy, 0.5, 1.0),
    "no drop, correlation 0.3": (autocorrelated(0.3), 0.5, 1.0),
    "no drop, correlation 0.5": (autocorrelated(0.5), 0.5, 1.0),
    "halving": (normal, 0.5, 0.5),
    "halving, s = 0.25": (normal, 0.25, 0.5),
    "halving, s = 1": (normal, 1.0, 0.5),
    "halving, heavy tails": (heavy, 0.5, 0.5),
    "to a fifth": (normal, 0.5, 0.2),
}


def tested(noise: Noise, size: float, level: float, num_series: int) -> str:
    rng = np.random.default_rng(0)
    shape = np.where(np.arange(TASKS) < DROP, 1.0, level)
    results, flagged = [], []
    for _ in range(num_series):
        series = np.exp(size * noise(rng)) * shape
        results.append(collapse_test(series))
        flagged.append(collapse_task(series))
    found = np.mean([r.found for r in results])
    covered = np.mean([r.low <= DROP <= r.high for r in results])
    width = np.median([r.high - r.low for r in results])
    coverage = f"{covered:7.1%} {width:5.0f}" if level < 1 else f"{'-':>7} {'-':>5}"
    known = np.array(flagged)[np.isfinite(flagged)]
    late = np.mean(known >= TASKS - 3) if len(known) else np.nan
    return f"{found:7.1%} {coverage} {len(known) / num_series:9.1%} {late:6.0%}"


def leads(draw: Callable[[np.random.Generator, int], np.ndarray], seeds: int, repeats: int) -> str:
    """`draw` gives lead times of mean 10."""
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(repeats):
        found = lead_time(np.full(seeds, 20.0), 20 + draw(rng, seeds), num_samples=1999)
        hits += found.low <= 10 <= found.high
    return f"{hits / repeats:7.1%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=2000, help="simulated series of each row")
    number = parser.parse_args().series
    print(f"{'':26}   found covered width | task flags   late")
    for name, (noise, size, level) in ROWS.items():
        print(f"{name:26} {tested(noise, size, level, number)}", flush=True)
    print(f"\n{'seeds':26}  normal  exponential")
    bell = lambda rng, seeds: 10 + 5 * rng.normal(size=seeds)
    skewed = lambda rng, seeds: 10 * rng.exponential(size=seeds)
    for seeds in (3, 5, 10, 30):
        print(f"{seeds:<26} {leads(bell, seeds, number)} {leads(skewed, seeds, number)}")


if __name__ == "__main__":
    main()
