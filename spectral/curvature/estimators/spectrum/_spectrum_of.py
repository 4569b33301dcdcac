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
    from spectral.curvature import epsilon_rank, spectrum_of

    def loss(params, batch):
        x, y = batch
        return jnp.mean((jnp.tanh(x @ params["w"]) - y) ** 2)

    params, batch = {"w": jnp.ones((3, 2))}, (jnp.ones((5, 3)), jnp.zeros((5, 2)))
    spectrum = spectrum_of(loss, params, batch, key=jax.random.key(0))
    epsilon_rank(spectrum, 0.1)
    ```

    Parameters and batch are data of one compiled program: the call that sees new shapes or a new
    function compiles, the next ones do not. So `loss` must outlive the call, such as a function at
    the top of a module; a lambda written in the loop is a new function each time. For one picture
    of a run take the same batch and the same key throughout.

    **Arguments:**

    - `loss`: `(params, batch)` to one floating-point number, the mean over the batch.
    - `params`: any pytree of floating-point arrays, such as the parameters of Flax or a dict, or an
        Equinox network as it is.
    - `batch`: any pytree, with data in arrays.
    - `estimator`: `estimator(operator, *, key)`, by default `Lanczos()`. For data in chunks, or
        another matrix, call it on the `Hessian` or `GaussNewton` of a `Risk`.

    **Raises:** `ValueError` if a number in `params` is not in a floating-point array, if an array
    of the batch is empty, if the loss is not a floating-point scalar, or if its Hessian is not
    finite (unless under `jax.jit`, where the spectrum is then NaN).
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(batch):
        if isinstance(leaf, jax.Array | np.ndarray) and leaf.size == 0:
            where = jax.tree_util.keystr(path) or "itself"
            raise ValueError(
                f"`batch` has an array of shape {leaf.shape} at {where}, but must hold at least "
                "one example: the mean over none is not a number."
            )
    on_batch = _OnBatch(loss, jax.tree.map(_as_array, batch))
    estimator = Lanczos() if estimator is None else estimator
    spectrum = estimator(Hessian(on_batch, params), key=key)
    ends = spectrum.range()
    if not any(isinstance(end, Tracer) for end in ends) and not np.all(np.isfinite(ends)):
        raise ValueError(
            f"The Hessian of `loss` is not finite at these `params`, where the loss is "
            f"{on_batch(params)}, but must be: look for a division by zero or training that has "
            "diverged."
        )
    return spectrum


class _OnBatch(eqx.Module):
    """A loss with its batch as data, which a closure would make a constant."""

    loss: Callable[[PyTree, PyTree], Any]
    batch: PyTree

    def __call__(self, params: PyTree) -> Any:
        return self.loss(params, self.batch)


def _as_array(leaf: Any) -> Any:
    # A Python number would be a part of the program, and a new one would compile anew.
    return jnp.asarray(leaf) if isinstance(leaf, float | np.ndarray | np.generic) else leaf
