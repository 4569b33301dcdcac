"""Weights of which only the singular values stay, or only the singular vectors."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ..._arguments import unknown_name
from ...algorithms import fresh_network
from ...models import unit_groups
from .._base._sampler import Sampler
from ._intervention import AbstractIntervention


Matrix = Float[Array, "units inputs"]


class NewSingularVectors(AbstractIntervention):
    """Draws new singular vectors for the incoming weights of hidden units, uniformly among
    orthonormal ones, and keeps the singular values.

    All ranks and norms of the weights stay the same. The kernel of a convolution is taken as a
    matrix with a row for each channel.

    **Arguments:**

    - `layer`: the name of the layer in the taps, such as `"hidden_0"`; `None` takes all.

    **Raises:** before a run, `ValueError` for an unknown or a sparse layer, `TypeError` for a
    network without `units()`.
    """

    layer: str | None = eqx.field(static=True, default=None, kw_only=True)

    def __call__(self, sampler: Sampler, *, key: PRNGKeyArray) -> PyTree:
        def redrawn(weight: Matrix, _: Matrix, key: PRNGKeyArray) -> Matrix:
            left, right = jax.random.split(key)
            values = jnp.linalg.svd(weight, compute_uv=False)
            draw = lambda k, size: jax.random.orthogonal(k, size, dtype=weight.dtype)
            rank = values.size
            rows, columns = draw(left, len(weight)), draw(right, weight.shape[1])
            return (rows[:, :rank] * values[None]) @ columns[:rank]

        return _changed(sampler.learner.model, self.layer, redrawn, key)


class NewSingularValues(AbstractIntervention):
    """Gives the incoming weights of hidden units the singular values of a fresh network, largest to
    largest, and keeps their singular vectors.

    This undoes what training did to ranks and norms, and keeps the directions that it found.

    **Arguments:**

    - `layer`: as in `NewSingularVectors`.

    **Raises:** as `NewSingularVectors`; before a run, `TypeError` for a network without `fresh`.
    """

    layer: str | None = eqx.field(static=True, default=None, kw_only=True)

    def __call__(self, sampler: Sampler, *, key: PRNGKeyArray) -> PyTree:
        def redrawn(weight: Matrix, fresh: Matrix, _: PRNGKeyArray) -> Matrix:
            left, _, right = jnp.linalg.svd(weight, full_matrices=False)
            return (left * jnp.linalg.svd(fresh, compute_uv=False)[None]) @ right

        return _changed(sampler.learner.model, self.layer, redrawn, key)


def _changed(
    model: PyTree,
    layer: str | None,
    redrawn: Callable[[Matrix, Matrix, PRNGKeyArray], Matrix],
    key: PRNGKeyArray,
) -> PyTree:
    """The network with `redrawn(weight, fresh weight, key)` for the weights of the layer."""
    groups = {group.name: group for group in unit_groups(model)}
    if layer is not None and layer not in groups:
        raise ValueError(unknown_name("`layer`: Layer", layer, groups))
    fresh_key, own_key = jax.random.split(key)
    fresh, _ = fresh_network(model, None, key=fresh_key)
    for i, group in enumerate(groups.values()):
        if layer not in (None, group.name):
            continue
        for j, entries in enumerate(group.incoming):
            if entries.mask is not None:
                raise ValueError(
                    f"The layer {group.name!r} is sparse, but singular vectors mix all "
                    "connections: choose a network with `density=1`, or another layer."
                )
            weight = entries.where(model)
            first = [jnp.moveaxis(w, entries.axis, 0) for w in (weight, entries.where(fresh))]
            its_key = jax.random.fold_in(jax.random.fold_in(own_key, i), j)
            new = redrawn(*[w.reshape(len(w), -1) for w in first], its_key)
            new = jnp.moveaxis(new.reshape(first[0].shape), 0, entries.axis)
            model = eqx.tree_at(entries.where, model, new.astype(weight.dtype))
    return model
