"""What a method of a part must not return is named, with its class, before anything is compiled."""

import inspect
from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest
from growing_classes import GrowingClasses
from tables import ALGORITHMS, growing, incremental_resnet, permuted

import spectral._loop as loop
from spectral import algorithms, Chunk, probes, train_continual
from spectral._check_parts import check_parts


SETTING = growing()
TRAIN = inspect.unwrap(train_continual)


@pytest.fixture(autouse=True)
def nothing_runs(monkeypatch):
    # Without the type checker of the tests, which rejects some arguments first.
    monkeypatch.setattr(loop, "check_parts", inspect.unwrap(loop.check_parts))
    monkeypatch.setattr(loop, "single_threaded_blas", lambda: pytest.fail("the run has begun"))


class Own(GrowingClasses):
    """A stream in which one method returns what it should, changed by a function."""

    method: str = eqx.field(static=True, default="")
    change: Any = eqx.field(static=True, default=None)

    def _changed(self, method, value):
        return self.change(value) if self.method == method else value

    def begin_task(self, state, clock, *, key):
        return self._changed("begin_task", super().begin_task(state, clock, key=key))

    def collect(self, state, learner, clock, *, key):
        return self._changed("collect", super().collect(state, learner, clock, key=key))

    def batch(self, state, item):
        return self._changed("batch", super().batch(state, item))

    def forward(self, model, model_state, batch, *, key, inference):
        options = {"key": key, "inference": inference}
        return self._changed("forward", super().forward(model, model_state, batch, **options))

    def criterion(self, outputs, batch):
        return self._changed("criterion", super().criterion(outputs, batch))

    def sample(self, state, learner, num_examples, split, *, key):
        found = super().sample(state, learner, num_examples, split, key=key)
        return self._changed("sample", found)

    def evaluate(self, state, learner, *, key):
        return self._changed("evaluate", super().evaluate(state, learner, key=key))


def shorter(found):
    state, chunk, metrics = found
    return state, Chunk(chunk.items[:3], in_use=chunk.in_use), metrics


STREAMS = [
    (
        "begin_task",
        lambda s: s.astype(float),
        "an array of type float32 and shape .*as it received",
    ),
    ("begin_task", lambda s: jnp.stack([s, s]), r"type int32 and shape \(2,\), but must return"),
    ("collect", lambda f: f[1], "a value of type Chunk, but must return `.state, chunk, metrics"),
    ("collect", lambda f: f[:2], r"a tuple of 2 \(array, Chunk\), but must return `\(state"),
    ("collect", lambda f: (f[0], f[1].items, {}), r"a tuple of 3 \(array, array, dict\), but"),
    ("collect", lambda f: (f[0][None], *f[1:]), r"shape \(1,\), but must return an array of type"),
    ("collect", shorter, r"shapes \[\(3, 4\)\], but .* with `minibatches` 8"),
    ("batch", lambda b: None, r"None, but must return arrays `\[examples, ...\]`"),
    ("forward", lambda f: f[0], r"shape \(4, 6\), but must return `\(outputs, aux\)`"),
    ("forward", lambda f: (f[0], {}), r"a tuple of 2 \(array, dict\), but must return `\(outputs"),
    ("criterion", lambda f: f[0], r"shape \(\), but must return `\(loss, metrics\)`"),
    ("criterion", lambda f: (f[0][None], f[1]), r"shape \(1,\) as the loss, but must return"),
    ("criterion", lambda f: (f[0], {"a": None}), "None under the name 'a', but must return a dict"),
    ("evaluate", lambda row: row["accuracy"], r"shape \(\), but must return a dictionary of num"),
    ("evaluate", lambda row: {1: row["accuracy"]}, "the name 1, of type int, but must return a d"),
    ("sample", lambda b: None, r"None, but must return arrays `\[examples, ...\]`"),
]


@pytest.mark.parametrize(("method", "change", "message"), STREAMS)
def test_a_method_of_a_stream(method, change, message):
    arrays = SETTING.stream
    stream = Own(inputs=arrays.inputs, labels=arrays.labels, method=method, change=change)
    dead = {"dead": probes.DeadUnits(num_examples=4)} if method == "sample" else None
    with pytest.raises(TypeError, match=rf"`Own.{method}` returned .*{message}.*: change what it"):
        TRAIN(
            SETTING.model,
            stream,
            algorithms.bp(),
            model_state=SETTING.model_state,
            probes=dead,
        )


class Wrong(algorithms.AbstractTransform):
    """A transform in which one method returns something else."""

    method: str = eqx.field(static=True)
    other: Any = eqx.field(static=True)

    def init(self, learner, *, key):
        return jnp.asarray(0)

    def begin_task(self, learner, state, start, *, key):
        return self.other(learner, state) if self.method == "begin_task" else (learner, state)

    def update(self, learner, state, signal, *, key):
        return self.other(learner, state) if self.method == "update" else (learner, state)

    def measure(self, state):
        return self.other(None, state) if self.method == "measure" else {}


def half(learner, state):
    model = jax.tree.map(lambda x: x.astype(jnp.float16), learner.model)
    return replace(learner, model=model), state


TRANSFORMS = [
    (
        "update",
        lambda learner, state: (learner, 3),
        r"the value 3 at `\[1\]`, but must .* int32 and",
    ),
    (
        "update",
        lambda learner, state: (learner, None),
        r"None at `\[1\]`, but must return an array",
    ),
    ("begin_task", lambda learner, state: None, r"None, but must return `\(learner, state\)`"),
    ("begin_task", lambda learner, state: (learner, state / 2), "type float32 .* as it received"),
    ("update", lambda learner, state: learner, "a value of type Learner, but must return `.learn"),
    ("update", lambda learner, state: (state, learner), r"a tuple of 2 \(array, Learner\), but"),
    ("update", lambda learner, state: (learner, state / 2), r"at `\[1\]`, but .* int32 and shape"),
    ("update", half, "an array of type float16 and shape .* at `.*weight`, but must return"),
    ("measure", lambda _, state: state, r"type int32 and shape \(\), but must return a dictionary"),
]


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize(("method", "other", "message"), TRANSFORMS)
def test_a_method_of_a_transform(method, other, message, periodic):
    setting, transform = permuted({"depth": 0}), Wrong(method, other)
    used = algorithms.Periodic(transform, 2) if periodic else transform
    algo = algorithms.Algorithm(algorithms.sgd(0.1), transforms=(used,))
    with pytest.raises(TypeError, match=rf"`Wrong.{method}` returned .*{message}"):
        TRAIN(setting.model, setting.stream, algo)


class Measuring(probes.AbstractSamplingProbe):
    """Measures with a function of the sampler."""

    what: Any = eqx.field(static=True, default=None)

    def measure(self, sampler, *, key):
        return self.what(sampler)


class Calling(probes.AbstractProbe):
    """Returns a number without a name."""

    when: Any = eqx.field(static=True, default=("end",))
    every: int = eqx.field(static=True, default=1)

    def __call__(self, learner, stream, stream_state, *, boundary=None, key):
        unnamed: Any = jnp.asarray(1.0)
        return unnamed


def broken(sampler):
    return {"a": sampler.learner.nothing}


@pytest.mark.parametrize(
    ("probe", "message"),
    [
        (
            Measuring(num_examples=4, what=lambda s: jnp.ones(2)),
            "Measuring: `Measuring.measure` returned an array",
        ),
        (
            Measuring(num_examples=4, what=lambda s: {"a": {}}),
            "`Measuring.measure` returned a value of type dict un",
        ),
        (Calling(), "Calling: `Calling.__call__` returned an array of type float32"),
        (probes.DeadUnits(num_examples=43), "DeadUnits: `num_examples` is 43, but"),
    ],
)
def test_an_error_in_a_probe_names_the_probe(probe, message):
    setting = permuted({"depth": 1})
    with pytest.raises((TypeError, ValueError), match=r"`probes\['own'\]`, of type .*" + message):
        TRAIN(setting.model, setting.stream, algorithms.bp(), probes={"own": probe})


def test_an_error_of_another_kind_keeps_its_kind():
    setting, probe = permuted({"depth": 0}), Measuring(num_examples=4, what=broken)
    with pytest.raises(AttributeError, match="nothing") as report:
        TRAIN(setting.model, setting.stream, algorithms.bp(), probes={"own": probe})
    notes = "".join(report.value.__notes__)
    assert "This happened in `probes['own']`, of type Measuring." in notes


def test_arguments_of_the_wrong_kind():
    setting, algo, own = permuted({"depth": 0}), algorithms.bp(), [Calling()]
    for stream in (None, "digits", setting.model):
        with pytest.raises(
            TypeError, match="(?s)`stream` is .*, but must be of type AbstractTaskS"
        ):
            TRAIN(setting.model, stream, algo)
    with pytest.raises(TypeError, match="(?s)`probes` is .*, but must be of type Mapping"):
        TRAIN(setting.model, setting.stream, algo, probes=own)
    for model in (None, {"weight": jnp.ones((3, 6))}, jnp.ones(3)):
        with pytest.raises(
            TypeError, match="`model` is of type .*, but must be a network that can"
        ):
            TRAIN(model, setting.stream, algo)


def test_a_transform_may_use_the_state_of_a_network():
    """ReDo evaluates the network, and hands on the state that it has used."""
    setting = incremental_resnet()
    found = check_parts(
        setting.model, setting.stream, ALGORITHMS["redo"](0.05), model_state=setting.model_state
    )
    assert "ReDo.units_replaced" in found
