"""Fast Gaussian noise for every weight at every step."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree, UInt32


# 24 bits of each word are counted; the other eight fill the gaps between the counts.
_COUNTED = 24
_VARIANCE = _COUNTED / 4 + 1 / 12
_EXCESS_KURTOSIS = -_COUNTED / 8 / _VARIANCE**2


def gaussian_like(tree: PyTree, *, key: PRNGKeyArray) -> PyTree[Float[Array, "..."]]:
    """Returns independent samples of mean 0 and variance 1 in the shapes and dtypes of `tree`.

    On a CPU core `jax.random.normal` takes 18 ms for a million samples, twenty times as long as the
    gradient step that the noise is for; this takes 2.7 ms. Two words drawn from `key` seed a
    counter, which an integer hash of full avalanche scrambles twice (Wellons, *Hash prospector*,
    2018). To turn a word into a sample, 24 of its bits are counted, which gives a binomial and so
    nearly normal number; the other 8 bits are added as a fraction, and the fourth moment is
    corrected (Cornish and Fisher). The distribution function is within 0.005 of the normal one, and
    no sample exceeds 5.6 or so in size. This is good enough to perturb weights; use `jax.random`
    for anything else.
    """
    leaves, structure = jax.tree.flatten(tree)
    drawn = [
        _normal(_words(leaf.size, key=jax.random.fold_in(key, i)))
        .reshape(leaf.shape)
        .astype(leaf.dtype)
        for i, leaf in enumerate(leaves)
    ]
    return jax.tree.unflatten(structure, drawn)


def _words(count: int, *, key: PRNGKeyArray) -> UInt32[Array, " n"]:
    first, second = jax.random.bits(key, (2,), jnp.uint32)
    return _scramble(_scramble(jax.lax.iota(jnp.uint32, count) + first) + second)


def _scramble(x: UInt32[Array, " n"]) -> UInt32[Array, " n"]:
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)


def _normal(words: UInt32[Array, " n"]) -> Float[Array, " n"]:
    # Via int32, because CPUs convert several signed integers to floats at a time.
    as_float = lambda x: x.astype(jnp.int32).astype(jnp.float32)
    count = as_float(jax.lax.population_count(words >> 8)) - _COUNTED / 2
    fraction = (as_float(words & 0xFF) - 127.5) / 256
    x = (count + fraction) / _VARIANCE**0.5
    return x - _EXCESS_KURTOSIS / 24 * (x**3 - 3 * x)
