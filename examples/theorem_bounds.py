"""Every statement of the paper on random cases: does it hold, and if not, what does?

    python examples/theorem_bounds.py [--small]

The first table gives the number of random cases for each statement and the number of violations.
Cases that do not meet the hypothesis are not counted. The other tables give the frequency with
which probabilistic bounds cover the truth, with Clopper-Pearson intervals at 95 %. The script takes
about a minute. The tests check these statements on networks that hypothesis draws and shrinks to a
smallest counterexample. `docs/theory.md` has all results.
"""

import argparse
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from spectral import theory
from spectral.curvature import epsilon_rank, GaussNewton, GramEigh, Risk, SquaredError
from spectral.models import dead, dormant, feature_effective_rank, MLP


SIZES = (3, 6, 2)
EXAMPLES = 8
TEMPLATE = MLP(3, 2, width=6, depth=1, key=jax.random.key(0))
Case = Callable[[np.random.Generator], bool | None]  # None: the hypothesis is not met


def network(rng: np.random.Generator) -> MLP:
    """Random weights, and biases that leave about a third of the units dead."""
    draw = lambda p: jnp.asarray(rng.normal(size=p.shape)) if eqx.is_array(p) else p
    model = jax.tree.map(draw, TEMPLATE)
    bias = rng.normal(size=6) - 5 * (rng.random(6) < 0.4)
    return eqx.tree_at(lambda m: m.layers[0].bias, model, jnp.asarray(bias))


def batch(rng: np.random.Generator) -> jax.Array:
    return jnp.asarray(rng.normal(size=(EXAMPLES, 3)))


def outputs_of(model: MLP, inputs: jax.Array) -> jax.Array:
    return jax.vmap(model)(inputs)[0]


@eqx.filter_jit
def features_of(model: MLP, inputs: jax.Array) -> jax.Array:
    return jax.vmap(model)(inputs)[1]["hidden_0"]


@eqx.filter_jit
def derivatives(model: MLP, inputs: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Outputs, and their Jacobian and second derivatives in the parameters."""
    params, static = eqx.partition(model, eqx.is_array)
    flat, unravel = ravel_pytree(params)
    outputs = lambda p: outputs_of(eqx.combine(unravel(p), static), inputs)
    return outputs(flat), jax.jacrev(outputs)(flat), jax.hessian(outputs)(flat)


def matrices(model: MLP, inputs: jax.Array, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The Gauss-Newton matrix and the residual of half the squared error."""
    outputs, jacobian, hessians = (np.asarray(x) for x in derivatives(model, inputs))
    ggn = np.einsum("nop,noq->pq", jacobian, jacobian) / EXAMPLES
    return ggn, np.einsum("no,nopq->pq", outputs - targets, hessians) / EXAMPLES


def used_rows(rng: np.random.Generator, silent: Callable) -> tuple[int, int]:
    """The nonzero rows of a Hessian, and the bound of Theorem 6.2 for the marked units."""
    model, inputs = network(rng), batch(rng)
    ggn, residual = matrices(model, inputs, rng.normal(size=(EXAMPLES, 2)))
    units = int(silent(features_of(model, inputs)).sum())
    return int((ggn + residual).any(axis=1).sum()), theory.dense_rank_bound(SIZES, (units,))


def theorem_6_2(rng: np.random.Generator) -> bool:
    used, bound = used_rows(rng, dead)
    return used <= bound


def theorem_6_2_dormant(rng: np.random.Generator) -> bool:
    used, bound = used_rows(rng, lambda features: dormant(features, threshold=0.2))
    return used <= bound


def lemma_6_3(rng: np.random.Generator) -> bool | None:
    model, old = network(rng), batch(rng)
    new = old + rng.exponential() * batch(rng) / 4
    radii = theory.persistence_radii(model, old)["hidden_0"]
    survivors = theory.remains_dead(radii, theory.directed_hausdorff(new, old))
    if not survivors.any():
        return None
    return bool(dead(features_of(model, new))[survivors].all())


def theorem_6_5(form: Callable) -> Case:
    """Compares with the exact probability for indicators that all compare one uniform number."""

    def case(rng: np.random.Generator) -> bool | None:
        p, most = rng.random(6), int(rng.integers(0, 7))
        # At most m of the sets [0, p_j] contain the number if it is above the (m+1)-th largest p_j.
        truth = 1 - np.sort(np.append(p, np.zeros(3)))[::-1][most]
        try:
            return bool(truth <= form(p, most, num_units=8) + 1e-12)
        except ValueError:
            return None

    return case


def theorem_b_3(printed: bool) -> Case:
    def case(rng: np.random.Generator) -> bool:
        model, old = network(rng), batch(rng)
        # The old task is nearly learnt, and the inputs of the new task are nearly those of the old.
        new = old + 1e-3 * batch(rng)
        before = np.asarray(outputs_of(model, old)) + 1e-3 * rng.normal(size=(EXAMPLES, 2))
        after = rng.permutation(before)
        _, residual = matrices(model, new, after)
        gradient = np.linalg.norm(np.asarray(outputs_of(model, old)) - before, axis=1).max()
        gamma = theory.two_layer_curvature(float(np.linalg.norm(new, axis=1).max()))
        stands_for = np.linalg.norm(new[:, None] - old[None], axis=2).argmin(axis=1)
        change = np.linalg.norm(after - before[stands_for], axis=1).max()
        bound = theory.residual_bound(
            2,
            gamma,
            gradient,
            shift=theory.directed_hausdorff(new, old),
            network_lipschitz=float(np.prod([np.linalg.norm(w.weight, 2) for w in model.layers])),
            gradient_lipschitz=1.0,
            label_change=0.0 if printed else float(change),
        )
        return bool(np.linalg.norm(residual, 2) <= bound * (1 + 1e-9))

    return case


def corollary_b_4(form: str) -> Case:
    def case(rng: np.random.Generator) -> bool | None:
        ggn, residual = matrices(network(rng), batch(rng), rng.normal(size=(EXAMPLES, 2)))
        norm, rounding = np.linalg.norm(residual, 2), 1e-10 * np.linalg.norm(ggn, 2)
        g, r, h = (np.linalg.eigvalsh(m)[::-1] for m in (ggn, residual, ggn + residual))
        if form == "index by index":
            return bool((h >= theory.eigenvalue_floor(g, norm) - rounding).all())
        if form in ("(35)", "both spectra"):
            low, high = (theory.as_printed.weyl if form == "(35)" else theory.weyl)(g, r)
            return bool(((low - rounding <= h) & (h <= high + rounding)).all())
        # The residual is small compared with the smallest positive eigenvalue.
        positive = np.where(g > rounding, g, 0)
        if not positive.any():
            return None
        small = 0.01 * positive[positive > 0].min() / max(norm, 1e-300)
        smallest = theory.as_printed.smallest_positive_floor(positive, small * norm)
        h = np.linalg.eigvalsh(ggn + small * residual)
        return bool(h[h > rounding].min() >= smallest)

    return case


def equation_6(form: Callable) -> Case:
    """For gradients that are uncorrelated with the inputs."""

    def case(rng: np.random.Generator) -> bool:
        x, g = rng.normal(size=(2, 10, 3))
        q, _ = np.linalg.qr(np.concatenate([np.ones((10, 1)), x], axis=1))
        inputs, gradients = jnp.asarray(x), jnp.asarray(g - q @ (q.T @ g))
        error = theory.factorisation_error(inputs, gradients)
        return bool(jnp.allclose(form(inputs, gradients), error, atol=1e-9))

    return case


def section_7(sufficient: bool) -> Case:
    """Compares sum_l rank A_l rank B_l with the rank of the Gauss-Newton matrix."""

    def case(rng: np.random.Generator) -> bool:
        risk, model = (
            Risk(outputs_of, SquaredError(), batch(rng)[:3], jnp.zeros((3, 2))),
            network(rng),
        )
        spectrum = GramEigh()(GaussNewton(risk, model), key=jax.random.key(0))
        rank = round(float(epsilon_rank(spectrum, 1e-12, relative=True).value))
        bound = theory.kronecker_rank_bound(risk, model)
        return rank >= bound if sufficient else rank <= bound

    return case


def equivalence(rng: np.random.Generator) -> bool:
    risk = Risk(outputs_of, SquaredError(), batch(rng), jnp.zeros((EXAMPLES, 2)))
    return bool(theory.equivalence_gap(risk, network(rng)) < 1e-10)


def effective_ranks(rng: np.random.Generator) -> bool:
    features = features_of(network(rng), batch(rng))
    return bool(
        theory.covariance_effective_rank(features) <= feature_effective_rank(features) + 1e-9
    )


STATEMENTS: list[tuple[str, Case, int, str]] = [
    ("Theorem 6.2", theorem_6_2, 10, ""),
    ("  for dormant units", theorem_6_2_dormant, 10, "a unit that is active on one of many inputs"),
    ("Lemma 6.3, directed distance", lemma_6_3, 10, ""),
    (
        "Theorem 6.5 as printed",
        theorem_6_5(theory.as_printed.trainability_bound),
        10,
        "5 of 10 units are dead, 8 may be: trainable, but the bound is 0",
    ),
    (
        "  m, Cantelli, independence",
        theorem_6_5(theory.cantelli_independent),
        10,
        "two equal units, p = 1/2, m = 0: truth 1/2, bound 1/3",
    ),
    ("  m, Cantelli, true variance", theorem_6_5(theory.cantelli_comonotone), 10, ""),
    ("  comonotone, exact", theorem_6_5(theory.trainability_bound), 10, ""),
    (
        "Theorem B.3 as printed",
        theorem_b_3(True),
        5,
        "a fitted input gets another label: ||R|| > 0, bound 0",
    ),
    ("  with the change of labels", theorem_b_3(False), 5, ""),
    (
        "Corollary B.4, (35) as printed",
        corollary_b_4("(35)"),
        5,
        "a misprint: for R = 0 it says G = 0",
    ),
    (
        "  (38) as printed",
        corollary_b_4("(38)"),
        5,
        "one ReLU, target 1.01: 0.01 >= 1.99",
    ),
    ("  index by index", corollary_b_4("index by index"), 5, ""),
    ("  from both spectra", corollary_b_4("both spectra"), 5, ""),
    (
        "Equation (6) as printed",
        equation_6(theory.as_printed.cumulant_error),
        5,
        "x = 2, g = +-1 and x = 0, g = 0: the error is 1, not 0",
    ),
    ("  with the right signs", equation_6(theory.cumulant_error), 5, ""),
    ("Section 7: rank G >= sum of products", section_7(True), 1, "fewer examples than products"),
    ("  rank G <= sum of products", section_7(False), 1, ""),
    ("Spectra of Gauss-Newton and Gram matrix", equivalence, 1, ""),
    ("Effective rank: covariance <= features", effective_ranks, 5, ""),
]


def ball(rng: np.random.Generator, points: int, dim: int) -> np.ndarray:
    directions = rng.normal(size=(points, dim))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return directions * rng.random((points, 1)) ** (1 / dim)


def fraction(good: int, draws: int) -> str:
    p = theory.proportion(good, draws)
    return f"{p.value:.3f} [{p.lower:.3f}, {p.upper:.3f}]"


def lemma_b_1(rng: np.random.Generator, points: int, draws: int) -> None:
    delta = 0.1
    forms = (
        theory.as_printed.hausdorff_bound,
        theory.hausdorff_bound,
        theory.hausdorff_union_quantile,
    )
    print(
        f"\nLemma B.1: bound, and fraction of {draws} draws covered (claim: {1 - delta:.1f}), "
        f"N = {points}"
    )
    titles = "".join(f"{title:>28s}" for title in ("as printed", "corrected", "union, exact"))
    print(f"{'dimension':>10s}{titles}{'distance':>10s}")
    for dim in (1, 2, 5, 10, 50, 784):
        sets = ((ball(rng, points, dim), ball(rng, points, dim)) for _ in range(draws))
        found = np.array([theory.hausdorff(*pair) for pair in sets])
        bounds = [form(points, dim, delta) for form in forms]
        cells = [f"{b:.3f} {fraction(int(np.sum(found <= b)), draws)}" for b in bounds]
        print(f"{dim:10d}{''.join(f'{cell:>28s}' for cell in cells)}{found.mean():10.3f}")


def theorem_6_5_coverage(rng: np.random.Generator, worlds: int, shifts: int) -> None:
    """Draws inputs of a first task, radii and m. Simulates the inputs of the next task."""
    forms = {
        "as printed": theory.as_printed.trainability_bound,
        "Cantelli, independence": theory.cantelli_independent,
        "Cantelli, true variance": theory.cantelli_comonotone,
        "comonotone, exact": theory.trainability_bound,
    }
    covered, applied = dict.fromkeys(forms, 0), dict.fromkeys(forms, 0)
    slack: dict[str, list[float]] = {name: [] for name in forms}
    for _ in range(worlds):
        old = ball(rng, 30, 2)
        new = [ball(rng, 20, 2) for _ in range(shifts)]
        distances = np.array([theory.directed_hausdorff(x, old) for x in new])
        radii = rng.choice(distances, 6) * rng.uniform(0.7, 1.3, 6)
        most = int(rng.integers(0, 6))
        count = np.sum(radii[None] >= distances[:, None], axis=1)
        truth = theory.proportion(int(np.sum(count <= most)), shifts, confidence=0.999)
        p = theory.HausdorffTail(old, ball(rng, 20_000, 2), num_examples=20).at_most(radii).value
        for name, form in forms.items():
            try:
                bound = form(p, most, num_units=8)
            except ValueError:
                continue
            applied[name] += 1
            covered[name] += bool(bound >= truth.lower)
            slack[name].append(bound - float(truth.value))
    print(
        f"\nTheorem 6.5: fraction of {worlds} random first tasks with a bound that covers the truth"
    )
    for name in forms:
        if not applied[name]:
            print(f"  {name:26s}{'hypothesis never met':>24s}")
            continue
        cell, mean = fraction(covered[name], applied[name]), np.mean(slack[name])
        print(f"  {name:26s}{cell:>24s} of {applied[name]:4d}, mean slack {mean:+.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Checks every statement of the paper on random cases."
    )
    parser.add_argument("--small", action="store_true", help="few cases, as a test")
    few = 1 if parser.parse_args().small else 30
    with jax.enable_x64(True):  # so that rounding violates no bound
        tables(np.random.default_rng(0), few)


def tables(rng: np.random.Generator, few: int) -> None:
    print(f"{'statement':40s}{'cases':>6s}{'violated':>9s}  status")
    for name, case, weight, example in STATEMENTS:
        results = [case(rng) for _ in range(few * weight)]
        cases = sum(r is not None for r in results)
        violated = sum(r is False for r in results)
        status = f"fails: {example}" if violated else f"holds on {cases} cases"
        print(f"{name:40s}{cases:6d}{violated:9d}  {status}", flush=True)
    lemma_b_1(rng, 10 * few, 7 * few)
    theorem_6_5_coverage(rng, 5 * few, 10 * few)


if __name__ == "__main__":
    main()
