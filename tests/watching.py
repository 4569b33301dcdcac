"""Parts of a run that observe it or disturb it, for the tests of the loop."""

import pathlib
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from spectral import AbstractCheckpointer, AbstractMeter, Learner
from spectral.algorithms import AbstractTransform
from spectral.probes import AbstractProbe, Sampler
from spectral.recording import OrbaxCheckpointer
from spectral.tasks import AbstractTaskStream


class StoppedError(Exception):
    """The run was stopped on purpose."""


class StopAfter(AbstractCheckpointer):
    """Saves checkpoints, and stops the run after `tasks` tasks."""

    inner: OrbaxCheckpointer
    tasks: int

    def __init__(self, folder: pathlib.Path, tasks: int):
        self.inner = OrbaxCheckpointer(folder)
        self.tasks = tasks

    def restore(self, config, run):
        return self.inner.restore(config, run)

    def save(self, config, done, run, history):
        self.inner.save(config, done, run, history)
        if done >= self.tasks:
            raise StoppedError


class CallMeter(AbstractMeter):
    """Calls a function at every update."""

    def __init__(self, call: Callable):
        self.call = call

    def update(self, done, total, history):
        self.call(done, total, history)


class DrawingProbe(AbstractProbe):
    """Measures the examples of all probes, and draws a random number."""

    when: Any = eqx.field(static=True, default=("start", "end"))
    every: int = eqx.field(static=True, default=1)
    note: Callable | None = eqx.field(static=True, default=None)  # receives the key

    def __call__(self, learner, stream, stream_state, *, boundary=None, key):
        if self.note is not None:
            self.note(key)
        assert boundary is not None
        sampler = Sampler(learner, stream, stream_state, 3, "train", boundary.sample_key)
        batch = sampler.examples()
        total = sum(jnp.sum(leaf) for leaf in jax.tree.leaves(batch))
        return {"data": jnp.asarray(total, float), "noise": jax.random.uniform(key)}


class Poison(AbstractTransform[None]):
    """Makes one weight NaN after a given step."""

    step: jax.Array

    def init(self, learner, *, key):
        return None

    def update(self, learner, state, signal, *, key):
        params, static = eqx.partition(learner.model, eqx.is_inexact_array)
        leaves, structure = jax.tree.flatten(params)
        now = signal.clock.step == self.step
        leaves[0] = jnp.where(now, leaves[0].at[0].set(jnp.nan), leaves[0])
        model = eqx.combine(jax.tree.unflatten(structure, leaves), static)
        return Learner(model, learner.model_state, learner.optimiser), state


class CountSteps(AbstractTransform[jax.Array]):
    """Counts its updates, adds 1000 at the start of each task, and records the last step."""

    def init(self, learner, *, key):
        return jnp.zeros(2, int)

    def begin_task(self, learner, state, start, *, key):
        return learner, state + jnp.array([1000, 0])

    def update(self, learner, state, signal, *, key):
        return learner, jnp.stack([state[0] + 1, signal.clock.step])


class KeyRecorder(AbstractTransform[None]):
    """Records every key that it receives, while the program runs."""

    keys: list = eqx.field(static=True)

    def note(self, key):
        note = lambda data: self.keys.append(tuple(data.tolist()))
        jax.debug.callback(note, jax.random.key_data(key))

    def init(self, learner, *, key):
        self.note(key)

    def begin_task(self, learner, state, start, *, key):
        self.note(key)
        return learner, state

    def update(self, learner, state, signal, *, key):
        self.note(key)
        return learner, state


class RecordingStream(AbstractTaskStream[Any]):
    """A stream that delegates to another one and records all keys."""

    inner: Any
    recorder: KeyRecorder
    num_tasks: int = eqx.field(static=True)
    chunks_per_task: int = eqx.field(static=True)
    minibatches: int = eqx.field(static=True)

    def __init__(self, inner, recorder):
        self.inner, self.recorder = inner, recorder
        self.num_tasks = inner.num_tasks
        self.chunks_per_task, self.minibatches = inner.chunks_per_task, inner.minibatches

    def init(self, *, key):
        self.recorder.note(key)
        return self.inner.init(key=key)

    def begin_task(self, state, clock, *, key):
        self.recorder.note(key)
        return self.inner.begin_task(state, clock, key=key)

    def collect(self, state, learner, clock, *, key):
        self.recorder.note(key)
        return self.inner.collect(state, learner, clock, key=key)

    def batch(self, state, item):
        return self.inner.batch(state, item)

    def forward(self, model, model_state, batch, *, key, inference):
        self.recorder.note(key)
        return self.inner.forward(model, model_state, batch, key=key, inference=inference)

    def criterion(self, outputs, batch):
        return self.inner.criterion(outputs, batch)

    def sample(self, state, learner, num_examples, split, *, key):
        self.recorder.note(key)
        return self.inner.sample(state, learner, num_examples, split, key=key)

    def evaluate(self, state, learner, *, key):
        self.recorder.note(key)
        return self.inner.evaluate(state, learner, key=key)


class PythonCounter(AbstractTransform[int]):
    """Changes a Python number, which a compiled loop cannot do."""

    where: str = eqx.field(static=True)

    def init(self, learner, *, key):
        return 0

    def begin_task(self, learner, state, start, *, key):
        return learner, state + (self.where == "begin_task")

    def update(self, learner, state, signal, *, key):
        return learner, state + (self.where == "update")


class Traces:
    """A function that counts its calls: inside a compiled program these are the traces."""

    def __init__(self, function: Callable[..., Any]):
        self.function = function
        self.count = 0

    def __call__(self, *arguments: Any) -> Any:
        self.count += 1
        return self.function(*arguments)
