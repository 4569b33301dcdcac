"""A new output layer."""

import equinox as eqx
import jax
from jaxtyping import PRNGKeyArray, PyTree

from ...algorithms import fresh_network
from ...models import head_parameters
from .._base._sampler import Sampler
from ._intervention import AbstractIntervention


class NewHead(AbstractIntervention):
    """Initialises the output layer again. The hidden units stay as they are.

    **Raises:** before a run, `TypeError` for a network without `fresh` or `units()`.
    """

    def __call__(self, sampler: Sampler, *, key: PRNGKeyArray) -> PyTree:
        learner = sampler.learner
        fresh, _ = fresh_network(learner.model, None, key=key)
        old, static = eqx.partition(learner.model, eqx.is_inexact_array)
        new, head = eqx.filter(fresh, eqx.is_inexact_array), head_parameters(learner.model)
        params = jax.tree.map(lambda o, n, h: n if h else o, old, new, head)
        return eqx.combine(params, static)
