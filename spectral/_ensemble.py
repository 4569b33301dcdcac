"""Several runs as one program, laid out as the devices ask for it."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree


class Ensemble(eqx.Module):
    """Several networks, algorithms or keys of one structure, for as many runs in one program.

    ```python
    keys = jax.random.split(jax.random.key(0), 3)
    nets = Ensemble.of([models.MLP(64, 10, width=4, depth=1, key=k) for k in keys])
    rates = Ensemble.of([algorithms.bp(lr) for lr in (0.01, 0.03, 0.1)])
    learners, history = train_continual(nets, stream, rates, key=Ensemble(keys))
    history["test_accuracy"]  # [tasks, members]
    learners[1].model  # of the second member
    ```

    Members may differ in their numbers (weights, rates, penalties), not in sizes and other static
    fields: those are part of the program.

    **Arguments:**

    - `stacked`: a pytree whose arrays all have a leading axis over members, such as what
      `eqx.filter_vmap` returns. `Ensemble.of` stacks a list.

    **Raises:** `ValueError` for arrays whose leading axes differ, or if there is none.
    """

    stacked: PyTree

    def __check_init__(self):
        shapes = [x.shape for x in jax.tree.leaves(eqx.filter(self.stacked, eqx.is_array))]
        if not shapes or () in shapes or len({shape[0] for shape in shapes}) != 1:
            raise ValueError(
                f"`stacked` has arrays of shapes {shapes}, but must have one at least, and all "
                "must have one leading axis over members: stack members by `Ensemble.of`."
            )

    @classmethod
    def of(cls, members: Sequence[PyTree]) -> "Ensemble":
        """The ensemble of these members.

        **Raises:** `ValueError` if there are none, or if one differs from the first in more than
        the numbers in its arrays.
        """
        if not members:
            raise ValueError("`members` is empty, but must have one at least: pass a list of them.")
        halves = [eqx.partition(member, eqx.is_array) for member in members]
        (first, static), *others = halves
        for i, (arrays, rest) in enumerate(others, start=1):
            if found := _difference(first, arrays) or _difference(static, rest):
                raise ValueError(
                    f"`members[{i}]` differs from `members[0]` in {found}, but members may differ "
                    "in the numbers of their arrays alone: train it in an ensemble of its own."
                )
        stack = lambda *leaves: jnp.stack(leaves)
        return cls(eqx.combine(jax.tree.map(stack, *(arrays for arrays, _ in halves)), static))

    def __len__(self) -> int:
        return jax.tree.leaves(eqx.filter(self.stacked, eqx.is_array))[0].shape[0]

    def __getitem__(self, index: int) -> PyTree:
        """One member."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"There is no member {index} among {len(self)}.")
        arrays, static = eqx.partition(self.stacked, eqx.is_array)
        return eqx.combine(jax.tree.map(lambda leaf: leaf[index], arrays), static)


def same_program(a: PyTree, b: PyTree) -> bool:
    """Whether two parts differ in the numbers of their arrays alone, and so can be members of one
    ensemble."""
    halves = [eqx.partition(part, eqx.is_array) for part in (a, b)]
    return not any(_difference(x, y) for x, y in zip(*halves, strict=True))


def count_members(*arguments: Any) -> int | None:
    """The members of the ensembles among the arguments; `None` if there is no ensemble.

    **Raises:** `ValueError` if they have different numbers of members.
    """
    sizes = {len(a) for a in arguments if isinstance(a, Ensemble)}
    if len(sizes) > 1:
        raise ValueError(
            f"There are ensembles of {' and '.join(map(str, sorted(sizes)))} members, but all must "
            "have as many: what is no ensemble is shared by all members."
        )
    return next(iter(sizes), None)


def spread(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, carried out for every member of the arguments that are an `Ensemble`.

    Other arguments are shared by all members. Returns an ensemble of results (a tuple of ensembles
    for a tuple of results), or the plain result where no argument is an ensemble.

    On CPU members are mapped, one after the other: `vmap` is slower there, and a mapped member gets
    the same numbers as alone, to the bit. On other devices they are vmapped. Either way they are
    spread evenly over all devices.
    """

    @functools.wraps(function)
    def of_members(*arguments: Any) -> Any:
        size = count_members(*arguments)
        if size is None:
            return function(*arguments)
        owned = [a.stacked if isinstance(a, Ensemble) else None for a in arguments]
        shared = [None if isinstance(a, Ensemble) else a for a in arguments]
        owned_arrays, owned_static = eqx.partition(owned, eqx.is_array)
        shared_arrays, shared_static = eqx.partition(shared, eqx.is_array)
        static = []  # of the result: it does not pass through a transformation of JAX

        def one(own: PyTree, common: PyTree) -> PyTree:
            own = eqx.combine(own, owned_static)
            common = eqx.combine(common, shared_static)
            mine = [
                o if isinstance(a, Ensemble) else c
                for a, o, c in zip(arguments, own, common, strict=True)
            ]
            made, rest = eqx.partition(function(*mine), eqx.is_array)
            static.append(rest)
            return made

        made = _lay_out(one, owned_arrays, shared_arrays, size)
        made = eqx.combine(made, static[-1])
        return tuple(map(Ensemble, made)) if type(made) is tuple else Ensemble(made)

    return of_members


def replicate(tree: PyTree, size: int) -> PyTree:
    """The arrays of `tree`, which `size` members share, on every device that has a member."""
    devices = _devices(size)
    if len(devices) == 1:
        return tree
    arrays, static = eqx.partition(tree, eqx.is_array)
    everywhere = NamedSharding(_mesh(devices), PartitionSpec())
    return eqx.combine(jax.device_put(arrays, everywhere), static)


def _lay_out(one: Callable[..., PyTree], owned: PyTree, shared: PyTree, size: int) -> PyTree:
    devices = _devices(size)

    def block(owned: PyTree, shared: PyTree) -> PyTree:
        if devices[0].platform == "cpu":
            return jax.lax.map(lambda own: one(own, shared), owned)
        return jax.vmap(one, in_axes=(0, None))(owned, shared)

    if len(devices) == 1:
        return block(owned, shared)
    # Devices take equal parts: what is missing is made up by repeating members.
    missing = -size % len(devices)
    owned = jax.tree.map(lambda leaf: jnp.concatenate([leaf, leaf[:missing]]), owned)
    members, everywhere = PartitionSpec("members"), PartitionSpec()
    made = jax.shard_map(
        block,
        mesh=_mesh(devices),
        in_specs=(members, everywhere),
        out_specs=members,
        check_vma=False,  # no device asks another for anything
    )(owned, shared)
    return jax.tree.map(lambda leaf: leaf[:size], made)


def _devices(size: int) -> list[Any]:
    """Those that get a member."""
    default = jax.config.jax_default_device  # pyright: ignore[reportAttributeAccessIssue]
    if default is None:
        return jax.local_devices()[:size]
    return jax.devices(default)[:1] if isinstance(default, str) else [default]


def _mesh(devices: list[Any]) -> Mesh:
    return Mesh(np.array(devices), ("members",))


def _difference(a: PyTree, b: PyTree) -> str | None:
    """The first place at which structure, shapes or what is no array differ."""
    if jax.tree.structure(a) != jax.tree.structure(b):
        return "its structure or a static field"
    leaves = zip(jax.tree_util.tree_leaves_with_path(a), jax.tree.leaves(b), strict=True)
    for (path, x), y in leaves:
        where = f"`{jax.tree_util.keystr(path).lstrip('.')}`"
        if eqx.is_array(x) and (x.shape, x.dtype) != (y.shape, y.dtype):
            return f"{where}, of {x.dtype}{list(x.shape)} and {y.dtype}{list(y.shape)}"
        if not eqx.is_array(x) and x is not y and x != y:
            return f"{where}, {x!r} and {y!r}"
    return None
