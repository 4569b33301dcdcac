"""How often the intervals of an epsilon-rank cover the true count, and how wide they are.

    python benchmarks/rank_intervals.py [--orders 10 20 40] [--num-vectors 3 10 30]

Each of 200 random spectra has a body, outliers and zeros of random sizes, and a threshold at a
random place among its eigenvalues. The vectors are uniform on the sphere, so the basis does not
matter and the matrices are diagonal. Widths are fractions of the dimension.
"""

import argparse

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats

from spectral.curvature import epsilon_rank, Lanczos, Matrix


SPECTRA, DIM = 200, 150


def random_spectrum(rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Eigenvalues, and a threshold for their magnitude."""
    outliers, zeros = rng.integers(1, 20), rng.integers(0, 75)
    body = rng.normal(size=DIM - outliers - zeros) * 10 ** rng.uniform(-2, 0)
    ends = rng.choice([1, -1], outliers, p=[0.8, 0.2]) * 10 ** rng.uniform(0, 3, outliers)
    eigenvalues = np.concatenate([body, ends, np.zeros(zeros)])
    lower, upper = np.quantile(np.abs(eigenvalues[eigenvalues != 0]), [0.1, 0.95])
    return eigenvalues, float(np.exp(rng.uniform(np.log(lower), np.log(upper))))


@eqx.filter_jit
def ranks(estimator, eigenvalues, epsilons, keys):
    def one(case):
        values, epsilon, key = case
        return epsilon_rank(estimator(Matrix(jnp.diag(values)), key=key), epsilon)

    return jax.lax.map(one, (eigenvalues, epsilons, keys))


def measure(order: int, num_vectors: int) -> tuple[float, ...]:
    """Coverage and median width of value plus or minus t sem, and of the joint interval."""
    rng = np.random.default_rng(0)
    eigenvalues, epsilons = zip(*(random_spectrum(rng) for _ in range(SPECTRA)), strict=True)
    truth = np.sum(np.abs(eigenvalues) > np.asarray(epsilons)[:, None], axis=1)
    keys = jax.random.split(jax.random.key(0), SPECTRA)
    rank = ranks(
        Lanczos(order=order, num_vectors=num_vectors),
        jnp.asarray(np.stack(eigenvalues), jnp.float32),
        jnp.asarray(epsilons, jnp.float32),
        keys,
    )
    rank = jax.tree.map(np.asarray, rank)
    half = scipy.stats.t.ppf(0.975, num_vectors - 1) * rank.sem
    found = []
    for low, high in ((rank.value - half, rank.value + half), (rank.low, rank.high)):
        low, high = np.maximum(low, 0), np.minimum(high, DIM)
        # The counts are sums of weights in float32.
        covered = (low <= truth + 1e-3) & (truth - 1e-3 <= high)
        found += [np.mean(covered), np.median(high - low) / DIM]
    return tuple(found)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, nargs="+", default=[10, 20, 40])
    parser.add_argument("--num-vectors", type=int, nargs="+", default=[3, 10, 30])
    options = parser.parse_args()
    print("| order | vectors | value +- t sem: covers | width | low to high: covers | width |")
    print("|---|---|---|---|---|---|")
    for order in options.orders:
        for num_vectors in options.num_vectors:
            covers, width, joint, joint_width = measure(order, num_vectors)
            print(
                f"| {order} | {num_vectors} | {covers:.0%} | {width:.2f} | {joint:.0%} | "
                f"{joint_width:.2f} |",
                flush=True,
            )
