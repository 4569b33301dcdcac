"""Diagonal blocks of a matrix, for example the parameters of one layer."""

import fnmatch
from collections.abc import Callable, Mapping, Sequence
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
    Block(hessian, lambda m: m.layers[0]).dim  # 16
    Block(hessian, lambda m: [layer.bias for layer in m.layers]).dim  # 6
    ```

    A product costs as much as one with the whole matrix. The vectors are those of the whole
    matrix, with `None` for the parameters that are left out.

    All estimators accept blocks: `GramEigh` those of a `GaussNewton` or a `Fisher`, and
    `KroneckerEigh` those of a `KFAC` (any parameters) or an `EKFAC` (whole layers).

    **Arguments:**

    - `operator`: any operator, including sums and blocks.
    - `where`: a function as for `eqx.tree_at`. It receives a pytree with the structure of the
        vectors and returns the part, or a sequence of the parts, to keep. `None` is ignored.

    **Raises:** `ValueError` if `where` returns no parameters, or anything that is not part of the
    model.
    """

    operator: AbstractOperator
    kept: PyTree[bool]

    def __init__(self, operator: AbstractOperator, where: Callable[[PyTree], Any]):
        marks = jax.tree.map(lambda _: object(), operator.structure)
        kept = jax.tree.leaves(where(marks))
        if not kept:
            raise ValueError(
                f"`where` returned {where(operator.structure)!r}, which has no parameters, but a "
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
        """The block of the marked parameters of this block, in the form of `reduced`."""
        every = eqx.combine(kept, jax.tree.map(lambda _: False, self.kept))
        return _narrowed(self.operator, every)

    def reduced(self) -> AbstractOperator:
        """The same matrix as an operator of the type of the whole matrix.

        For example, the block of a `GaussNewton` becomes a `GaussNewton` with the other parameters
        held constant.

        **Raises:** `TypeError` if the whole matrix is known only by its products, such as a
        `Hessian`.
        """
        return _narrowed(self.operator, self.kept)


def _narrowed(operator: AbstractOperator, kept: PyTree[bool]) -> AbstractOperator:
    within: Any = getattr(operator, "within", None)
    if within is None:
        raise TypeError(
            f"A block of a {type(operator).__name__} is known only by its products, but "
            "`GramEigh` and `KroneckerEigh` need a block of a `GaussNewton`, `Fisher`, `KFAC` or "
            "`EKFAC`: use another estimator, such as `Lanczos()`."
        )
    return within(kept)


def reduce_block(operator: AbstractOperator) -> AbstractOperator:
    """`operator.reduced()` for a `Block`; any other operator unchanged."""
    return operator.reduced() if isinstance(operator, Block) else operator


Groups = Mapping[str, str | Sequence[str]] | Callable[[str], str]


def layer_blocks(operator: AbstractOperator, *, groups: Groups | None = None) -> dict[str, Block]:
    """The diagonal block of every layer, by the path to the layer, or of every group of layers.

    A layer is a node that directly contains arrays. The weight and the bias of an `eqx.nn.Linear`
    form one block, as do the arrays of a dict within a dict. Each array at the top level is a
    separate block.

    ```python
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    from spectral.curvature import Hessian, layer_blocks

    model = eqx.nn.MLP(3, 2, 4, 2, key=jax.random.key(0))
    hessian = Hessian(lambda m: jnp.sum(m(jnp.ones(3)) ** 2), model)
    {n: b.dim for n, b in layer_blocks(hessian).items()}  # layers.0: 16, layers.1: 20, layers.2: 10
    groups = {"first": "layers.0", "rest": "layers.*"}
    {n: b.dim for n, b in layer_blocks(hessian, groups=groups).items()}  # first: 16, rest: 30
    ```

    **Arguments:**

    - `operator`: any operator.
    - `groups`: which layers form a block together. Either a mapping from the names of groups to the
        paths of layers, in which `*` stands for any text, or to several of these; a layer belongs
        to the first group that has it. Or a function from the path of a layer to the name of its
        group, such as `spectral.models.TransformerParts()`. Layers without a group, or with the
        name "", are left out. By default each layer is a group.

    **Raises:** `ValueError` if a group of the mapping has no layers, or if there are no groups.
    """
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(operator.structure)]
    text = lambda layer: jax.tree_util.keystr(layer, simple=True, separator=".")
    layers = {text(layer): layer for layer in map(layer_of, paths)}
    return {
        name: Block(operator, _Leaves(tuple(layers[path] for path in members)))
        for name, members in _grouped(list(layers), groups).items()
    }


def _grouped(layers: list[str], groups: Groups | None) -> dict[str, list[str]]:
    """The paths of the layers of each group, by its name."""
    found: dict[str, list[str]] = {}
    if isinstance(groups, Mapping):
        found = {name: [] for name in groups}
    for path in layers:
        name = path if groups is None else _group_of(path, groups)
        if name or groups is None:  # a single array has the empty path
            found.setdefault(name, []).append(path)
    if empty := [name for name, members in found.items() if not members]:
        raise ValueError(
            f"`groups` has {empty[0]!r}, which has no layers that an earlier group does not have, "
            f"but each group must have some: choose among {layers}."
        )
    if not found:
        raise ValueError(
            f"`groups` is {groups!r}, which puts no layer into a group, but there must be some: "
            f"name groups for some of {layers}."
        )
    return found


def _group_of(path: str, groups: Groups) -> str:
    if not isinstance(groups, Mapping):
        return groups(path)
    for name, patterns in groups.items():
        patterns = [patterns] if isinstance(patterns, str) else patterns
        if any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns):
            return name
    return ""


def layer_of(path: tuple) -> tuple:
    """The path to the layer of an array, which is the node that directly contains it."""
    return path[:-1] if len(path) > 1 else path


class _Leaves(eqx.Module):
    """The leaves of a pytree that belong to some layers."""

    layers: tuple[tuple, ...]

    def __call__(self, tree: PyTree) -> list:
        found = jax.tree_util.tree_leaves_with_path(tree)
        return [leaf for path, leaf in found if layer_of(path) in self.layers]
