"""Several runs as one program, laid out for the devices that are present."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from ._base._labels import coordinates
from ._base._readable import readable


Argument = TypeVar("Argument")


class Ensemble(eqx.Module):
    """Several networks, algorithms or keys of one structure, each for one run of a program.

    ```python
    keys = jax.random.split(jax.random.key(0), 3)
    nets = Ensemble.of([models.MLP(64, 10, width=4, depth=1, key=k) for k in keys])
    rates = Ensemble.of([algorithms.bp(lr) for lr in (0.01, 0.03, 0.1)])
    learners, history = train_continual(nets, stream, rates, key=Ensemble(keys))
    history["test_accuracy"]  # [tasks, members]
    learners[1].model  # the network of the second member
    ```

    Members can have labels: names, or the values of what distinguishes them. The history uses them
    as the coordinates of its axis over members. They are not part of the program.

    ```python
    lrs = (0.01, 0.03)
    rates = Ensemble.of([algorithms.bp(lr) for lr in lrs], labels=[{"lr": lr} for lr in lrs])
    _, history = train_continual(model, stream, rates)
    history.to_dataframe()  # columns task, member, test_accuracy, lr, ...
    ```

    Members may differ in the values of their arrays (weights, learning rates, strengths). Sizes and
    other static fields are part of the program and must agree.

    **Arguments:**

    - `stacked`: a pytree whose arrays all have a leading axis over members, as `eqx.filter_vmap`
      returns it. `Ensemble.of` stacks a list.
    - `labels`: coordinates of the members by name, such as `{"lr": (0.01, 0.03)}`. `Ensemble.of`
      makes them of one label for each member.

    **Raises:** `ValueError` if the leading axes differ, or if there are no arrays.
    """

    stacked: PyTree
    labels: dict[str, tuple[Any, ...]] = eqx.field(default_factory=dict, kw_only=True)

    __repr__ = readable

    def __check_init__(self):
        shapes = [x.shape for x in jax.tree.leaves(eqx.filter(self.stacked, eqx.is_array))]
        if not shapes:
            raise ValueError(
                f"`stacked` is {readable(self.stacked)}, which has no arrays, so its members would "
                "be equal: pass one of them itself, which all members of other ensembles share."
            )
        if () in shapes or len({shape[0] for shape in shapes}) != 1:
            raise ValueError(
                f"`stacked` has arrays of shapes {shapes}, but all must have the same "
                "leading axis over members: stack members with `Ensemble.of`."
            )

    @classmethod
    def of(
        cls,
        members: Sequence[PyTree],
        *,
        labels: Sequence[str] | Sequence[Mapping[str, Any]] | None = None,
    ) -> "Ensemble":
        """The ensemble of these members.

        **Arguments:**

        - `members`: networks, algorithms or keys.
        - `labels`: for each member its name, or a mapping such as `{"lr": 0.1, "width": 4}` of
          numbers or texts by name.

        **Raises:** `ValueError` if the list is empty, if a member differs from the first in more
        than the values of its arrays, or if the labels do not fit the members.
        """
        if not members:
            raise ValueError("`members` is empty, but must have at least one member: pass a list.")
        halves = [eqx.partition(member, eqx.is_array) for member in members]
        (first, static), *others = halves
        for i, (arrays, rest) in enumerate(others, start=1):
            if found := _difference(first, arrays) or _difference(static, rest):
                raise ValueError(
                    f"`members[{i}]` differs from `members[0]` in {found}, but members may differ "
                    "only in the values of their arrays: train it in a separate ensemble."
                )
        stack = lambda *leaves: jnp.stack(leaves)
        stacked = eqx.combine(jax.tree.map(stack, *(arrays for arrays, _ in halves)), static)
        return cls(stacked, labels=coordinates(labels, len(members)))

    def __len__(self) -> int:
        return jax.tree.leaves(eqx.filter(self.stacked, eqx.is_array))[0].shape[0]

    def __getitem__(self, index: int) -> PyTree:
        """One member."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"There is no member {index} among {len(self)}.")
        arrays, static = eqx.partition(self.stacked, eqx.is_array)
        return eqx.combine(jax.tree.map(lambda leaf: leaf[index], arrays), static)


def same_program(a: PyTree, b: PyTree) -> bool:
    """Whether two parts differ only in the values of their arrays, so that they can be members of
    one ensemble."""
    halves = [eqx.partition(part, eqx.is_array) for part in (a, b)]
    return not any(_difference(x, y) for x, y in zip(*halves, strict=True))


def count_members(*arguments: Any) -> int | None:
    """The number of members of the ensembles among the arguments; `None` without an ensemble.

    **Raises:** `ValueError` if two ensembles differ in their number of members.
    """
    sizes = {len(a) for a in arguments if isinstance(a, Ensemble)}
    if len(sizes) > 1:
        raise ValueError(
            f"There are ensembles of {' and '.join(map(str, sorted(sizes)))} members, but all must "
            "have the same number: pass ensembles of equal length. Other arguments are shared."
        )
    return next(iter(sizes), None)


def labels_of(*arguments: Any) -> dict[str, tuple[Any, ...]]:
    """The coordinates of the members of all ensembles among the arguments, and `member`, which
    counts them if they have no names. Empty without an ensemble.

    **Raises:** `ValueError` if two ensembles have different coordinates of one name.
    """
    size = count_members(*arguments)
    found: dict[str, tuple[Any, ...]] = {}
    for labels in (a.labels for a in arguments if isinstance(a, Ensemble)):
        for name, values in labels.items():
            if found.setdefault(name, values) != values:
                raise ValueError(
                    f"`labels` has {name!r} twice, {found[name]} and {values}, in two ensembles: "
                    "label one of them, or choose different names."
                )
    return {} if size is None else {"member": tuple(range(size))} | found


def unlabelled(argument: Argument) -> Argument:
    """The argument; if it is an ensemble, without labels, which would make another program."""
    return replace(argument, labels={}) if isinstance(argument, Ensemble) else argument


def spread(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` applied to each member of the arguments that are an `Ensemble`.

    All members share the other arguments. The new function returns an ensemble of results (a tuple
    of ensembles if `function` returns a tuple), or the plain result if no argument is an ensemble.

    On CPU members run one after the other (`jax.lax.map`): `jax.vmap` is slower there, and a mapped
    member has bit for bit the numbers of a single run. On other devices members are vmapped. In
    both cases they are spread evenly over all devices.
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
        static = []  # parts of the result that are not arrays, which `map` and `vmap` cannot return

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
    """`tree` with its arrays copied to every device that runs one of `size` members."""
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
    # All devices take the same number of members: repeat members to fill the last device.
    missing = -size % len(devices)
    owned = jax.tree.map(lambda leaf: jnp.concatenate([leaf, leaf[:missing]]), owned)
    members, everywhere = PartitionSpec("members"), PartitionSpec()
    made = jax.shard_map(
        block,
        mesh=_mesh(devices),
        in_specs=(members, everywhere),
        out_specs=members,
        check_vma=False,  # devices do not communicate
    )(owned, shared)
    return jax.tree.map(lambda leaf: leaf[:size], made)


def _devices(size: int) -> list[Any]:
    """The devices that run members."""
    default = jax.config.jax_default_device  # pyright: ignore[reportAttributeAccessIssue]
    if default is None:
        if jax.process_count() == 1:
            return jax.local_devices()[:size]
        _check_filled(size)
        return jax.devices()
    return jax.devices(default)[:1] if isinstance(default, str) else [default]


def _check_filled(size: int) -> None:
    """**Raises:** `ValueError` if the devices of several processes are more than the members."""
    if size < len(jax.devices()):
        raise ValueError(
            f"There are {size} members, but {len(jax.devices())} devices in {jax.process_count()} "
            "processes, and each device must have a member: start fewer processes, give each fewer "
            "devices, or train more members at once."
        )


def _mesh(devices: list[Any]) -> Mesh:
    return Mesh(np.array(devices), ("members",))


def _difference(a: PyTree, b: PyTree) -> str | None:
    """The first difference in structure, shapes, or parts that are not arrays; `None` if none."""
    if jax.tree.structure(a) != jax.tree.structure(b):
        return "the structure or a static field"
    leaves = zip(jax.tree_util.tree_leaves_with_path(a), jax.tree.leaves(b), strict=True)
    for (path, x), y in leaves:
        where = f"`{jax.tree_util.keystr(path).lstrip('.')}`"
        if eqx.is_array(x) and (x.shape, x.dtype) != (y.shape, y.dtype):
            return f"{where} ({x.dtype}{list(x.shape)} and {y.dtype}{list(y.shape)})"
        if not eqx.is_array(x) and x is not y and x != y:
            return f"{where} ({x!r} and {y!r})"
    return None
