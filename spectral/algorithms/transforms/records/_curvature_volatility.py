"""How much the curvature of each layer changes within training."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ...._arguments import as_int, check_count
from ...._base._optimiser import Optimiser
from ...._base._precision import in_single
from ...._base._quantity import Quantity
from ...._base._scaling import norm
from ...._types import Learner, Signal
from ....curvature import Block, Function, Hessian, layer_blocks, Sphere, volatility
from ..._base._protocols import AbstractTransform


class VolatilityState(eqx.Module):
    """For each layer, in the order of the network: the vector of a power iteration, and the last
    sharpnesses, the latest at the end; NaN where there are none yet."""

    vectors: tuple[Float[Array, " _"], ...]
    series: tuple[Float[Array, " window"], ...]


class CurvatureVolatility(AbstractTransform[VolatilityState]):
    """Records how much the sharpness of each layer changes within training, and changes no weight.

    The sharpness of a layer is lr |lambda|, with the effective learning rate lr and the largest
    |eigenvalue| lambda of its block of the Hessian of the criterion on the minibatch (Baveja,
    Lewandowski and Schmidt, *A Unified Noise-Curvature View of Loss of Trainability*, 2025). One
    round of a power iteration at each call, which continues from the last, estimates lambda. This
    takes one product with the Hessian for each layer. The effective learning rate is
    lr / (sqrt(mean v) + eps) under `algorithms.adam`, with the corrected second moments v of the
    layer, and lr under other optimisers.

    The columns, read at the end of a task, are `series`, the last sharpnesses, `[layers, window]`,
    the latest at the end; `sharpness`, their mean, `[layers]`; and `volatility`, their variance
    over their mean, `[layers]` (`curvature.volatility`).

    Use it under `Periodic`. A public re-implementation measures every 40 steps and takes running
    means with a decay of 0.9; a window of 10 in their place is ours.

    ```python
    transform = Periodic(CurvatureVolatility(), period=40)
    followed_by(bp(adam(1e-3)), (transform,))
    ```
    """

    window: int = eqx.field(static=True, converter=as_int)

    def __init__(self, *, window: int = 10):
        """**Raises:** `ValueError` if `window` is not an integer of at least 2."""
        check_count("window", window, minimum=2)
        self.window = window

    def init(self, learner: Learner, *, key: PRNGKeyArray) -> VolatilityState:
        """**Raises:** `ValueError` for an optimiser without a `learning_rate`, and for Adam of
        optax."""
        hyper, state = learner.optimiser.hyper, learner.optimiser.state
        if "learning_rate" not in hyper:
            raise ValueError(
                "`CurvatureVolatility` needs an optimiser with a `learning_rate`, but this one has "
                f"{sorted(hyper)}: rename it, or leave the transform out."
            )
        if optax.tree_utils.tree_get_all_with_path(state, "nu"):
            raise ValueError(
                "`CurvatureVolatility` needs the corrected second moments of each entry, but this "
                "optimiser is one of optax, which does not keep them: use `algorithms.adam`."
            )
        params = eqx.filter(in_single(learner.model), eqx.is_inexact_array)
        blocks = layer_blocks(Function(lambda vector: vector, params)).values()
        pairs = zip(blocks, jax.random.split(key, len(blocks)), strict=True)
        vectors = [Sphere()(block.dim, block.dtype, key=k) for block, k in pairs]
        return VolatilityState(
            tuple(v / norm(v) for v in vectors),
            tuple(jnp.full(self.window, jnp.nan, v.dtype) for v in vectors),
        )

    def update(
        self, learner: Learner, state: VolatilityState, signal: Signal, *, key: PRNGKeyArray
    ) -> tuple[Learner, VolatilityState]:
        params, rest = eqx.partition(in_single(learner.model), eqx.is_inexact_array)

        def loss(params: PyTree) -> Float[Array, ""]:
            model = eqx.combine(params, rest)
            return signal.loss_of(
                Learner(model, learner.model_state, learner.optimiser), signal.batch, key=key
            )

        # One linearisation serves all layers.
        hessian = Function(Hessian(loss, params).product(), params)
        vectors, series = [], []
        blocks = layer_blocks(hessian).values()
        for block, vector, past in zip(blocks, state.vectors, state.series, strict=True):
            product = block.flat_product()(vector)
            size = norm(product)
            unit = product / jnp.where(size > 0, size, 1)
            vectors.append(jnp.where(size > 0, unit, vector))
            latest = _effective_rate(learner.optimiser, block) * size
            series.append(jnp.append(past[1:], latest.astype(past.dtype)))
        return learner, VolatilityState(tuple(vectors), tuple(series))

    def measure(self, state: VolatilityState) -> dict[str, Array]:
        series = jnp.stack(state.series)
        return {
            "volatility": volatility(series),
            "sharpness": jnp.nanmean(series, axis=1),
            "series": series,
        }

    def quantities(self) -> dict[str, Quantity]:
        common: dict[str, Any] = {"limits": (0.0, None), "scale": "log", "figure": "gradients"}
        return {
            "volatility": Quantity(
                "volatility of the sharpness (largest of the layers)",
                better="lower",
                reduce="largest",
                **common,
            ),
            "sharpness": Quantity("sharpness of the layers", **common),
        }


def _effective_rate(optimiser: Optimiser, block: Block) -> Float[Array, ""]:
    """The learning rate of a layer, divided by the root of its mean second moment under Adam."""
    lr = optimiser.hyper["learning_rate"]
    if not optax.tree_utils.tree_get_all_with_path(optimiser.state, "square_bias"):
        return lr
    get = lambda name: eqx.filter(optax.tree_utils.tree_get(optimiser.state, name), block.kept)
    # An entry that was just forgotten has no second moment: 0 / 0.
    correct = lambda v, bias: v / jnp.where(bias < 1, 1 - bias, 1)
    moments = jax.tree.leaves(jax.tree.map(correct, get("square"), get("square_bias")))
    mean = sum(jnp.sum(v) for v in moments) / block.dim
    return lr / (jnp.sqrt(mean) + optimiser.hyper["eps"])
