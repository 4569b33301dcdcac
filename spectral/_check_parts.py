"""Checks that the arguments of `train_continual` fit together, before anything is compiled."""

import math
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import PRNGKeyArray, PyTree

from . import _programs
from ._arguments import check_count, check_kind, check_one_key
from ._base._quantity import described, Quantity
from ._core import Run
from ._ensemble import Ensemble
from ._measuring import networks, run_calibration, run_probe
from ._types import Learner
from .algorithms import Algorithm
from .curvature import check_batch_independent
from .probes import AbstractBranchProbe, AbstractProbe
from .tasks import AbstractTaskStream


_EXAMPLES = 4  # on which a network is evaluated


def check_parts(
    model: PyTree,
    stream: AbstractTaskStream,
    algo: Algorithm | Ensemble,
    *,
    key: PRNGKeyArray | Ensemble | None = None,
    probes: Mapping[str, AbstractProbe] | None = None,
    model_state: eqx.nn.State | Ensemble | None = None,
    segment_tasks: int | None = None,
    batch_dependent: bool = False,
) -> dict[str, Quantity]:
    """Check that the arguments of `train_continual` fit together.

    All programs are traced, as a run traces them; none is compiled or run. A network with a model
    state is evaluated on a few random examples.

    **Returns:** what the columns of the history are that are meant to be shown: those of the
    stream, of the algorithm and of the probes.

    **Raises:** the `ValueError` or `TypeError` of the part that does not fit. An error in a probe
    names the probe.
    """
    key = jax.random.key(0) if key is None else key
    if not isinstance(key, Ensemble):
        check_one_key(key)
    probes = {} if probes is None else probes
    check_kind("stream", stream, AbstractTaskStream, "tasks.PermutedImages(...)")
    one = algo.stacked if isinstance(algo, Ensemble) else algo
    check_kind("algo", one, Algorithm, "algorithms.bp()")
    check_kind("probes", probes, Mapping, '{"dead": probes.DeadUnits()}')
    for name, probe in probes.items():
        check_kind(f"probes[{name!r}]", probe, AbstractProbe, "probes.DeadUnits()")
        unknown = set(probe.when) - {"start", "end"}
        if not isinstance(probe.when, tuple) or not probe.when or unknown:
            raise ValueError(
                f"`probes[{name!r}].when` is {probe.when!r}, but must be a tuple of 'start' and "
                "'end': pass for example ('start',)."
            )
    _check_sizes(stream)
    steps = stream.num_tasks * stream.chunks_per_task * stream.minibatches
    if steps > np.iinfo(np.int32).max and not jax.config.read("jax_enable_x64"):
        raise ValueError(
            f"`stream` has {steps} steps, more than a 32-bit clock can count: shorten it, or set "
            "JAX_ENABLE_X64=1."
        )
    max_tasks = max_segment_tasks(stream, segment_tasks)
    check_count("segment_tasks", max_tasks)
    for name, probe in probes.items():
        check_count(f"probes[{name!r}].every", probe.every)
    zero = jnp.asarray(0, int)
    run = eqx.filter_eval_shape(_programs.start, model, model_state, stream, algo, key)
    eqx.filter_eval_shape(_programs.begin, run, stream, algo, zero, key)
    table = eqx.filter_eval_shape(_programs.segment, run, stream, algo, zero, zero, max_tasks, key)[
        1
    ]
    if not batch_dependent:
        check_independent(model, model_state, stream, run, key)
    quantities = _trained_quantities(stream, one, _sizes(table, rows=1))
    for name, probe in probes.items():
        hashed, place = zero.astype("uint32"), jnp.zeros(2, int)
        try:
            found = None
            if isinstance(probe, AbstractBranchProbe):
                found = eqx.filter_eval_shape(run_calibration, probe, run, stream, algo, key)
            first = eqx.filter_eval_shape(networks, run)
            given = (probe, run, stream, algo, key, hashed, place, first, found)
            row = eqx.filter_eval_shape(run_probe, *given)
        except (TypeError, ValueError) as error:
            # Subclasses of these may need other arguments.
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(f"{_named(name, probe)}: {error}") from error
        except Exception as error:
            error.add_note(f"This happened in {_named(name, probe)}.")
            raise
        for when in sorted(probe.when, reverse=True):  # the start of tasks first
            owner, prefix = f"probes[{name!r}]", f"{name}.{when}."
            quantities |= described(_sizes(row), probe, owner, prefix)
    return quantities


def _trained_quantities(
    stream: AbstractTaskStream, algo: Algorithm, columns: Mapping[str, int]
) -> dict[str, Quantity]:
    """What the columns are that training records."""
    of_stream = {name: size for name, size in columns.items() if "." not in name}
    found = described(of_stream, stream, "stream")
    for label, transform in zip(algo.labels, algo.transforms, strict=True):
        prefix = f"{label}."
        own = {n.removeprefix(prefix): s for n, s in columns.items() if n.startswith(prefix)}
        found |= described(own, transform, label, prefix)
    return found


def _check_sizes(part: AbstractTaskStream) -> None:
    for name in ("num_tasks", "chunks_per_task", "minibatches"):
        check_count(f"stream.{name}", getattr(part, name))


def _named(name: str, probe: AbstractProbe) -> str:
    return f"`probes[{name!r}]`, of type {type(probe).__name__}"


def _sizes(row: dict[str, Any] | Ensemble, *, rows: int = 0) -> dict[str, int]:
    """How many numbers each column has for one task and one member, by its name. `rows` is the
    number of axes over tasks."""
    members = isinstance(row, Ensemble)
    columns = row.stacked if members else row
    return {name: math.prod(columns[name].shape[members + rows :]) for name in sorted(columns)}


def max_segment_tasks(stream: AbstractTaskStream, segment_tasks: int | None) -> int:
    return min(64, stream.num_tasks) if segment_tasks is None else segment_tasks


def check_independent(
    model: PyTree,
    model_state: eqx.nn.State | Ensemble | None,
    stream: AbstractTaskStream,
    run: Run | Ensemble,
    key: PRNGKeyArray | Ensemble,
) -> None:
    """Checks that in inference mode the outputs of a network for an example depend on it alone.

    Only a network with a model state can see the other examples of a batch: a stream applies others
    to one example at a time. `run` holds shapes; the examples are random numbers of the shapes that
    `stream.sample` returns. Without values, under `jax.jit` and for shapes, nothing is checked.

    **Raises:** `ValueError` as `check_batch_independent`.
    """
    model, model_state, key = map(_first_member, (model, model_state, key))
    learner = model.learner if isinstance(model, Run) else model
    if isinstance(learner, Learner):
        model, model_state = learner.model, learner.model_state
    arrays = jax.tree.leaves((model, model_state, stream, key))
    if model_state is None or any(isinstance(x, Tracer | jax.ShapeDtypeStruct) for x in arrays):
        return
    one = run
    if isinstance(run, Ensemble):
        one = jax.tree.map(_without_members, run.stacked)
    sample = lambda run, key: stream.sample(run.stream, run.learner, _EXAMPLES, "train", key=key)
    shapes = eqx.filter_eval_shape(sample, one, key)
    if {getattr(leaf, "shape", ())[:1] for leaf in jax.tree.leaves(shapes)} != {(_EXAMPLES,)}:
        return  # not examples, which the first probe that draws them reports
    examples = jax.tree.map(_random, shapes)
    forward = _Inference(stream, model_state, key)  # pyright: ignore[reportArgumentType]
    check_batch_independent(forward, model, examples)


class _Inference(eqx.Module):
    """The forward pass of a stream in inference mode."""

    stream: AbstractTaskStream
    model_state: eqx.nn.State
    key: PRNGKeyArray

    def __call__(self, model: PyTree, batch: PyTree) -> PyTree:
        return self.stream.forward(model, self.model_state, batch, key=self.key, inference=True)[0]


def _first_member(argument: Any) -> Any:
    if not isinstance(argument, Ensemble):
        return argument
    return jax.tree.map(lambda x: x[0] if eqx.is_array(x) else x, argument.stacked)


def _without_members(leaf: Any) -> Any:
    is_shape = isinstance(leaf, jax.ShapeDtypeStruct)
    return jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype) if is_shape else leaf


def _random(leaf: Any) -> Any:
    """An array of this shape: normal numbers, zeros for integers, or true everywhere."""
    if not isinstance(leaf, jax.ShapeDtypeStruct):
        return leaf
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jnp.broadcast_to(jax.random.key(0), leaf.shape)
    if jnp.issubdtype(leaf.dtype, jnp.floating):
        return jnp.asarray(np.random.default_rng(0).normal(size=leaf.shape), leaf.dtype)
    return jnp.asarray(np.full(leaf.shape, leaf.dtype == bool), leaf.dtype)
