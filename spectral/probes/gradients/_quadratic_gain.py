"""What the best step along the gradient would gain."""

from dataclasses import KW_ONLY
from typing import Any

import equinox as eqx
from jaxtyping import Array, PRNGKeyArray

from ..._arguments import as_int, as_int_or_none, check_count
from ..._base._quantity import Quantity
from ...curvature import noisy_one_step_gain
from .._base._sampler import Sampler
from .._base._sampling_probe import AbstractSamplingProbe
from ._minibatch_size import training_minibatch_size


class QuadraticGain(AbstractSamplingProbe):
    """Records the sharpness along the gradient, and the gain of the best step along it under the
    quadratic model of the stream's criterion, with and without the noise of a minibatch.

    It takes one gradient over the examples and `num_samples + 1` products with the Hessian. See
    `spectral.curvature.noisy_one_step_gain`. As signs of plasticity they are ours. The columns are:

    - `sharpness`: g^T H g / ||g||^2.
    - `gain`, `relative_gain`: ||g||^4 / (2 g^T H g), and this divided by the loss. NaN where the
        sharpness is not positive: the quadratic model then has no best step.
    - `noise`, `noise_sem`: tr(H S) / ||g||^2 for the covariance S of the gradients of the examples,
        and its standard error.
    - `noisy_gain`, `relative_noisy_gain`: the largest expected gain of a step of SGD; NaN where the
        curvature that it meets, sharpness + noise / minibatch size, is not positive.

    **Arguments:**

    - `minibatch_size`: by default that of the training.
    - `num_samples`: how many examples the noise is measured on, each by one product; at most
        `num_examples`.
    - `num_examples`, `split`: how many examples to draw, and from which split of the data.

    **Raises:** `ValueError` if a size is not a positive integer, or if `num_samples` is larger than
    `num_examples`.
    """

    _: KW_ONLY
    minibatch_size: int | None = eqx.field(static=True, default=None, converter=as_int_or_none)
    num_samples: int = eqx.field(static=True, default=10, converter=as_int)

    def __check_init__(self):
        check_count("num_samples", self.num_samples)
        if self.minibatch_size is not None:
            check_count("minibatch_size", self.minibatch_size)
        if self.num_samples > self.num_examples:
            raise ValueError(
                f"`num_samples` is {self.num_samples}, but must be at most `num_examples`, which "
                f"is {self.num_examples}: lower it, or draw more examples."
            )

    def measure(self, sampler: Sampler, *, key: PRNGKeyArray) -> dict[str, Array]:
        risk = sampler.risk(key=key)
        found = noisy_one_step_gain(
            risk,
            sampler.learner.model,
            minibatch_size=self.minibatch_size or training_minibatch_size(sampler),
            num_samples=self.num_samples,
            key=key,
        )
        return {
            "sharpness": found.exact.sharpness,
            "gain": found.exact.gain,
            "relative_gain": found.exact.gain / found.exact.loss,
            "noise": found.noise.value,
            "noise_sem": found.noise.sem,
            "noisy_gain": found.gain,
            "relative_noisy_gain": found.gain / found.exact.loss,
        }

    def quantities(self) -> dict[str, Quantity]:
        gain: dict[str, Any] = {
            "limits": (0.0, None),
            "scale": "log",
            "better": "higher",
            "figure": "gradients",
        }
        # A gradient and a product; with noise one more product for each sample.
        own, noisy = 2, 2 + self.num_samples
        return {
            "sharpness": Quantity(
                "sharpness along the gradient", better="lower", figure="gradients", cost=own
            ),
            "relative_gain": Quantity("relative gain of the best step", cost=own, **gain),
            "relative_noisy_gain": Quantity(
                "relative gain of the best noisy step", cost=noisy, **gain
            ),
        }
