"""The protocol of an intervention."""

from abc import abstractmethod
from typing import ClassVar

import equinox as eqx
from jaxtyping import PRNGKeyArray, PyTree

from .._base._sampler import Sampler


class AbstractIntervention(eqx.Module):
    """A change of the weights of a copy of the network; `Intervened` measures its effect.

    `keeps_function` says whether the outputs on the sample stay what they were.

    ```python
    from spectral.probes import AbstractIntervention

    class Halved(AbstractIntervention):
        keeps_function = False

        def __call__(self, sampler, *, key):
            halve = lambda x: x / 2 if eqx.is_inexact_array(x) else x
            return jax.tree.map(halve, sampler.learner.model)
    ```
    """

    keeps_function: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, sampler: Sampler, *, key: PRNGKeyArray) -> PyTree:
        """Returns the changed network, with the structure of `sampler.learner.model`. `sampler`
        draws examples of the present task and has the activations on them."""
