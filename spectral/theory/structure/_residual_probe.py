"""The energy of the residual beyond epsilon, in a run."""

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ..._arguments import check_above
from ..._base._quantity import Quantity
from ...probes import AbstractSamplingProbe, Sampler, unanswered, When
from ...tasks import Split
from .._base._hypotheses import output_shape
from ._gradient_bounds import residual_spectrum


class ResidualEnergy(AbstractSamplingProbe):
    """Records how much of the residual lies in eigenvectors of the neural tangent kernel with
    eigenvalues beyond epsilon, on examples of the task: a sign of ours.

    An eps-rank bounds the progress of gradient descent only together with this energy, see
    `gradient_bounds`: directions beyond epsilon do not help if the residual is not in them. With
    the `energies` of `residual_spectrum` the columns are `above`, their sum over the eigenvalues
    beyond epsilon, `total`, the sum of all, and `fraction`, the quotient, which is NaN where
    `total` is 0. `budget_epsilon` gives the epsilon of a learning rate and a number of steps. It
    takes a gradient for each example and output, and one decomposition. Networks whose outputs are
    not one array record NaN.

    ```python
    from spectral import theory

    energy = theory.ResidualEnergy(epsilon=0.01, num_examples=10)
    train_continual(model, stream, algo, probes={"energy": energy})
    ```

    **Arguments:**

    - `epsilon`: at least 0.
    - `num_examples`, `split`: how many examples to draw, and from which split of the data. Time
        grows with the square of examples times outputs.

    **Raises:** `ValueError` if `epsilon` is negative or not finite.
    """

    epsilon: Float[Array, ""]

    def __init__(
        self,
        *,
        epsilon: float | Float[Array, ""],
        num_examples: int = 100,
        split: Split = "train",
        when: tuple[When, ...] = ("start",),
        every: int = 1,
    ):
        check_above("epsilon", epsilon, 0, strict=False)
        super().__init__(num_examples=num_examples, split=split, when=when, every=every)
        self.epsilon = jnp.asarray(epsilon, dtype=float)

    def measure(self, sampler: Sampler, *, key: PRNGKeyArray) -> dict[str, Array]:
        risk, model = sampler.risk(key=key), sampler.learner.model
        try:
            output_shape("The energy of a residual", risk, model)
        except ValueError as error:
            nothing = {"above": (), "total": (), "fraction": ()}
            return unanswered(self, str(error).removesuffix("."), nothing)
        found = residual_spectrum(risk, model)
        total = jnp.sum(found.energies)
        above = jnp.sum(jnp.where(found.eigenvalues > self.epsilon, found.energies, 0))
        fraction = above / jnp.where(total > 0, total, jnp.nan)
        return {"above": above, "total": total, "fraction": fraction}

    def quantities(self) -> dict[str, Quantity]:
        fraction = Quantity(
            "energy of the residual beyond epsilon",
            unit="fraction",
            limits=(0.0, 1.0),
            better="higher",
            figure="forecast",
        )
        return {"fraction": fraction}
