"""Gaussian noise for every weight at every step, from the fastest generator that is sound."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree, UInt32


# Bits that are counted; the other eight of each word fill the gaps between the counts.
_COUNTED = 24
_VARIANCE = _COUNTED / 4 + 1 / 12
_EXCESS_KURTOSIS = -_COUNTED / 8 / _VARIANCE**2


def gaussian_like(tree: PyTree, *, key: PRNGKeyArray) -> PyTree[Float[Array, "..."]]:
    """Independent numbers of mean 0 and variance 1 in the shapes and types of the arrays of `tree`.

    `jax.random.normal` takes 18 ms for a million numbers on a CPU core, twenty times the gradient
    step that the noise is for; this takes 2.7. Two words drawn from `key` seed a counter that is
    scrambled twice by an integer hash of full avalanche (Wellons, *Hash prospector*, 2018), and a
    word becomes a number by counting 24 of its bits, which is binomial and so nearly normal, adding
    the other 8 as a fraction, and correcting the fourth moment (Cornish and Fisher). The
    distribution function is within 0.005 of the normal one, and no number exceeds 5.6 or so. Good
    for perturbing weights; elsewhere use `jax.random`.
    """
    leaves, structure = jax.tree.flatten(tree)
    drawn = [
        _normal(_words(leaf.size, key=jax.random.fold_in(key, i))).reshape(leaf.shape)
        for i, leaf in enumerate(leaves)
    ]
    drawn = [d.astype(leaf.dtype) for d, leaf in zip(drawn, leaves, strict=True)]
    return jax.tree.unflatten(structure, drawn)


def _words(count: int, *, key: PRNGKeyArray) -> UInt32[Array, " n"]:
    first, second = jax.random.bits(key, (2,), jnp.uint32)
    return _scramble(_scramble(jax.lax.iota(jnp.uint32, count) + first) + second)


def _scramble(x: UInt32[Array, " n"]) -> UInt32[Array, " n"]:
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)


def _normal(words: UInt32[Array, " n"]) -> Float[Array, " n"]:
    # Through int32: CPUs convert signed integers to floats several at a time.
    number = lambda x: x.astype(jnp.int32).astype(jnp.float32)
    count = number(jax.lax.population_count(words >> 8)) - _COUNTED / 2
    fraction = (number(words & 0xFF) - 127.5) / 256
    x = (count + fraction) / _VARIANCE**0.5
    return x - _EXCESS_KURTOSIS / 24 * (x**3 - 3 * x)
