"""Hypothesis strategies for random networks, inputs and task shifts.

They need the extra `testing` (`pip install "spectral-plasticity[testing]"`). Test your own bound on
such networks; if it fails, hypothesis shows the smallest network that violates it:

```python
import jax.numpy as jnp
from hypothesis import given, settings
from spectral.theory import directed_hausdorff, persistence_radii, remains_dead
from spectral.theory.strategies import relu_networks, task_shifts

@settings(max_examples=5, deadline=None)
@given(relu_networks(), task_shifts())
def test_dead_units_persist(model, shift):
    radii = persistence_radii(model, shift.old)["hidden_0"]
    survivors = remains_dead(radii, directed_hausdorff(shift.new, shift.old))
    _, taps = jax.vmap(model)(shift.new)
    assert jnp.all(taps["hidden_0"][:, survivors] == 0)

test_dead_units_persist()
```

All numbers are small multiples of powers of two, so sums and products are exact and the numbers are
easy to read. Biases lie half a step off the grid, so no pre-activation is 0 on the inputs that
`inputs` draws or on the old inputs of a task shift, and every network is twice differentiable
there. The new inputs of a task shift lie on a finer grid, where a pre-activation may be 0. All
networks that one strategy draws have the same shape, so the code under test compiles once. Problems
have one of a few shapes, for code that must not depend on a size.
"""

from ._matrices import (
    covariances as covariances,
    matrices_with_spectrum as matrices_with_spectrum,
    symmetric_matrices as symmetric_matrices,
    weight_matrices as weight_matrices,
)
from ._networks import (
    cloned_networks as cloned_networks,
    margins as margins,
    networks as networks,
    relu_networks as relu_networks,
)
from ._numbers import (
    inputs as inputs,
    labels as labels,
    numbers as numbers,
    probabilities as probabilities,
    targets as targets,
)
from ._problems import (
    Problem as Problem,
    problems as problems,
    trained as trained,
)
from ._shifts import (
    label_flips as label_flips,
    LabelFlip as LabelFlip,
    task_sequences as task_sequences,
    task_shifts as task_shifts,
    TaskShift as TaskShift,
)
