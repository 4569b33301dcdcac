"""How the target network follows the learner."""

from abc import abstractmethod
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ...._arguments import as_int, check_above, check_count, check_fraction
from ...._base._precision import in_single
from ...._carry import arrays_of, branch, with_arrays
from ....models import PlasticityInjection
from ._value_network import ValueNetwork


class AbstractTargetUpdate(eqx.Module):
    """A rule by which the target network follows the learner.

    The rule is applied when a chunk begins, after the gradient steps of the chunk
    before. Within a chunk the target network is constant.
    """

    def begun(self, learner: ValueNetwork) -> ValueNetwork:
        """Returns the target network before the first chunk, by default a copy of the learner."""
        return learner

    @abstractmethod
    def __call__(
        self,
        target: ValueNetwork,
        learner: ValueNetwork,
        step: Int[Array, ""],
        num_steps: int,
    ) -> ValueNetwork:
        """Returns the target network. `step`: the index of the first gradient step of the chunk.
        `num_steps`: how many gradient steps a chunk has."""

    def check(self, num_steps: int) -> None:
        """**Raises:** `ValueError` if the rule does not fit chunks of so many gradient steps. By
        default it does."""


class PeriodicTarget(AbstractTargetUpdate):
    """The target network is a copy of the learner, made every `period` gradient steps (Mnih et al.,
    2015).

    Steps are counted over the whole run, including those that are skipped because the replay has
    too few transitions. The first copy is made before the first step.

    ```python
    rule = tasks.PeriodicTarget(period=500)
    ```

    **Raises:** `ValueError` for a period below one, or in a stream whose chunks do not divide it.
    """

    period: int = eqx.field(static=True, converter=as_int)

    def __init__(self, *, period: int = 1000):
        check_count("period", period)
        self.period = period

    def __call__(
        self,
        target: ValueNetwork,
        learner: ValueNetwork,
        step: Int[Array, ""],
        num_steps: int,
    ) -> ValueNetwork:
        copy = lambda old: with_arrays(old, arrays_of(learner))
        # All members of an ensemble share the clock, so under vmap this stays a branch.
        return branch(step % self.period == 0, copy, target)

    def check(self, num_steps: int) -> None:
        if self.period % num_steps:
            near = max(1, round(self.period / num_steps)) * num_steps
            raise ValueError(
                f"`period` is {self.period}, but must be a multiple of the gradient steps of a "
                f"chunk, which are {num_steps}, because the target network changes between chunks: "
                f"pass for example {near}."
            )


class PolyakTarget(AbstractTargetUpdate):
    """The target network moves towards the learner: with each gradient step the difference
    shrinks by the factor 1 - `fraction` (Lillicrap et al., 2016; their tau).

    The m gradient steps of a chunk are taken together: after them the target network has moved by
    1 - (1 - fraction)^m of its distance to the present learner. For chunks of one gradient step
    this is the published rule. Running statistics move in the same way, and arrays that are not
    floating-point numbers are copied. The target network of a learner in bfloat16 or float16 is in
    float32, where its small moves are not lost in rounding. After a `PlasticityInjection` within
    the run the whole learner is copied, because its parameters are then those of another network.

    ```python
    rule = tasks.PolyakTarget(fraction=0.005)
    ```

    **Raises:** `ValueError` if the fraction is not positive or exceeds 1.
    """

    fraction: Float[Array, ""]

    def __init__(self, *, fraction: float | Float[Array, ""] = 0.005):
        check_above("fraction", fraction, 0)
        check_fraction("fraction", fraction)
        self.fraction = jnp.asarray(fraction, dtype=float)

    def begun(self, learner: ValueNetwork) -> ValueNetwork:
        return in_single(learner)

    def __call__(
        self,
        target: ValueNetwork,
        learner: ValueNetwork,
        step: Int[Array, ""],
        num_steps: int,
    ) -> ValueNetwork:
        moved = self.fraction
        if num_steps > 1:
            moved = -jnp.expm1(num_steps * jnp.log1p(-self.fraction))
        copied = _injected_since(target.model, learner.model)

        def follow(old: Array, new: Array) -> Array:
            if not jnp.issubdtype(new.dtype, jnp.floating):
                return new
            new = new.astype(old.dtype)
            followed = old + moved.astype(old.dtype) * (new - old)
            return followed if copied is None else jnp.where(copied, new, followed)

        return with_arrays(target, jax.tree.map(follow, arrays_of(target), arrays_of(learner)))


def _injected_since(target: Any, learner: Any) -> Bool[Array, ""] | None:
    """Whether plasticity was injected into the learner alone; `None` if this is never done."""
    if not isinstance(learner, PlasticityInjection) or learner.injected is None:
        return None
    return learner.injected != target.injected
