"""Networks and activations that take a key or have an inference flag."""

import functools
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import drawn
from signals import arrays
from tables import permuted, Setting, STREAMS

from spectral import algorithms, models, probes, tasks, train_continual, train_tasks
from spectral.models import apply_network


KEY = jax.random.key(5)


class Noisy(eqx.Module):
    """Adds noise in training; shows the noise and the value of its flag."""

    weight: jax.Array
    inference: bool = False

    def __call__(self, x, *, key):
        noise = jnp.where(self.inference, 0.0, jax.random.normal(key))
        return self.weight * x + noise, {"key": jax.random.key_data(key)}


class Statistics(eqx.Module):
    """Dropout and Equinox's BatchNorm."""

    norm: eqx.nn.BatchNorm
    dropout: eqx.nn.Dropout
    last: eqx.nn.Linear

    def __init__(self, *, key):
        self.norm = eqx.nn.BatchNorm(6, "batch", mode="ema")
        self.dropout = eqx.nn.Dropout(0.5)
        self.last = eqx.nn.Linear(6, 3, key=key)

    def __call__(self, x, state, *, key=None):
        x, state = self.norm(x, state)
        hidden = self.dropout(x, key=key)
        return (self.last(hidden), {"hidden": hidden}), state


class RandomSlope(models.AbstractActivation):
    """Leaky ReLU with a slope that is drawn for each example, and 0 in inference mode."""

    inference: bool = False
    copies: ClassVar[int] = 1

    def __call__(self, x, /, *, key=None):
        slope = 0.0 if self.inference or key is None else jax.random.uniform(key)
        return jnp.where(x > 0, x, slope * x)

    def fresh(self, num_units, *, key):
        return self


def note(used, x, key):
    assert key is not None
    used.append(key)
    return x


SMALL: Any = {"channels": (2,), "kernels": (3,), "dense_sizes": (3,)}
RESIDUAL: Any = {"width": 2, "blocks": (1, 1), "dense_sizes": (3,)}


def without_taps(x):
    return x, {}


def sequential(key):
    layers = [
        eqx.nn.Linear(6, 5, key=key),
        eqx.nn.Dropout(0.5),
        eqx.nn.Linear(5, 3, key=key),
        eqx.nn.Lambda(without_taps),
    ]
    return eqx.nn.Sequential(layers)


@pytest.mark.parametrize("num_examples", [1, 3])
def test_every_example_gets_its_own_key(num_examples):
    inputs, model = jnp.zeros((num_examples, 2)), Noisy(jnp.ones(()))
    outputs, aux = apply_network(model, None, inputs, inference=False, key=KEY)
    expected = jax.random.split(KEY, num_examples)
    np.testing.assert_array_equal(aux.taps["key"], jax.random.key_data(expected))
    noise = np.asarray([jax.random.normal(k) for k in expected])
    np.testing.assert_allclose(outputs, np.broadcast_to(noise[:, None], outputs.shape), rtol=1e-6)


def test_inference_needs_no_key():
    outputs, _ = apply_network(Noisy(jnp.ones(())), None, jnp.ones((3, 2)), inference=True)
    np.testing.assert_array_equal(outputs, np.ones((3, 2)))


def test_the_flag_is_set_in_networks_without_a_key():
    class Flagged(eqx.Module):
        inference: bool = True

        def __call__(self, x):
            return x if self.inference else -x, {}

    found = [
        apply_network(Flagged(), None, jnp.ones((2, 1)), inference=i)[0] for i in (True, False)
    ]
    np.testing.assert_array_equal(found, [[[1], [1]], [[-1], [-1]]])


def test_signatures_are_followed_through_wrappers():
    """Wrappers that keep the signature pass the key, `**kwargs` alone does not."""
    seen = []

    def draws(x, *, key=None):
        return x, {}

    def passes(x, **kwargs):
        seen.append("key" in kwargs)
        return draws(x, **kwargs)

    @functools.wraps(draws)
    def wrapped(x, **kwargs):
        return passes(x, **kwargs)

    for network in (wrapped, functools.partial(wrapped), passes):
        apply_network(network, None, jnp.ones((2, 1)), inference=True)
    assert seen == [True, True, False]


@pytest.mark.parametrize("kind", ["sequential", "statistics"])
def test_networks_with_dropout_train(kind):
    if kind == "sequential":
        model, state = drawn(sequential, KEY), None
    else:
        model, state = drawn(eqx.nn.make_with_state(Statistics), KEY)
    setting = permuted(minibatch_size=4)
    learner, history = train_continual(model, setting.stream, algorithms.bp(0.1), model_state=state)
    assert np.isfinite(history["loss"]).all()
    for before, after in zip(arrays(model), arrays(learner.model), strict=True):
        assert not np.array_equal(before, after)
    if state is not None:
        before, after = (s.get(model.norm.ema_state_index) for s in (state, learner.model_state))
        assert not np.array_equal(before[0], after[0])


class Dropped(eqx.Module):
    """A network behind dropout, which raises if it gets no key in training."""

    dropout: eqx.nn.Dropout
    inner: Any

    def __call__(self, x, *state, key):
        if jnp.issubdtype(x.dtype, jnp.integer):  # tokens
            return self.inner(x + 0 * self.dropout(jnp.ones(()), key=key).astype(int), *state)
        return self.inner(self.dropout(x, key=key), *state)


EXTRA = {
    "regression": lambda: Setting(
        tasks.SlowlyChangingRegression(
            num_tasks=2, steps_per_task=4, num_slow_bits=3, num_fast_bits=2, num_units=3
        ),
        drawn(lambda key: models.MLP(6, 1, width=2, depth=1, key=key), KEY),
    ),
    "landscapes": lambda: Setting(
        tasks.ToyLandscapes(steps_per_task=2), models.Point(jnp.zeros(2))
    ),
}


@pytest.mark.parametrize("name", [*STREAMS, *EXTRA])
def test_every_stream_hands_on_its_key(name):
    """Traces training, evaluation and a probe, and compiles nothing."""
    setting = (STREAMS | EXTRA)[name]()
    model = Dropped(eqx.nn.Dropout(0.5), setting.model)
    algo = algorithms.er(0.1, er_period=2) if name == "permuted_minibatch" else algorithms.bp(0.1)
    run, _ = eqx.filter_eval_shape(
        train_tasks, model, setting.stream, algo, key=KEY, model_state=setting.model_state
    )
    gradient = probes.GradientNorm(num_examples=4)
    eqx.filter_eval_shape(gradient, run.learner, setting.stream, run.stream, key=KEY)


def test_random_activations():
    """They get a key for each layer and example, and none in networks that draw nothing."""
    kept = models.MLP(2, 2, width=3, depth=2, activation=RandomSlope(), key=KEY)
    ones = eqx.tree_at(
        lambda m: [layer.weight for layer in m.layers],
        kept,
        [-jnp.ones((3, 2)), -jnp.ones((3, 3)), jnp.ones((2, 3))],
    )
    x, (a, b) = jnp.ones((1, 2)), map(jax.random.uniform, jax.random.split(_only(KEY), 2))
    _, training = apply_network(ones, None, x, inference=False, key=KEY)
    np.testing.assert_allclose(training.taps["hidden_0"], np.full((1, 3), -2 * a), rtol=1e-6)
    np.testing.assert_allclose(training.taps["hidden_1"], np.full((1, 3), 6 * a), rtol=1e-6)
    assert a != b
    _, inferred = apply_network(ones, None, x, inference=True, key=KEY)
    assert not np.asarray(inferred.taps["hidden_0"]).any()


def _only(key):
    return jax.random.split(key, 1)[0]


@pytest.mark.parametrize(
    "make",
    [
        lambda key: models.ConvNet((1, 4, 4), 2, **SMALL, activation=RandomSlope(), key=key),
        lambda key: models.ActorCritic(16, 2, width=3, depth=1, activation=RandomSlope(), key=key),
        eqx.nn.make_with_state(
            lambda key: models.ResNet18((1, 4, 4), 2, **RESIDUAL, activation=RandomSlope(), key=key)
        ),
    ],
    ids=["convnet", "actor_critic", "resnet"],
)
def test_every_layer_of_a_network_gets_another_key(make, monkeypatch):
    used = []
    monkeypatch.setattr(RandomSlope, "__call__", lambda self, x, /, *, key=None: note(used, x, key))
    made = eqx.filter_eval_shape(make, key=KEY)
    model, state = made if isinstance(made, tuple) else (made, None)
    shape = (2, 1, 4, 4) if hasattr(model, "in_shape") else (2, 16)
    eqx.filter_eval_shape(
        lambda *args: apply_network(*args, inference=False, key=KEY), model, state, jnp.ones(shape)
    )
    num_layers = len(models.activations_of(model))
    assert len({id(key) for key in used}) == num_layers


def test_plasticity_injection_shares_its_key():
    """Otherwise the injection would change the outputs."""
    base = models.MLP(2, 2, width=3, depth=1, activation=RandomSlope(), key=KEY)
    injected = models.PlasticityInjection(base, key=jax.random.key(1))
    x = jnp.array([1.0, -2.0])
    np.testing.assert_array_equal(injected(x, key=KEY)[0], base(x, key=KEY)[0])
    assert not np.array_equal(injected(x, key=KEY)[0], injected(x)[0])
