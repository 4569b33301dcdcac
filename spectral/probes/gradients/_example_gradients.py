"""What the gradients of single examples say together."""

from dataclasses import KW_ONLY
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from ..._arguments import as_int, as_int_or_none, check_count
from ..._base._quantity import Quantity
from ...curvature import (
    empirical_fisher_rank,
    example_gradients,
    gradient_collinearity,
    gradient_moments,
    gradient_noise_scale,
    gradient_products,
    GradientProducts,
    layer_moments,
    noise_bound,
    optimisation_readiness,
)
from .._base._cost import products_cost
from .._base._sampler import Sampler
from .._base._sampling_probe import AbstractSamplingProbe
from .._base._unanswered import unanswered
from ._minibatch_size import training_minibatch_size


class ExampleGradients(AbstractSamplingProbe):
    """Records the signs that the gradients of single examples give, from one set of them.

    The gradients are those of the stream's criterion without penalties, with the network in
    inference mode. They take the memory of `num_examples` vectors like the parameters. The columns
    are:

    - `squared_norm`, `variance`: ||g||^2 of the mean gradient and the trace of the covariance, of
        these examples.
    - `unbiased_squared_norm`: an unbiased estimate of ||g||^2 for all data; it may be negative.
    - `noise_scale`, `unbiased_noise_scale`: see `curvature.gradient_noise_scale`.
    - `readiness`, `strength`, `reliability`: see `curvature.optimisation_readiness`.
    - `noise_bound`, `[layers]`: see `curvature.noise_bound`, with a safety factor of 1.
    - `mean_cosine`, `mean_absolute_cosine`, `collinearity_rank`: see
        `curvature.gradient_collinearity`.
    - `fisher_rank`, and `fisher_rank_by_tensor`, `[tensors]`: see
        `curvature.empirical_fisher_rank`. NaN for a network without arrays of two or more axes.

    ```python
    measured = {"gradients": probes.ExampleGradients(num_examples=20)}
    _, history = train_continual(model, stream, algo, probes=measured)
    history["gradients.start.readiness"]  # [tasks]
    ```

    **Arguments:**

    - `minibatch_size`: that of readiness and noise bound; by default that of the training.
    - `num_examples`, `split`: how many examples to draw, and from which split of the data.

    **Raises:** `ValueError` if a size is not a positive integer.
    """

    _: KW_ONLY
    minibatch_size: int | None = eqx.field(static=True, default=None, converter=as_int_or_none)
    num_examples: int = eqx.field(static=True, default=200, converter=as_int)

    def __check_init__(self):
        if self.minibatch_size is not None:
            check_count("minibatch_size", self.minibatch_size)

    def measure(self, sampler: Sampler, *, key: PRNGKeyArray) -> dict[str, Array]:
        risk, model = sampler.risk(key=key), sampler.learner.model
        size = self.minibatch_size or training_minibatch_size(sampler)
        gradients = example_gradients(risk, model)
        # With several labels for an example, the mean over labels weighs the examples.
        factor = risk.num_examples / risk.num_labels
        gradients = jax.tree.map(lambda g: factor * g, gradients)
        moments, products = gradient_moments(gradients), gradient_products(gradients)
        ready = optimisation_readiness(moments, risk(model), minibatch_size=size)
        layers = layer_moments(gradients).values()
        cosines = gradient_collinearity(products)
        return {
            "squared_norm": moments.norm**2,
            "variance": moments.deviation**2,
            "unbiased_squared_norm": moments.unbiased_squared_norm,
            "noise_scale": gradient_noise_scale(moments),
            "unbiased_noise_scale": gradient_noise_scale(moments, unbiased=True),
            "readiness": ready.value,
            "strength": ready.strength,
            "reliability": ready.reliability,
            "noise_bound": jnp.stack([noise_bound(own, minibatch_size=size) for own in layers]),
            "mean_cosine": cosines.mean_cosine,
            "mean_absolute_cosine": cosines.mean_absolute_cosine,
            "collinearity_rank": cosines.rank,
            **self._fisher_ranks(products),
        }

    def _fisher_ranks(self, products: GradientProducts) -> dict[str, Array]:
        if not products.weights:
            reason = "the network has no array of two or more axes, whose rank `fisher_rank` is"
            return unanswered(self, reason, {"fisher_rank": (), "fisher_rank_by_tensor": (1,)})
        ranks = empirical_fisher_rank(products)
        return {
            "fisher_rank": ranks.joint,
            # In the order of the network: compiled functions return dictionaries sorted by name.
            "fisher_rank_by_tensor": jnp.stack([ranks.by_tensor[n] for n in products.weights]),
        }

    def quantities(self) -> dict[str, Quantity]:
        moment: dict[str, Any] = {"figure": "gradients", "cost": 1}
        product: dict[str, Any] = {"figure": "gradients", "cost": products_cost(self.num_examples)}
        positive = (0.0, None)
        return {
            "unbiased_squared_norm": Quantity(
                "squared norm of the gradient, unbiased", better="higher", **moment
            ),
            "noise_scale": Quantity(
                "gradient noise scale",
                unit="examples",
                limits=positive,
                scale="log",
                better="lower",
                **moment,
            ),
            "readiness": Quantity(
                "optimisation readiness", limits=positive, scale="log", better="higher", **moment
            ),
            "noise_bound": Quantity(
                "noise bound (smallest of the layers)",
                limits=positive,
                scale="log",
                better="higher",
                reduce="smallest",
                **moment,
            ),
            "mean_cosine": Quantity(
                "mean cosine of gradients", limits=(-1.0, 1.0), better="lower", **product
            ),
            "mean_absolute_cosine": Quantity(
                "mean |cosine| of gradients", limits=(0.0, 1.0), better="lower", **product
            ),
            "collinearity_rank": Quantity(
                "rank of the cosines of gradients", limits=positive, better="higher", **product
            ),
            "fisher_rank": Quantity(
                "99 % rank of the empirical Fisher matrix",
                limits=positive,
                better="higher",
                **product,
            ),
        }
