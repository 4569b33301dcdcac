"""The direct form of Definition 6.4: which units are dead on drawn tasks."""

from collections.abc import Iterable

import equinox as eqx
import numpy as np
from jaxtyping import Array, Bool, Float

from ...models import apply_network, dead, DescribesUnits
from .._base._hypotheses import check_examples, check_relu_network


def dead_on_tasks(
    model: DescribesUnits, tasks: Iterable[Float[Array, "examples ..."]]
) -> dict[str, Bool[np.ndarray, "tasks units"]]:
    """Tests which units of a ReLU network are dead on each of several drawn tasks: w . x + b <= 0
    for all inputs x of the task (for a channel, at all positions).

    Lemma 6.3 uses the distance between the old and the new inputs only. If this is larger than the
    radii, as in high dimensions, the lemma certifies no unit, and every form of Theorem 6.5 that
    rests on it is 1. This test needs draws of the next task, but no distance and no old inputs. If
    the draws are independent, `proportion` has the exact binomial interval of each probability. By
    (1) of Theorem 6.2 the probability that the next task is trainable is at most that of m dead
    units or fewer, with m from `most_dead_units`.

    ```python
    import jax
    from spectral.models import MLP
    from spectral.theory import dead_on_tasks, proportion

    model = MLP(3, 2, width=8, depth=1, key=jax.random.key(0))
    tasks = [jax.random.normal(jax.random.key(n), (10, 3)) for n in range(20)]
    found = dead_on_tasks(model, tasks)["hidden_0"]  # [20, 8]
    proportion(found.sum(axis=0), len(found))  # that of each unit to be dead, with its interval
    proportion((found.sum(axis=1) <= 3).sum(), len(found))  # that of at most 3 dead units
    ```

    **Arguments:**

    - `tasks`: the inputs of each drawn task. Draw all inputs of a task, because a unit that is dead
        on a few of them may be alive on the others. Tasks of one size share a compiled program.

    **Raises:** `ValueError` naming the hypothesis that fails (the network is not a plain ReLU
    network, or a task has no examples), or if there are no tasks.
    """
    check_relu_network("Definition 6.4", model)
    found: dict[str, list[np.ndarray]] = {}
    for inputs in tasks:
        check_examples("Definition 6.4", inputs)
        for name, units in _dead(model, inputs).items():
            found.setdefault(name, []).append(np.asarray(units))
    if not found:
        raise ValueError(
            "`tasks` is empty, but a fraction needs at least one draw: pass the inputs of several "
            "draws of the next task."
        )
    return {name: np.stack(units) for name, units in found.items()}


@eqx.filter_jit
def _dead(
    model: DescribesUnits, inputs: Float[Array, "examples ..."]
) -> dict[str, Bool[Array, " units"]]:
    taps = apply_network(model, None, inputs, inference=True)[1].taps
    return {name: dead(features) for name, features in taps.items()}
