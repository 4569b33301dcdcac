"""The spectrum of the Hessian of a loss, in one call."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import PRNGKeyArray, PyTree

from ...operators._hessian import Hessian
from ...spectra._spectrum import AbstractSpectrum
from ._lanczos import Lanczos


def spectrum_of(
    loss: Callable[[PyTree, PyTree], Any],
    params: PyTree,
    batch: PyTree,
    *,
    estimator: Callable[..., AbstractSpectrum] | None = None,
    key: PRNGKeyArray,
) -> AbstractSpectrum:
    """The spectrum of the Hessian of `loss(params, batch)` in `params`, for any training loop.

    ```python
    import jax
    import jax.numpy as jnp
    from spectral.curvature import Dense, spectrum_of

    def loss(params, batch):
        x, y = batch
        return jnp.mean((jnp.tanh(x @ params["w"]) - y) ** 2)

    params, batch = {"w": jnp.ones((3, 2))}, (jnp.ones((5, 3)), jnp.zeros((5, 2)))
    spectrum = spectrum_of(loss, params, batch, estimator=Dense(), key=jax.random.key(0))
    spectrum.range()  # the smallest and the largest eigenvalue
    ```

    Parameters and batch are arguments of one compiled program. A call with new shapes or a new
    function compiles; further calls do not. So `loss` should be defined once, for example at module
    level: a lambda in the loop is a new function each time. To compare spectra over a run, use the
    same batch and the same key throughout.

    **Arguments:**

    - `loss`: maps `(params, batch)` to one floating-point number, the mean over the batch.
    - `params`: any pytree of floating-point arrays, such as the parameters of Flax or a dict, or a
        whole Equinox network.
    - `batch`: any pytree, with data in arrays.
    - `estimator`: `estimator(operator, *, key)`, by default `Lanczos()`. For data in batches, or
        for another matrix, call the estimator on the `Hessian` or `GaussNewton` of a `Risk`.

    **Raises:** `ValueError` if a number in `params` is not in a floating-point array, if an array
    of the batch is empty, if the loss is not a floating-point scalar, or if its Hessian is not
    finite. Under `jax.jit` the spectrum is NaN instead in the last case.
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(batch):
        if isinstance(leaf, jax.Array | np.ndarray) and leaf.size == 0:
            where = jax.tree_util.keystr(path) or "itself"
            raise ValueError(
                f"`batch` has an array of shape {leaf.shape} at {where}, but must hold at least "
                "one example, because the mean over none is not a number: pass more data."
            )
    on_batch = _OnBatch(loss, jax.tree.map(_as_array, batch))
    estimator = Lanczos() if estimator is None else estimator
    spectrum = estimator(Hessian(on_batch, params), key=key)
    ends = spectrum.range()
    if not any(isinstance(end, Tracer) for end in ends) and not np.all(np.isfinite(ends)):
        raise ValueError(
            f"The Hessian of `loss` is not finite at these `params`, where the loss is "
            f"{on_batch(params)}, but must be finite: look for a division by zero or for training "
            "that has diverged."
        )
    return spectrum


class _OnBatch(eqx.Module):
    """A loss with its batch as an argument of the program; a closure would make it a constant."""

    loss: Callable[[PyTree, PyTree], Any]
    batch: PyTree

    def __call__(self, params: PyTree) -> Any:
        return self.loss(params, self.batch)


def _as_array(leaf: Any) -> Any:
    # A Python number would be part of the program, and a new value would compile it again.
    return jnp.asarray(leaf) if isinstance(leaf, float | np.ndarray | np.generic) else leaf
