"""Checks that an algorithm uses nothing but what a learner may know."""

from collections.abc import Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal
from jax.interpreters import partial_eval
from jaxtyping import PyTree

from ... import _core
from ..._keys import _OURS, Role
from ..experiment._experiment import Experiment
from ..experiment._settings import SettingsError


_HELD_OUT = ("test_", "validation_")  # in the names of a stream's arrays


def check_honest(experiment: Experiment) -> None:
    """Check that no algorithm of an experiment looks at its evaluation while it trains.

    The programs that begin a task and take a step are traced, and not run. Neither may derive the
    key of the evaluation, and the weights that they return may not depend on test or validation
    rows of the stream.

    What an algorithm knew before it was traced is not seen: the rules name it.

    **Raises:** `SettingsError` that names the algorithm and what it does.
    """
    model, model_state, key = eqx.filter_eval_shape(lambda: experiment.member(0))
    for name, algo in experiment.algorithms.items():
        given = model, model_state, experiment.stream, algo, key
        arrays, static = eqx.partition(given, _is_array)

        def one_step(arrays: PyTree, static: PyTree = static) -> PyTree:
            model, model_state, stream, algo, key = eqx.combine(arrays, static)
            run = _core.start_run(model, model_state, stream, algo, key)
            run = _core.begin_task(run, stream, algo, jnp.asarray(0), key)
            clock = _core.clock_at(stream, jnp.asarray(0), 0, 0)
            _, chunk, _ = stream.collect(run.stream, run.learner, clock, key=key)
            item = jax.tree.map(lambda leaf: leaf[0], chunk.items)
            run, _ = _core.take_step(run, stream, algo, chunk, item, clock, key=key)
            return eqx.filter((run.learner, run.algorithm), eqx.is_array)

        traced = jax.make_jaxpr(one_step)(arrays)
        if derives(traced.jaxpr, Role.EVALUATE):
            raise SettingsError(
                f"The algorithm {name!r} derives the key of the evaluation while it trains, which "
                "the rules of the suite forbid: use the keys that its methods receive."
            )
        used = partial_eval.dce_jaxpr(traced.jaxpr, [True] * len(traced.jaxpr.outvars))[1]
        paths = [
            jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(arrays)
        ]
        for path, needed in zip(paths, used, strict=True):
            if needed and any(word in path for word in _HELD_OUT):
                raise SettingsError(
                    f"The algorithm {name!r} changes weights by rows that are held out "
                    f"({path.rpartition('.')[2]}), which the rules of the suite forbid: use "
                    "`start.sample` and the minibatches of training."
                )


def derives(jaxpr: Jaxpr, role: Role) -> bool:
    """Whether a program derives a key of this role by `spectral._keys.derive`."""
    ours: set[Any] = set()
    for equation in jaxpr.eqns:
        if equation.primitive.name == "random_fold_in":
            source, index = equation.invars
            value = int(index.val) if isinstance(index, Literal) else None
            if value == role and source in ours:
                return True
            if value == _OURS:
                ours.update(equation.outvars)
    return any(derives(inner, role) for inner in _inner(jaxpr))


def _is_array(leaf: Any) -> bool:
    return eqx.is_array(leaf) or isinstance(leaf, jax.ShapeDtypeStruct)


def _inner(jaxpr: Jaxpr) -> Iterator[Jaxpr]:
    for equation in jaxpr.eqns:
        for value in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda x: isinstance(x, Jaxpr | ClosedJaxpr)
        ):
            if isinstance(value, ClosedJaxpr):
                yield value.jaxpr
            elif isinstance(value, Jaxpr):
                yield value
