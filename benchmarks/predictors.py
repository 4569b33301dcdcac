"""False positives and power of the test of `spectral predictors`, on runs whose truth is known.

    python benchmarks/predictors.py

In each simulation 6 algorithms have 5 seeds and 12 checkpoints. All series have a trend of their
own algorithm, an offset of the seed and autocorrelated noise. One sign is a monotone function of
the outcome, two are the outcome with noise, and eight are series of the same kind that have nothing
to do with the outcome except that they also have trends. Rows with "any" and "power" use p-values
adjusted by Holm. The naive test takes checkpoints as independent: the p-values of SciPy's
`kendalltau` in each run, combined by Stouffer's method.
"""

import argparse

import numpy as np
import scipy.stats
from jaxtyping import Float

from spectral.studies.predictors.statistics._significance import holm, seed_p_value


SHAPE = 6, 5, 12  # algorithms, seeds, checkpoints
NOISE = 8
LEVEL = 0.05


def trending(rng: np.random.Generator) -> Float[np.ndarray, "algorithms seeds checkpoints"]:
    """Trends of algorithms, offsets of seeds, and noise with an autocorrelation of 0.8."""
    algorithms, seeds, checkpoints = SHAPE
    trend = rng.normal(0, 4, (algorithms, 1, 1)) * np.linspace(0, 1, checkpoints)
    shared = rng.normal(0, 2, (algorithms, 1, 1)) + rng.normal(0, 0.5, (algorithms, seeds, 1))
    noise = np.empty(SHAPE)
    noise[..., 0] = rng.normal(size=SHAPE[:2])
    for i in range(1, checkpoints):
        noise[..., i] = 0.8 * noise[..., i - 1] + 0.6 * rng.normal(size=SHAPE[:2])
    # All algorithms fall: outcome and signs share this trend.
    return trend + shared + noise - 3 * np.linspace(0, 1, checkpoints)


def simulated(rng: np.random.Generator) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """An outcome and its signs."""
    outcome = trending(rng)
    signs = {"planted": np.exp(outcome / 2)}
    for noise in (1.0, 3.0):
        signs[f"planted, noise {noise}"] = outcome + rng.normal(0, noise, SHAPE)
    return outcome, signs | {f"noise {i}": trending(rng) for i in range(NOISE)}


def rates(num_simulations: int, *, num: int = 999, seed: int = 0) -> dict[str, float]:
    """The fractions of simulations in which signs are found."""
    rng = np.random.default_rng(seed)
    found: dict[str, list[bool]] = {}
    note = lambda name, value: found.setdefault(name, []).append(bool(value))
    present = np.ones((SHAPE[0], SHAPE[1] - 1), bool)
    for _ in range(num_simulations):
        outcome, signs = simulated(rng)
        # The first seed is for tuning.
        y, signs = outcome[:, 1:], {name: x[:, 1:] for name, x in signs.items()}
        p_values = {n: seed_p_value(x, y, present, num=num, seed=0) for n, x in signs.items()}
        adjusted = holm(p_values)
        noise = [name for name in signs if name.startswith("noise")]
        for name in set(signs) - set(noise):
            note(f"power, {name}", adjusted[name] <= LEVEL)
        note("any noise sign found", any(adjusted[name] <= LEVEL for name in noise))
        alone = holm({name: p_values[name] for name in noise}).values()
        note("any noise sign found, without planted ones", any(p <= LEVEL for p in alone))
        for name in noise:
            note("one noise sign, its own p-value", p_values[name] <= LEVEL)
        note("one noise sign, naive test", _naive(signs["noise 0"], y) <= LEVEL)
    return {name: float(np.mean(values)) for name, values in sorted(found.items())}


def _naive(x: np.ndarray, y: np.ndarray) -> float:
    runs = zip(x.reshape(-1, SHAPE[2]), y.reshape(-1, SHAPE[2]), strict=True)
    one_sided = [
        np.asarray(scipy.stats.kendalltau(a, b, alternative="greater"))[1] for a, b in runs
    ]
    found = scipy.stats.combine_pvalues(np.clip(one_sided, 1e-12, 1 - 1e-12), "stouffer")
    combined = float(np.asarray(found)[1])
    return 2 * min(combined, 1 - combined)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num-simulations", type=int, default=1000)
    given = parser.parse_args()
    print(f"{given.num_simulations} simulations of {SHAPE} algorithms, seeds, checkpoints")
    for name, rate in rates(given.num_simulations).items():
        print(f"{name:43s} {rate:.3f}")
