"""When gradient descent on a linearised network reaches a loss: bounds for cross-entropy."""

import equinox as eqx
import numpy as np
import scipy.optimize
import scipy.special
from jaxtyping import ArrayLike, Bool, Float, Int, PyTree

from ..._arguments import check_above
from ..._blas import single_threaded_blas
from ...curvature import Risk, SoftmaxCrossEntropy
from .._base._hypotheses import output_shape
from ..forecast._budget import check_budget
from ..forecast._linearisation import linearised


Matrix = Float[ArrayLike, "examples classes"]
Kernel = Float[ArrayLike, "rows rows"]
# How much longer the budgets are whose best networks give the candidates for the floor.
_LONGER = (1, 10, 100, 1000)


class CrossEntropyConditions(eqx.Module):
    """What `steps` steps reach, see `cross_entropy_conditions`.

    - `floor`, `ceiling`: the loss at the end lies between these.
    - `epsilon`, `directions`: the threshold, and how many eigenvalues of the kernel exceed it.
    - `possible`: floor <= target, a necessary condition.
    - `certain`: ceiling <= target, a sufficient condition.
    """

    floor: Float[np.ndarray, ""]
    ceiling: Float[np.ndarray, ""]
    epsilon: Float[np.ndarray, ""]
    directions: Int[np.ndarray, ""]
    possible: Bool[np.ndarray, ""]
    certain: Bool[np.ndarray, ""]


def cross_entropy_floor(
    kernel: Kernel,
    outputs: Matrix,
    labels: Int[ArrayLike, " examples"],
    probabilities: Matrix,
    *,
    lr: float,
    steps: int,
) -> float:
    """Returns a lower bound on the mean softmax cross-entropy after `steps` steps of gradient
    descent on a linearised network, for any learning rate.

    For any probabilities q of the classes of each example, with the labels y as one-hot rows, the
    logits z before the first step, the kernel K = J J^T / N and the entropy H, the loss is at least

    (1/N) sum_n [H(q_n) + <q_n - y_n, z_n>] - lr S sqrt(2/N) ||K (q - y)||.

    If q - y lies in directions with eigenvalues of at most eps, the last term is at most
    2 lr S eps. So what labels of entropy H differ from the true ones in slow directions alone, the
    steps cannot learn. `docs/theory.md` has the proof.

    ```python
    import numpy as np
    from spectral.theory import cross_entropy_floor

    labels, guess, logits = np.array([0, 1]), np.full((2, 2), 0.5), np.zeros((2, 2))
    cross_entropy_floor(0.1 * np.eye(4), logits, labels, guess, lr=1.0, steps=2)  # 0.493
    ```

    **Arguments:** `kernel` has a row for each example and class, examples first.

    **Raises:** `ValueError` as `budget_epsilon`.
    """
    check_budget(lr, steps, 0.5, 0.0)
    k, z, q = (np.asarray(x, np.float64) for x in (kernel, outputs, probabilities))
    gap = q - np.eye(z.shape[1])[np.asarray(labels)]
    reachable = lr * steps * np.sqrt(2 / len(z)) * np.linalg.norm(k @ gap.reshape(-1))
    value = (np.sum(gap * z) + np.sum(scipy.special.entr(q))) / len(z)
    return max(0.0, float(value - reachable))


def cross_entropy_ceiling(
    kernel: Kernel,
    outputs: Matrix,
    labels: Int[ArrayLike, " examples"],
    move: Matrix,
    *,
    lr: float,
    steps: int,
) -> float:
    """Returns an upper bound on the mean softmax cross-entropy after `steps` steps of gradient
    descent on a linearised network, if lr times the largest eigenvalue of the kernel is at most 2;
    infinity otherwise.

    For any move v of the logits z within the range of the kernel K = J J^T / N the loss is at most

    L(z + v) + v^T K^+ v / (2 lr S N),

    with the pseudo-inverse K^+. If v lies in directions with eigenvalues of at least eps, the last
    term is at most ||v||^2 / (2 lr S N eps). For a v outside of the range the bound is infinite.
    `docs/theory.md` has the proof.

    ```python
    import numpy as np
    from spectral.theory import cross_entropy_ceiling

    labels, logits = np.array([0, 1]), np.zeros((2, 2))
    towards = np.array([[2.0, -2.0], [-2.0, 2.0]])
    cross_entropy_ceiling(np.eye(4), logits, labels, towards, lr=1.0, steps=100)  # 0.0581
    ```

    **Arguments:** `kernel` has a row for each example and class, examples first.

    **Raises:** `ValueError` as `budget_epsilon`.
    """
    check_budget(lr, steps, 0.5, 0.0)
    values, vectors = np.linalg.eigh(np.asarray(kernel, np.float64))
    z, v = np.asarray(outputs, np.float64), np.asarray(move, np.float64)
    parts = vectors.T @ v.reshape(-1)
    # Smaller eigenvalues are rounding errors of zeros.
    resolved = values > len(values) * np.finfo(np.float64).eps * max(values[-1], 0)
    outside = np.linalg.norm(parts[~resolved]) > 1e-9 * np.linalg.norm(parts)
    if outside or lr * values[-1] > 2:
        return np.inf
    cost = np.sum(parts[resolved] ** 2 / values[resolved]) / (2 * lr * steps * len(z))
    return float(_mean_loss(z + v, np.asarray(labels)) + cost)


def cross_entropy_conditions(
    risk: Risk,
    params: PyTree,
    *,
    lr: float,
    steps: int,
    target: float,
    epsilon: float | None = None,
) -> CrossEntropyConditions:
    """Returns bounds on the mean softmax cross-entropy that gradient descent on the linearised
    network reaches within a budget, and what they say of a target.

    Both bounds use the eigenvectors of the kernel J J^T / N with eigenvalues above epsilon alone.
    The ceiling is `cross_entropy_ceiling` at the move of the logits in their span that makes it
    smallest. The floor is the largest `cross_entropy_floor` at the probabilities of a few of these
    moves, for budgets up to 1000 times longer. By default epsilon is target / (2 lr steps). Then
    the directions below it can lower the loss by at most the target.

    A budget with floor <= target < ceiling is not decided. `trainability_forecast` carries out the
    steps.

    ```python
    import jax.numpy as jnp
    from spectral.curvature import Risk, SoftmaxCrossEntropy
    from spectral.theory import cross_entropy_conditions

    def forward(params, inputs):
        return inputs @ params

    risk = Risk(forward, SoftmaxCrossEntropy(), jnp.eye(3), jnp.array([0, 1, 1]))
    found = cross_entropy_conditions(risk, jnp.zeros((3, 2)), lr=1.0, steps=50, target=0.2)
    found.floor, found.ceiling, found.certain  # 0.0, 0.123, True
    ```

    **Arguments:**

    - `risk`, `params`: as for `trainability_forecast`, with the loss `SoftmaxCrossEntropy`. The
        kernel has a row for each example and class, so pass at most some hundreds of examples.
    - `lr`, `steps`: the budget.
    - `target`: the loss that counts as success.
    - `epsilon`: at least 0.

    **Raises:** `ValueError` as `budget_epsilon`, for another loss, if a target is not positive, or
    if epsilon is negative.
    """
    check_budget(lr, steps, 0.5, 0.0)
    check_above("target", target, 0)
    output_shape("A bound on the cross-entropy", risk, params)
    if not isinstance(risk.loss, SoftmaxCrossEntropy) or risk.num_labels != risk.num_examples:
        raise ValueError(
            f"`risk` has the loss {type(risk.loss).__name__} and {risk.num_labels} labels for "
            f"{risk.num_examples} examples, but these bounds are for `SoftmaxCrossEntropy` with "
            "one label each: use `descent_conditions` for squared error."
        )
    epsilon = target / (2 * lr * steps) if epsilon is None else epsilon
    check_above("epsilon", epsilon, 0, strict=False)
    with single_threaded_blas():
        network = linearised(risk, params)
        kernel, outputs = (np.asarray(x, np.float64) for x in (network.kernel, network.outputs))
    labels = np.asarray(risk.targets)
    values, vectors = np.linalg.eigh(kernel)
    fast = values > max(epsilon, len(values) * np.finfo(network.kernel.dtype).eps * values[-1])
    roots = vectors[:, fast] * np.sqrt(values[fast])  # move = roots @ (the displacement)
    floors, ceilings = [], []
    for longer in _LONGER:
        move = _best_move(roots, outputs, labels, lr * steps * longer)
        chances = scipy.special.softmax(outputs + move, axis=1)
        budget = {"lr": lr, "steps": steps}
        floors.append(cross_entropy_floor(kernel, outputs, labels, chances, **budget))
        ceilings.append(cross_entropy_ceiling(kernel, outputs, labels, move, **budget))
    floor, ceiling = max(floors), min(ceilings)
    return CrossEntropyConditions(
        floor=np.asarray(floor),
        ceiling=np.asarray(ceiling),
        epsilon=np.asarray(float(epsilon)),
        directions=np.asarray(np.sum(fast)),
        possible=np.asarray(floor <= target),
        certain=np.asarray(ceiling <= target),
    )


def _best_move(roots: np.ndarray, z: np.ndarray, labels: np.ndarray, time: float) -> np.ndarray:
    """The move roots @ b that makes L(z + move) + ||b||^2 / (2 time N) smallest."""
    right = np.eye(z.shape[1])[labels]

    def objective(b: np.ndarray) -> tuple[float, np.ndarray]:
        logits = z + (roots @ b).reshape(z.shape)
        slope = (scipy.special.softmax(logits, axis=1) - right).reshape(-1)
        value = _mean_loss(logits, labels) + float(b @ b) / (2 * time * len(z))
        return value, (roots.T @ slope + b / time) / len(z)

    start = np.zeros(roots.shape[1])
    if not start.size:
        return np.zeros_like(z)
    found = scipy.optimize.minimize(objective, start, jac=True, method="L-BFGS-B")
    return (roots @ found.x).reshape(z.shape)


def _mean_loss(logits: np.ndarray, labels: np.ndarray) -> float:
    right = np.take_along_axis(logits, labels[:, None], axis=1)[:, 0]
    return float(np.mean(scipy.special.logsumexp(logits, axis=1) - right))
