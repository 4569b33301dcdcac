"""Networks of Flax, Linen or NNX, as Modules of Equinox."""

import importlib
import inspect
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ..._arguments import as_ints


class LinenNetwork(eqx.Module):
    """A module of Flax Linen with its parameters. Made by `from_flax`."""

    params: PyTree[Array]
    inference: bool
    module: Any = eqx.field(static=True)
    in_shape: tuple[int, ...] = eqx.field(static=True, converter=as_ints)

    def __call__(self, x: Float[Array, "..."], /, *, key: PRNGKeyArray | None = None) -> Any:
        # Linen takes `params` for all random numbers that have no key of their own.
        rngs = None if key is None else {"params": key}
        mode = _mode(self.module, inference=self.inference)
        return _with_taps(self.module.apply({"params": self.params}, x, rngs=rngs, **mode))

    def fresh(self, *, key: PRNGKeyArray) -> "LinenNetwork":
        """Returns a newly initialised network of the same shape."""
        params = _linen_params(self.module, self.in_shape, key)
        return LinenNetwork(params, self.inference, self.module, self.in_shape)


class NNXNetwork(eqx.Module):
    """A module of Flax NNX with its parameters. Made by `from_flax`."""

    params: PyTree[Array]
    rngs: PyTree[Array]  # the keys and counts of its random numbers
    inference: bool
    graph: Any = eqx.field(static=True)

    def __call__(self, x: Float[Array, "..."], /, *, key: PRNGKeyArray | None = None) -> Any:
        nnx = _flax("nnx")
        rngs = self.rngs if key is None else _reseeded(self.rngs, key)
        module = nnx.merge(self.graph, nnx.State(self.params), nnx.State(rngs))
        module.eval() if self.inference else module.train()
        return _with_taps(module(x))


def from_flax(
    module: Any, *, in_shape: tuple[int, ...] | None = None, key: PRNGKeyArray | None = None
) -> LinenNetwork | NNXNetwork:
    """Returns a module of Flax as a network for `train_continual`.

    The parameters become arrays of the network, so optimisers, penalties, curvature and probes of
    weights work on them. The module is called on one example, and returns outputs or
    `(outputs, taps)`. Flax has the channels of images last, whereas streams have them first:
    transpose in the module. Dropout gets a new key for each example, and is off in evaluation and
    in probes: in Linen through an argument `deterministic`, `train` or `training` of `__call__`, in
    NNX through `module.eval()`. Running statistics are not supported: use `models.BatchNorm`.

    ```python
    import flax.linen
    import jax
    from spectral import models

    model = models.from_flax(flax.linen.Dense(2), in_shape=(3,), key=jax.random.key(0))
    model(jax.numpy.ones(3))  # [2], {}
    ```

    **Arguments:**

    - `module`: a `flax.linen.Module`, whose parameters are drawn here, or a `flax.nnx.Module`,
      which already has its parameters. It is not changed.
    - `in_shape`, `key`: for Linen, the shape of one example and the key of the parameters. Such a
      network has a method `fresh`.

    **Raises:** `ImportError` if Flax is not installed, `TypeError` for an object of another type,
    `ValueError` if `in_shape` and `key` are left out for Linen or given for NNX, or if the module
    has variables that are neither parameters nor keys, such as running statistics.
    """
    linen, nnx = _flax("linen"), _flax("nnx")
    if isinstance(module, linen.Module):
        if in_shape is None or key is None:
            raise ValueError(
                f"`in_shape` is {in_shape} and `key` is {key}, but a module of Linen has no "
                "parameters yet: pass the shape of one example and a key."
            )
        return LinenNetwork(_linen_params(module, in_shape, key), False, module, tuple(in_shape))
    if not isinstance(module, nnx.Module):
        raise TypeError(
            f"`module` is a {type(module).__name__}, but must be a module of Flax Linen or NNX: "
            "pass modules of Equinox to `train_continual` as they are."
        )
    if in_shape is not None or key is not None:
        raise ValueError(
            f"`in_shape` is {in_shape} and `key` is {key}, but a module of NNX already has its "
            "parameters: leave both out."
        )
    graph, params, rngs, others = nnx.split(module, nnx.Param, nnx.RngState, ...)
    if others := nnx.to_pure_dict(others):
        _reject(module, list(others))
    return NNXNetwork(nnx.to_pure_dict(params), nnx.to_pure_dict(rngs), False, graph)


def _linen_params(module: Any, in_shape: tuple[int, ...], key: PRNGKeyArray) -> PyTree[Array]:
    variables = module.init(key, jnp.zeros(in_shape), **_mode(module, inference=True))
    if others := sorted(variables.keys() - {"params"}):
        _reject(module, others)
    return variables.get("params", {})


def _mode(module: Any, *, inference: bool) -> dict[str, bool]:
    """The arguments of a module of Linen that say whether it is trained."""
    known = {"deterministic": inference, "train": not inference, "training": not inference}
    taken = inspect.signature(type(module).__call__).parameters
    return {name: value for name, value in known.items() if name in taken}


def _reseeded(rngs: PyTree[Array], key: PRNGKeyArray) -> PyTree[Array]:
    """A new key for each of the streams of random numbers, with the counts at zero."""
    leaves, structure = jax.tree.flatten(rngs)
    is_key = lambda leaf: jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    keys = jax.random.split(key, max(len(leaves), 1))
    new = [
        k if is_key(leaf) else jnp.zeros_like(leaf)
        for leaf, k in zip(leaves, keys[: len(leaves)], strict=True)
    ]
    return jax.tree.unflatten(structure, new)


def _with_taps(result: Any) -> Any:
    has_taps = isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], dict)
    return result if has_taps else (result, {})


def _reject(module: Any, names: list[str]) -> None:
    raise ValueError(
        f"`module` is a {type(module).__name__} with variables that are not parameters, in "
        f"{', '.join(map(str, names))}, but only parameters are kept: use norms without running "
        "statistics, or make the network in Equinox with `models.BatchNorm`."
    )


def _flax(part: str) -> Any:
    try:
        return importlib.import_module(f"flax.{part}")
    except ImportError as error:
        raise ImportError(
            "`from_flax` needs the package flax, which is not installed: run "
            "`pip install 'spectral-plasticity[flax]'`."
        ) from error
