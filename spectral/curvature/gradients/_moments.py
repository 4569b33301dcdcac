"""The mean of the gradients of single examples, and their spread around it."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PyTree, Real

from ..._arguments import as_int, check_count
from ..._base._precision import in_single
from ..._base._readable import readable
from ..._base._scaling import joint_norm
from ..operators._block import layer_of


class GradientMoments(eqx.Module):
    """The gradient g = mean g_i of N examples and the trace of its covariance, V1 = mean
    ||g_i - g||^2.

    The roots are kept, because the squares of small gradients leave the range of float32. Plug-in
    numbers are exact for these examples. As an estimate for the distribution that they come from,
    `norm**2` is too large by V1 / N; `unbiased_squared_norm` and `unbiased_variance` are unbiased.
    """

    norm: Float[Array, ""]  # ||g||
    deviation: Float[Array, ""]  # the root of V1
    num_examples: int = eqx.field(static=True, converter=as_int)

    __repr__ = readable

    @property
    def unbiased_squared_norm(self) -> Float[Array, ""]:
        """(||sum g_i||^2 - sum ||g_i||^2) / (N (N - 1)), the mean of the inner products of two
        different examples. It may be 0 or negative; a ratio to it is then undefined. NaN for one
        example."""
        if self.num_examples == 1:
            return jnp.full_like(self.norm, jnp.nan)
        return self.norm**2 - self.deviation**2 / (self.num_examples - 1)

    @property
    def unbiased_variance(self) -> Float[Array, ""]:
        """V1 N / (N - 1); NaN for one example."""
        if self.num_examples == 1:
            return jnp.full_like(self.norm, jnp.nan)
        return self.deviation**2 * (self.num_examples / (self.num_examples - 1))


@eqx.filter_jit
def gradient_moments(gradients: PyTree[Float[Array, "examples ..."]]) -> GradientMoments:
    """The norm of the mean gradient, and the root of the variance around it.

    The variance is that of the centred gradients, so it keeps its digits if all are nearly equal.

    ```python
    import jax.numpy as jnp
    from spectral.curvature import gradient_moments

    moments = gradient_moments(jnp.array([[2.0, 0.0], [0.0, 2.0]]))
    moments.norm**2, moments.deviation**2  # 2, 2
    moments.unbiased_squared_norm  # 0
    ```

    **Arguments:**

    - `gradients`: the gradients of all examples, for example from `example_gradients`, or some of
        their arrays. If the loss has several labels for each example, multiply them by
        `risk.num_examples / risk.num_labels`, so that their mean is the gradient of the risk.

    **Raises:** `ValueError` if there are no arrays.
    """
    leaves = jax.tree.leaves(in_single(gradients))
    if not leaves:
        raise ValueError(
            f"`gradients` is {gradients!r}, but must have at least one array, `[examples, ...]`: "
            "pass the result of `example_gradients`."
        )
    means = [jnp.mean(leaf, axis=0) for leaf in leaves]
    centred = [leaf - mean[None] for leaf, mean in zip(leaves, means, strict=True)]
    count = leaves[0].shape[0]
    return GradientMoments(joint_norm(means), joint_norm(centred) / count**0.5, count)


def layer_moments(gradients: PyTree[Float[Array, "examples ..."]]) -> dict[str, GradientMoments]:
    """`gradient_moments` of each layer, by the path to the layer, as in `layer_blocks`."""
    layers: dict[str, list[Array]] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradients):
        name = jax.tree_util.keystr(layer_of(path), simple=True, separator=".")
        layers.setdefault(name, []).append(leaf)
    return {name: gradient_moments(leaves) for name, leaves in layers.items()}


def moments_of_minibatches(
    small: Real[ArrayLike, ""],
    large: Real[ArrayLike, ""],
    *,
    small_size: int,
    large_size: int,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Unbiased estimates of ||g||^2 and V1 from the squared norms of the gradients of a small and a
    large minibatch (McCandlish et al., 2018, appendix A.1).

    With b examples in the small and B in the large minibatch they are
    (B ||g_B||^2 - b ||g_b||^2) / (B - b) and (||g_b||^2 - ||g_B||^2) / (1/b - 1/B). Average each
    over many minibatches before dividing the second by the first: the noise scale is that ratio.

    ```python
    from spectral.curvature import moments_of_minibatches

    moments_of_minibatches(4.0, 3.0, small_size=1, large_size=2)  # (2, 2)
    ```

    **Raises:** `ValueError` if the sizes are not integers with 1 <= small_size < large_size.
    """
    check_count("small_size", small_size)
    check_count("large_size", large_size, minimum=small_size + 1)
    small, large = jnp.asarray(small, float), jnp.asarray(large, float)
    squared_norm = (large_size * large - small_size * small) / (large_size - small_size)
    return squared_norm, (small - large) / (1 / small_size - 1 / large_size)
