"""A diagonal block of a matrix: the parameters of one layer, say."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from ._operator import AbstractOperator


class Block(AbstractOperator):
    """The rows and columns of a matrix that belong to some of its parameters.

    ```python
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    from spectral.curvature import Block, Hessian

    model = eqx.nn.MLP(3, 2, 4, 1, key=jax.random.key(0))
    hessian = Hessian(lambda m: jnp.sum(m(jnp.ones(3)) ** 2), model)
    Block(hessian, lambda m: m.layers[0]).dense()  # [16, 16]
    Block(hessian, lambda m: [layer.bias for layer in m.layers]).dense()  # [6, 6]
    ```

    A product costs as much as one with the whole matrix. The vectors are those of the whole
    matrix with `None` for what is left out.

    All estimators take blocks: `GramEigh` those of a `GaussNewton` or a `Fisher`, and
    `KroneckerEigh` those of a `KFAC` (any parameters) or an `EKFAC` (whole layers).

    **Arguments:**

    - `operator`: any operator, sums and blocks included.
    - `where`: from something with the structure of the vectors to the part, or a sequence of the
        parts, that are kept, as for `eqx.tree_at`. What is `None` is passed over.

    **Raises:** `ValueError` if this keeps nothing, or something that is no part of the model.
    """

    operator: AbstractOperator
    kept: PyTree[bool]

    def __init__(self, operator: AbstractOperator, where: Callable[[PyTree], Any]):
        marks = jax.tree.map(lambda _: object(), operator.structure)
        kept = jax.tree.leaves(where(marks))
        if not kept:
            raise ValueError(
                f"`where` keeps {where(operator.structure)!r}, which has no parameters, but a "
                "block must have some: return a layer or an array of the model it is given."
            )
        self.operator = operator
        self.kept = jax.tree.map(lambda mark: any(mark is k for k in kept), marks)
        if sum(jax.tree.leaves(self.kept)) != len(kept):
            raise ValueError(
                f"`where` returned {where(operator.structure)!r}, but must return parts of what it "
                "is given, each once: return layers or arrays of the model."
            )

    @property
    def structure(self) -> PyTree[jax.ShapeDtypeStruct]:
        return eqx.filter(self.operator.structure, self.kept)

    def product(self) -> Callable[[PyTree], PyTree]:
        product = self.operator.product()
        rest = eqx.filter(self.operator.structure, self.kept, inverse=True)

        def apply(vector: PyTree) -> PyTree:
            zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), rest)
            return eqx.filter(product(eqx.combine(vector, zeros)), self.kept)

        return apply

    def within(self, kept: PyTree[bool]) -> AbstractOperator:
        """The block of those parameters of this block that are marked, as `reduced` gives it."""
        every = eqx.combine(kept, jax.tree.map(lambda _: False, self.kept))
        return _narrowed(self.operator, every)

    def reduced(self) -> AbstractOperator:
        """The same matrix as an operator of the kind that it is a block of, with its structure:
        that of a `GaussNewton` is a `GaussNewton` with the other parameters held constant.

        **Raises:** `TypeError` for a block of a matrix that is known by its products alone, such as
        a `Hessian`.
        """
        return _narrowed(self.operator, self.kept)


def _narrowed(operator: AbstractOperator, kept: PyTree[bool]) -> AbstractOperator:
    within: Any = getattr(operator, "within", None)
    if within is None:
        raise TypeError(
            f"A block of a {type(operator).__name__} is known by its products alone, but "
            "`GramEigh` and `KroneckerEigh` need one of a `GaussNewton`, `Fisher`, `KFAC` or "
            "`EKFAC`: use another estimator, such as `Lanczos()`."
        )
    return within(kept)


def layer_blocks(operator: AbstractOperator) -> dict[str, Block]:
    """The diagonal block of every layer, by the path to the layer.

    A layer is what directly holds arrays: the weight and the bias of an `eqx.nn.Linear` are one
    block, as are those of a dict within a dict. Arrays that the whole holds directly are blocks of
    their own.

    ```python
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    from spectral.curvature import Hessian, Lanczos, layer_blocks

    model = eqx.nn.MLP(3, 2, 4, 1, key=jax.random.key(0))
    hessian = Hessian(lambda m: jnp.sum(m(jnp.ones(3)) ** 2), model)
    for name, block in layer_blocks(hessian).items():  # layers.0, layers.1
        spectrum = Lanczos(order=5)(block, key=jax.random.key(1))
    ```
    """
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(operator.structure)]
    layers = dict.fromkeys(_layer_of(path) for path in paths)
    name = lambda layer: jax.tree_util.keystr(layer, simple=True, separator=".")
    return {name(layer): Block(operator, _Leaves(layer)) for layer in layers}


def _layer_of(path: tuple) -> tuple:
    return path[:-1] if len(path) > 1 else path


class _Leaves(eqx.Module):
    """The leaves of a pytree that belong to one layer."""

    layer: tuple

    def __call__(self, tree: PyTree) -> list:
        found = jax.tree_util.tree_leaves_with_path(tree)
        return [leaf for path, leaf in found if _layer_of(path) == self.layer]
