"""What optimisation readiness says of one step of SGD."""

from ..._arguments import check_above


def expected_gain_bound(
    readiness: float, reliability: float, *, lr: float, smoothness: float
) -> float:
    """Returns a lower bound on the expected relative gain of one step of SGD,
    (L(theta) - E L(theta - lr g_m)) / L(theta), from optimisation readiness.

    Let L be beta-smooth, R = ||g||^2 / E ||g_m||^2 the reliability of minibatches whose gradient
    has the mean g, OR = ||g||^2 R / L, and a = lr beta / R. Then the gain is at least
    a (1 - a/2) OR / beta, for any lr. It is positive for 0 < a < 2, and at most OR / (2 beta), at
    a = 1. *Proof.* By the descent lemma E L(theta - lr g_m) <= L - lr ||g||^2 + beta lr^2 E
    ||g_m||^2 / 2. Insert lr = a R / beta and E ||g_m||^2 = ||g||^2 / R. Equality holds if the
    Hessian is beta times the identity.

    Theorem 4.6 of Wang et al., *Predicting Plasticity in Deep Continual Learning* (2026), has
    a (1 - a) OR / beta for 0 < a < 1. It holds too, but is never larger; this form is ours.

    ```python
    from spectral.theory import expected_gain_bound

    # Half the square of theta = 1, whose two examples have the gradients 0 and 2.
    expected_gain_bound(1.0, 0.5, lr=0.5, smoothness=1.0)  # 0.5, the expected gain itself
    ```

    **Arguments:**

    - `readiness`, `reliability`: from `spectral.curvature.optimisation_readiness`.
    - `lr`: the learning rate.
    - `smoothness`: beta, a bound on the norm of the Hessian between theta and where the step leads.

    **Raises:** `ValueError` if `readiness` is negative, if another number is not positive, or if
    `reliability` is above 1.
    """
    check_above("readiness", readiness, 0, strict=False)
    for name, value in (("reliability", reliability), ("lr", lr), ("smoothness", smoothness)):
        check_above(name, value, 0)
    if reliability > 1:
        raise ValueError(
            f"`reliability` is {reliability}, but must be at most 1: pass that of a `Readiness`."
        )
    step = lr * smoothness / reliability
    return step * (1 - step / 2) * readiness / smoothness
