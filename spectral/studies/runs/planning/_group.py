"""What the members that are trained together will take."""

import math
import zlib
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from .... import _programs
from ...._check_parts import max_segment_tasks
from ...._measuring import _calibration, _measurement, _seen, networks
from ....probes import AbstractBranchProbe, AbstractProbe
from ...experiment._experiment import Experiment
from ...experiment._groups import assemble, Group
from ._compiled import Program, Programs
from ._parts import evaluated, minibatches_in_use, some_steps
from ._plan import GroupPlan
from ._timing import seconds_of, seconds_of_task


class Planned:
    """A group while its programs are compiled and timed.

    On CPU a device trains one member after the other, so only the first member is timed.
    """

    def __init__(self, experiment: Experiment, group: Group, programs: Programs):
        self._group, self._programs = group, programs
        self._size = len(group.names)
        self._devices = len(jax.local_devices()[: self._size])
        on_cpu = jax.devices()[0].platform == "cpu"
        self._timed = 1 if on_cpu else math.ceil(self._size / self._devices)
        self._rounds = math.ceil(self._size / (self._devices * self._timed))
        self._stream, self._probes = experiment.stream, experiment.probes
        self._whole = eqx.filter_eval_shape(lambda: assemble(experiment, group.names))
        self._given = assemble(experiment, group.names[: self._timed])
        self._compile_seconds, self._needed = 0.0, 0

    def plan(self, *, done: int) -> GroupPlan:
        """What the group takes that has `done` tasks behind it."""
        before = self._programs.count
        state = self._segment()
        model, model_state = self._given["model"], self._given["model_state"]
        shared = self._stream, self._given["algo"]
        key, zero = self._given["key"], jnp.asarray(0, int)
        start = self._compile(_programs.start, model, model_state, *shared, key)
        started = start.call(model, model_state, *shared, key)
        begin = self._compile(_programs.begin, started, *shared, zero, key)
        begin_seconds = self._seconds(begin, started, *shared, zero, key)
        run = begin.call(started, *shared, zero, key)
        probe_seconds = sum(self._probe(n, p, run, done) for n, p in self._probes.items())
        compiled, count = self._compile_seconds, self._programs.count - before
        # The segment holds these two, so the run does not compile them by themselves.
        steps = self._compile(some_steps, run, *shared, zero, zero, key)
        evaluate = self._compile(evaluated, run, *shared, key)
        chunks, minibatches = self._stream.chunks_per_task, self._stream.minibatches
        number = lambda n: jnp.asarray(n, int)
        part = lambda c, s: seconds_of(steps.call, run, *shared, number(c), number(s), key)
        task = self._programs.measured(steps, lambda: seconds_of_task(part, chunks, minibatches))
        around = begin_seconds + self._seconds(evaluate, run, *shared, key)
        used = minibatches_in_use(started, self._stream, key).stacked[0][done:]
        tasks, fraction = len(used), float(np.sum(used) / minibatches)
        return GroupPlan(
            self._group.label,
            members=self._size,
            tasks=tasks,
            steps=self._size * chunks * int(np.sum(used)),
            programs=count,
            compile_seconds=compiled,
            train_seconds=self._rounds * (tasks * around + fraction * task),
            probe_seconds=probe_seconds,
            # Probes may see the networks before the first task, which are kept.
            bytes=state + array_bytes(self._whole["model"]) + self._needed,
        )

    def _segment(self) -> int:
        """Compile the training program of the run. Returns the bytes of the state of the run."""
        given, zero = self._whole, jnp.asarray(0, int)
        names = ("model", "model_state", "stream", "algo", "key")
        run = eqx.filter_eval_shape(_programs.start, *(given[name] for name in names))
        rows = max_segment_tasks(self._stream, None)
        given = run, self._stream, given["algo"], zero, zero, rows, given["key"]
        found = self._programs.compile(_programs.segment, *given, members=self._size)
        self._compile_seconds += found.seconds
        self._needed = self._devices * found.temporary + found.outputs
        return array_bytes(run)

    def _probe(self, name: str, probe: AbstractProbe, run: Any, done: int) -> float:
        """The seconds of a probe in all tasks that are left."""
        algo, key = self._given["algo"], self._given["key"]
        seen, known = _seen(probe, run, algo)
        calibration, once = None, 0.0
        if isinstance(probe, AbstractBranchProbe):
            given = probe, seen, self._stream, algo, key
            program = self._compile(_calibration, *given)
            once = self._seconds(program, *given)
            calibration = program.call(*given)
        visits = len(range(-(-done // probe.every), -(-self._stream.num_tasks // probe.every)))
        seconds = 0.0
        for when in probe.when:
            # As the loop gives them.
            hashed = jnp.asarray(zlib.crc32(f"{name}.{when}".encode()), jnp.uint32)
            place = jnp.asarray([0, when == "end"], int)
            own = hashed, place, networks(run), calibration
            given = probe, seen, self._stream, known, key, *own
            seconds += visits * self._seconds(self._compile(_measurement, *given), *given)
        return self._rounds * (seconds + once)

    def _compile(self, program: Any, *arguments: Any) -> Program:
        found = self._programs.compile(program, *arguments, members=self._size)
        self._compile_seconds += found.seconds
        outputs = found.outputs * self._size // self._timed
        self._needed = max(self._needed, self._devices * found.temporary + outputs)
        return found

    def _seconds(self, program: Program, *arguments: Any) -> float:
        """The seconds of a call, which was called once before."""
        first_and_second = lambda: [seconds_of(program.call, *arguments) for _ in range(2)]
        return self._programs.measured(program, lambda: min(first_and_second()))


def array_bytes(tree: PyTree) -> int:
    """The bytes of the arrays in a pytree, which may be given by their shapes."""
    leaves = [leaf for leaf in jax.tree.leaves(tree) if isinstance(leaf, _SIZED)]
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in leaves)


_SIZED = Array | np.ndarray | jax.ShapeDtypeStruct
