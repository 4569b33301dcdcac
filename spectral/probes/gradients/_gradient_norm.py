"""Size of the gradient."""

import equinox as eqx
import jax
from jaxtyping import Array, PRNGKeyArray

from ..._base._quantity import Quantity
from ..._base._scaling import joint_norm
from .._base._sampler import Sampler
from .._base._sampling_probe import AbstractSamplingProbe


class GradientNorm(AbstractSamplingProbe):
    """Records the gradient of the stream's criterion (without penalties) over `num_examples`
    examples: `norm`, its Euclidean norm, and `loss`, the value of the criterion."""

    def measure(self, sampler: Sampler, *, key: PRNGKeyArray) -> dict[str, Array]:
        value, grads = eqx.filter_value_and_grad(sampler.risk(key=key))(sampler.learner.model)
        return {"norm": joint_norm(jax.tree.leaves(grads)), "loss": value}

    def quantities(self) -> dict[str, Quantity]:
        norm = Quantity(
            "norm of the gradient", limits=(0.0, None), scale="log", better="higher", cost=1
        )
        return {"norm": norm}
