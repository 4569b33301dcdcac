"""The signal that the loop gives a transform, built by hand for one minibatch."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from spectral import Clock, Learner, models, Optimiser, Signal, Step, TaskStart
from spectral._types import Aux, Chunk
from spectral.probes import Boundary


def drawn(make, *, seed=0):
    """The network of `make(key=...)` with normal weights from NumPy, of variance 1 / inputs for a
    matrix and 0.1 for a vector. Nothing is compiled to draw them."""
    rng = np.random.default_rng(seed)

    def draw(shape):
        variance = 1 / np.prod(shape.shape[1:]) if len(shape.shape) > 1 else 0.1
        return jnp.asarray(rng.normal(size=shape.shape) * variance**0.5, shape.dtype)

    shapes = eqx.filter_eval_shape(lambda: make(key=jax.random.key(0)))
    is_shape = lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct)
    return jax.tree.map(lambda leaf: draw(leaf) if is_shape(leaf) else leaf, shapes)


def mlp(in_size, out_size, *, seed=0, **options):
    """An MLP with weights and biases from NumPy; see `drawn`."""
    return drawn(lambda key: models.MLP(in_size, out_size, key=key, **options), seed=seed)


def numpy_map(change, *trees):
    """`change` of the inexact arrays of trees, computed in NumPy; the rest is that of the first."""
    changed = lambda x, *rest: (
        jnp.asarray(change(np.asarray(x), *map(np.asarray, rest)), x.dtype)
        if eqx.is_inexact_array(x)
        else x
    )
    return jax.tree.map(changed, *trees)


_begun = eqx.filter_jit(lambda optimiser, model: optimiser.init(model))


def learner_of(model, optimiser=None, model_state=None):
    optimiser = Optimiser(optax.sgd, learning_rate=0.1) if optimiser is None else optimiser
    return Learner(model, model_state, _begun(optimiser, model))


@eqx.filter_jit
def trained(learner):
    """The learner with the moments of one step of its optimiser. The model is unchanged."""
    grads = jax.tree.map(jnp.ones_like, eqx.filter(learner.model, eqx.is_inexact_array))
    optimiser = learner.optimiser.apply(grads, learner.model)[1]
    return Learner(learner.model, learner.model_state, optimiser)


def forward(model, model_state, batch, *, key, inference):
    outputs, taps = jax.vmap(model)(batch)
    return outputs, Aux(taps, model_state)


def squares(outputs, batch):
    return jnp.mean(jnp.sum(outputs**2, axis=-1)), {}


def clock_at(step, task=0):
    return Clock(*(jnp.asarray(i, int) for i in (step, step, 0, task)))


def start_of(task=0, inputs=None, step=0):
    """The start of a task with these training inputs. A sample is the first of them, in order."""

    def draw(num_examples, split, *, key):
        assert split == "train"
        return jnp.asarray(inputs)[:num_examples]

    measure = lambda probe, learner, *, key: probe(learner, None, None, key=key)
    return TaskStart(clock_at(step, task=task), draw, forward, squares, measure)


def boundary_at(key, task=0):
    """The boundary of a task whose examples are drawn with `key`, in a run with that key."""
    return Boundary(jnp.asarray(task, int), key, key)


def step_at(model, inputs, step=0):
    """The step of a chunk before its gradient: `inputs` is [minibatches, examples, ...]."""
    return Step(
        clock=clock_at(step),
        model=model,
        model_state=None,
        batch=inputs[step],
        chunk=Chunk(inputs),
        take=lambda items: items,
        forward=forward,
        criterion=squares,
        reference=jnp.asarray(0, int),
        key=jax.random.key(0),
    )


def signal_at(model, inputs, step=0, taps=None):
    """The signal after `step` of a chunk: `inputs` is [minibatches, examples, ...]."""
    if taps is None:
        taps = forward(model, None, inputs[step], key=None, inference=False)[1].taps
    return Signal(
        step=step_at(model, inputs, step),
        loss=jnp.asarray(0.0),
        metrics={},
        objective=jnp.asarray(0.0),
        taps=taps,
        grads=jax.tree.map(jnp.zeros_like, eqx.filter(model, eqx.is_inexact_array)),
    )


def after_step(transform, learner, inputs, step=0, *, key, state=None, taps=None):
    """The learner and the state after `transform.update` with `key`. Without a `state` it starts
    from that of `transform.init`. One program serves all calls with equal shapes."""
    step = jnp.asarray(step, int)
    return _after_step(transform, learner, inputs, step, key=key, state=state, taps=taps)


@eqx.filter_jit
def _after_step(transform, learner, inputs, step, *, key, state, taps):
    if state is None:
        state = transform.init(learner, key=key)
    signal = signal_at(learner.model, inputs, step, taps)
    return transform.update(learner, state, signal, key=key)


def arrays(tree):
    return jax.tree.leaves(eqx.filter(tree, eqx.is_inexact_array))
