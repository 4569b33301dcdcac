"""The normalisations of transformers."""

from collections.abc import Callable

import equinox as eqx


Norm = eqx.nn.LayerNorm | eqx.nn.RMSNorm
MakeNorm = Callable[[int], eqx.nn.LayerNorm] | Callable[[int], eqx.nn.RMSNorm]


def layer_norm(num_units: int) -> eqx.nn.LayerNorm:
    """LayerNorm with a scale and a shift (Ba et al., 2016), for `norm=` of a transformer.

    ```python
    layer_norm(8)(jnp.arange(8.0))   # mean 0, variance 1
    ```
    """
    return eqx.nn.LayerNorm(num_units)


def rms_norm(num_units: int) -> eqx.nn.RMSNorm:
    """RMSNorm with a scale and without a shift (Zhang & Sennrich, 2019), for `norm=` of a
    transformer.

    ```python
    rms_norm(8)(jnp.arange(8.0))   # mean square 1
    ```
    """
    return eqx.nn.RMSNorm(num_units, use_bias=False)


def made_norm(make: MakeNorm, num_units: int) -> Norm:
    """The norm that `make` returns for `num_units` units.

    **Raises:** `TypeError` if `make` is not a function, or returns anything else than a norm of
    Equinox with a scale.
    """
    if not callable(make):
        raise TypeError(
            f"`norm` is {make!r}, but must be a function that returns a norm: pass `layer_norm` or "
            "`rms_norm` of `spectral.models`."
        )
    found = make(num_units)
    if not isinstance(found, eqx.nn.LayerNorm | eqx.nn.RMSNorm) or found.weight is None:
        raise TypeError(
            f"`norm` returned a {type(found).__name__} for {num_units} units, but must return an "
            "`eqx.nn.LayerNorm` or an `eqx.nn.RMSNorm` with a scale: pass `layer_norm` or "
            "`rms_norm` of `spectral.models`."
        )
    return found
