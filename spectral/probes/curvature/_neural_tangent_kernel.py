"""The spectrum of the neural tangent kernel."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ..._arguments import check_above
from ..._base._quantity import Quantity
from ...curvature import (
    epsilon_rank,
    neural_tangent_spectrum,
    spectral_effective_rank,
    spectral_energy_rank,
)
from ...tasks import DQN, DQNBatch, Split
from .._base._cost import products_cost
from .._base._probe import When
from .._base._sampler import Sampler
from .._base._sampling_probe import AbstractSamplingProbe


class NeuralTangentKernel(AbstractSamplingProbe):
    """Records the spectrum of the neural tangent kernel J J^T / N, in float64 (see
    `spectral.curvature.neural_tangent_spectrum`). Labels are not used.

    In a stream of `DQN` a row is the gradient of the value of the action that was taken, because
    its update moves these values only. With the squared error the nonzero eigenvalues are half
    those of `GaussNewton`. With `all_outputs` each action has a row.

    The columns are `smallest`, `largest` and `trace`; `epsilon_rank`, the number of eigenvalues
    beyond `epsilon`; `spectral_effective_rank`; and `energy_rank`, how many eigenvalues hold 99 %
    of the trace.

    **Arguments:**

    - `epsilon`: a positive threshold, in the unit of the eigenvalues.
    - `all_outputs`: a row for each output of each example, instead of one for the sum of the
        outputs, or the value of the action that was taken. It takes the squared number of outputs
        times the time.
    - `num_examples`, `split`: how many examples to draw, and from which split of the data.

    **Raises:** `ValueError` if `epsilon` or `num_examples` is not positive.
    """

    epsilon: Float[Array, ""]
    all_outputs: bool = eqx.field(static=True)

    def __init__(
        self,
        *,
        epsilon: float | Float[Array, ""] = 0.1,
        all_outputs: bool = False,
        num_examples: int = 200,
        split: Split = "train",
        when: tuple[When, ...] = ("start", "end"),
        every: int = 1,
    ):
        check_above("epsilon", epsilon, 0)
        super().__init__(num_examples=num_examples, split=split, when=when, every=every)
        self.epsilon = jnp.asarray(epsilon, dtype=float)
        self.all_outputs = all_outputs

    def measure(self, sampler: Sampler, *, key: PRNGKeyArray) -> dict[str, Array]:
        risk = sampler.risk(key=key)
        if isinstance(sampler.stream, DQN) and not self.all_outputs:
            risk = eqx.tree_at(lambda r: r.forward, risk, TakenValues(risk.forward))
        spectrum = neural_tangent_spectrum(
            risk, sampler.learner.model, all_outputs=self.all_outputs
        )
        smallest, largest = spectrum.range()
        return {
            "smallest": smallest,
            "largest": largest,
            "trace": jnp.sum(spectrum.nodes),
            "epsilon_rank": epsilon_rank(spectrum, self.epsilon).value,
            "spectral_effective_rank": spectral_effective_rank(spectrum).value,
            "energy_rank": spectral_energy_rank(spectrum),
        }

    def quantities(self) -> dict[str, Quantity]:
        common: dict[str, Any] = {
            "limits": (0.0, None),
            "better": "higher",
            "figure": "kernel",
            # With all outputs it grows with their number, which the probe does not know.
            "cost": None if self.all_outputs else products_cost(self.num_examples),
        }
        kernel = "of the tangent kernel"
        return {
            "smallest": Quantity(f"smallest eigenvalue {kernel}", scale="log", **common),
            "trace": Quantity(f"trace {kernel}", scale="log", **common),
            "epsilon_rank": Quantity(f"epsilon-rank {kernel}", **common),
            "spectral_effective_rank": Quantity(f"effective rank {kernel}", **common),
            "energy_rank": Quantity(f"99 % rank {kernel}", **common),
        }


class TakenValues(eqx.Module):
    """The forward pass of a network of action values, of which only the action that was taken has
    an output."""

    values: Callable[[PyTree, DQNBatch], Float[Array, "examples actions"]]

    def __call__(self, model: PyTree, batch: DQNBatch) -> Float[Array, "examples 1"]:
        return jnp.take_along_axis(self.values(model, batch), batch.action[:, None], axis=1)
