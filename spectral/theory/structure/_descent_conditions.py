"""When gradient descent on a linearised network reaches a loss: squared error."""

import equinox as eqx
import jax
import numpy as np
from jaxtyping import ArrayLike, Bool, Float, Real

from ..._arguments import check_above
from ..forecast._budget import budget_epsilon


class DescentConditions(eqx.Module):
    """What `steps` steps reach from one residual, see `descent_conditions`.

    - `loss`: the loss at the end, exactly.
    - `epsilon`, `upper`: the eigenvalues between which a residual shrinks by `shrinkage` or more.
    - `possible`: the necessary condition at this epsilon.
    - `certain`: the sufficient condition at this epsilon.
    - `reached`: loss <= target, the necessary and sufficient condition.
    """

    loss: Float[np.ndarray, ""]
    epsilon: Float[np.ndarray, ""]
    upper: Float[np.ndarray, ""]
    possible: Bool[np.ndarray, ""]
    certain: Bool[np.ndarray, ""]
    reached: Bool[np.ndarray, ""]


class RankConditions(eqx.Module):
    """What `steps` steps reach from all residuals of one size, see `rank_conditions`.

    - `every`: whether every residual reaches the target.
    - `some`: whether some residual does.
    - `expected_loss`: the mean loss at the end over residuals in random directions, exactly.
    - `normalised_rank`: the fraction of eigenvalues whose directions shrink by `shrinkage` or more.
    - `needed`: a smaller fraction cannot give an expected loss of at most the target.
    - `enough`: this fraction gives it, if lr times the largest eigenvalue is at most 2.
    """

    every: Bool[np.ndarray, ""]
    some: Bool[np.ndarray, ""]
    expected_loss: Float[np.ndarray, ""]
    normalised_rank: Float[np.ndarray, ""]
    needed: Float[np.ndarray, ""]
    enough: Float[np.ndarray, ""]


def descent_conditions(
    eigenvalues: Real[ArrayLike, " rows"],
    energies: Real[ArrayLike, " energies"],
    *,
    lr: float,
    steps: int,
    target: float,
    shrinkage: float = 0.5,
) -> DescentConditions:
    """Returns whether gradient descent on a linearised network reaches a loss within a budget, for
    half the squared error.

    With the kernel K = J J^T / N, its eigenvalues lambda_i and the energies e_i of the residual in
    its eigenvectors, the loss after S steps is (1/2) sum_i (1 - lr lambda_i)^(2S) e_i. For a
    shrinkage rho let E_in be the energy of the directions with eigenvalues from
    eps = (1 - rho^(1/S)) / lr to (1 + rho^(1/S)) / lr, and E_out the energy of the others. Then

    - `possible`, necessary: rho^2 E_out / 2 <= target;
    - `certain`, sufficient: (rho^2 E_in + E_out) / 2 <= target, if lr lambda_max <= 2;
    - `reached`, necessary and sufficient: the integral over rho from 0 to 1 of rho E_out(rho) is at
        most the target, if lr lambda_max <= 2. This integral is the loss.

    `docs/theory.md` has the proofs. So no eps-rank at a single epsilon decides. The energies at all
    epsilons do.

    ```python
    import numpy as np
    from spectral.theory import descent_conditions

    values, energies = np.array([0.0, 1.0]), np.array([0.02, 1.98])
    found = descent_conditions(values, energies, lr=0.5, steps=10, target=0.1)
    found.loss, found.certain  # 0.01, False: at a shrinkage of 0.1 it is certain
    ```

    **Arguments:**

    - `eigenvalues`, `energies`: as `ResidualSpectrum` has them, in any common order.
    - `lr`, `steps`: the budget.
    - `target`: the loss that counts as success.
    - `shrinkage`: rho, which sets epsilon as in `budget_epsilon`.

    **Raises:** `ValueError` as `budget_epsilon`, if another number is negative or not finite, or if
    the sizes differ.
    """
    check_above("energies", energies, 0, strict=False)
    check_above("target", target, 0, strict=False)
    values, energy = _eigenvalues(eigenvalues), np.asarray(energies, np.float64)
    if values.shape != energy.shape:
        raise ValueError(
            f"`eigenvalues` has the shape {values.shape} and `energies` {energy.shape}, but each "
            "eigenvalue needs its own energy: pass both from one `residual_spectrum`."
        )
    epsilon, upper = _range(lr, steps, shrinkage)
    factors = _factors(values, lr, steps)
    out = (values < epsilon) | (values > upper)
    outside, inside = np.sum(energy[out]), np.sum(energy[~out])
    most = max(1.0, float(np.max(factors)))
    loss = np.asarray(np.sum(factors * energy) / 2)
    return DescentConditions(
        loss=loss,
        epsilon=np.asarray(epsilon),
        upper=np.asarray(upper),
        possible=np.asarray(shrinkage**2 * outside / 2 <= target),
        certain=np.asarray((shrinkage**2 * inside + most * outside) / 2 <= target),
        reached=np.asarray(loss <= target),
    )


def rank_conditions(
    eigenvalues: Real[ArrayLike, " rows"],
    *,
    lr: float,
    steps: int,
    initial_loss: float,
    target: float,
    shrinkage: float = 0.5,
) -> RankConditions:
    """Returns what an eps-rank of the kernel says of a budget, for half the squared error and
    residuals that are known by their loss alone.

    Let r(rho) be the fraction of eigenvalues from eps = (1 - rho^(1/S)) / lr to
    (1 + rho^(1/S)) / lr, and rho* the root of target / initial_loss.

    - Every residual of that loss reaches the target if and only if r(rho*) = 1.
    - Some residual does if and only if r(rho*) > 0.
    - If the residual points in a random direction (for example, one of new targets), its expected
        loss is initial_loss times the mean of (1 - lr lambda)^(2S). For every rho, a loss of at
        most the target needs r(rho) >= 1 - target / (rho^2 initial_loss), and
        r(rho) >= (1 - target / initial_loss) / (1 - rho^2) is enough, if lr lambda_max <= 2.

    So an eps-rank decides for the worst, for the best and, up to the factor rho, for a random task.
    `docs/theory.md` has the proofs.

    ```python
    import numpy as np
    from spectral.theory import rank_conditions

    options = {"lr": 0.5, "steps": 10, "initial_loss": 1.0}
    found = rank_conditions(np.array([0.0, 1.0, 1.0]), target=0.4, **options)
    found.every, found.some, found.expected_loss  # False, True, 0.333
    found.normalised_rank, found.needed, found.enough  # 0.667, -0.6, 0.8
    ```

    **Arguments:**

    - `eigenvalues`: those of the kernel J J^T / N, one for each example and output, with zeros.
    - `lr`, `steps`: the budget.
    - `initial_loss`, `target`: the loss before the first step, and the loss that counts as success,
        below it.
    - `shrinkage`: rho of `normalised_rank`, `needed` and `enough`.

    **Raises:** `ValueError` as `budget_epsilon`, if `target` is not positive or not below
    `initial_loss`, or if an eigenvalue is negative or not finite.
    """
    check_above("target", target, 0)
    check_above("initial_loss", initial_loss, 0)
    values = _eigenvalues(eigenvalues)
    if target >= initial_loss:
        raise ValueError(
            f"`target` is {target}, but must be below the `initial_loss` of {initial_loss}: a "
            "target that is met initially needs no steps."
        )
    fraction = target / initial_loss
    inside = lambda low, high: (values >= low) & (values <= high)
    exact = inside(*_range(lr, steps, fraction**0.5))
    square = shrinkage**2
    return RankConditions(
        every=np.asarray(np.all(exact)),
        some=np.asarray(np.any(exact)),
        expected_loss=np.asarray(initial_loss * np.mean(_factors(values, lr, steps))),
        normalised_rank=np.asarray(np.mean(inside(*_range(lr, steps, shrinkage)))),
        needed=np.asarray(1 - fraction / square),
        enough=np.asarray((1 - fraction) / (1 - square)),
    )


def _eigenvalues(eigenvalues: Real[ArrayLike, " rows"]) -> np.ndarray:
    check_above("eigenvalues", eigenvalues, 0, strict=False)
    values = np.asarray(eigenvalues, np.float64)
    if values.size == 0:
        raise ValueError("`eigenvalues` is empty, but a kernel has at least one: pass all of them.")
    return values


def _range(lr: float, steps: int, shrinkage: float) -> tuple[float, float]:
    """`budget_epsilon` in float64, whose rounding does not decide."""
    with jax.enable_x64(True):
        low, high = budget_epsilon(lr, steps, shrinkage=shrinkage)
        return float(low), float(high)


def _factors(values: np.ndarray, lr: float, steps: int) -> np.ndarray:
    with np.errstate(over="ignore"):
        return (1 - lr * values) ** (2 * steps)
