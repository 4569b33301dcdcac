"""The parts of `gpu.py`. Each yields rows of numbers, by name."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from convolutional import CASES, make, synthetic as synthetic_images
from curvature_speed import problem, products
from training import synthetic, traffic

from spectral import algorithms, Ensemble, models, tasks, train_continual
from spectral._core import begin_task, run_tasks, start_run
from spectral.curvature import Hessian, Lanczos


Rows = Iterator[dict[str, Any]]
PRODUCTS = 10


def seconds(run: Callable[[], object], rounds: int) -> float:
    """The median time of a call, after one call that compiles."""
    jax.block_until_ready(run())
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        jax.block_until_ready(run())
        taken.append(time.perf_counter() - start)
    return float(np.median(taken))


def bandwidth(megabytes: int) -> float:
    """The bytes per second of a copy, which reads and writes each byte once."""
    data = jnp.zeros(megabytes * 2**18, jnp.float32)
    copy = jax.jit(lambda x: x + 1)
    return 2 * data.nbytes / seconds(lambda: copy(data), 10)


def product_speed(m: int, k: int, n: int) -> float:
    """The operations per second of a matrix product, as precise as those of curvature."""
    multiply = jax.jit(lambda a, b: jnp.matmul(a, b, precision="highest"))
    a, b = jnp.ones((m, k)), jnp.ones((k, n))
    return 2.0 * m * k * n / seconds(lambda: multiply(a, b), 10)


def agreement(sizes: Any) -> Rows:
    """The same computations on the CPU and on the default device."""
    found: dict[str, dict[str, np.ndarray]] = {}
    for device in (jax.devices("cpu")[0], jax.devices()[0]):
        with jax.default_device(device), jax.default_matmul_precision("highest"):
            for name, values in _computed(sizes).items():
                found.setdefault(name, {})[device.platform] = np.asarray(values)
    for name, values in found.items():
        if len(values) == 1:
            yield {"compared": name, "devices": "cpu alone: there is no GPU here"}
        else:
            ours, theirs = values.values()
            scale = np.max(np.abs(ours))
            difference = float(np.max(np.abs(ours - theirs)) / scale)
            yield {"compared": name, "devices": " and ".join(values), "difference": difference}


def _computed(sizes: Any) -> dict[str, Any]:
    """On the default device: losses, a product with the Hessian, the largest eigenvalue."""
    width, steps = min(sizes.width, 100), min(sizes.steps, 50)
    stream = tasks.PermutedImages(
        synthetic(steps), num_tasks=2, steps_per_task=steps, chunks_per_task=steps
    )
    model = models.MLP(784, 10, width=width, key=jax.random.key(0))
    _, history = train_continual(model, stream, algorithms.l2_er(1e-2, er_period=1))
    risk, network = problem(width, sizes.rows)
    operator = Hessian(risk, network)
    vector = eqx.filter(network, eqx.is_inexact_array)
    product = jax.tree.leaves(products(operator, vector, 1))
    nodes = Lanczos(order=20, num_vectors=1)(operator, key=jax.random.key(1)).nodes
    return {
        "losses of L2-ER": history["loss"].ravel(),
        "a Hessian product": np.concatenate([np.asarray(leaf).ravel() for leaf in product]),
        "the largest eigenvalue": jnp.max(nodes),
    }


def loop(sizes: Any) -> Rows:
    """Member-steps per second of backpropagation, for growing numbers of members."""
    peak = bandwidth(2048 if sizes.width >= 1000 else 16)
    yield {"bandwidth of a copy, GB/s": peak / 1e9}
    each, _ = traffic(784, sizes.width)
    for count in sizes.members:
        pace = _member_steps(count, sizes)
        yield {
            "members": count,
            "us a step": 1e6 * count / pace,
            "member-steps/s": pace,
            "fraction of bandwidth": pace * each / peak,
        }


def _member_steps(members: int, sizes: Any) -> float:
    """The steps per second of all members together."""
    steps = sizes.steps
    stream = tasks.PermutedImages(synthetic(steps), num_tasks=1, steps_per_task=steps)
    algo, zero, one = algorithms.bp(1e-2), jnp.asarray(0, int), jnp.asarray(1, int)
    keys = jax.random.split(jax.random.key(0), members)

    def start(key: Any) -> Any:
        run = start_run(models.MLP(784, 10, width=sizes.width, key=key), None, stream, algo, key)
        return begin_task(run, stream, algo, zero, key)

    @eqx.filter_jit
    def train(runs: Any, stream: Any, keys: Any) -> Any:
        return eqx.filter_vmap(
            lambda run, key: run_tasks(run, stream, algo, zero, one, 1, key),
        )(runs, keys)

    runs = eqx.filter_jit(eqx.filter_vmap(start))(keys)
    taken = seconds(lambda: eqx.filter(train(runs, stream, keys), eqx.is_array), sizes.rounds)
    return members * steps / taken


def networks(sizes: Any) -> Rows:
    """Milliseconds of a step inside the loop."""
    steps = max(2, sizes.steps // 50)
    for name in CASES if sizes.minibatch > 2 else ["convnet"]:
        _, _, classes = CASES[name]
        images = synthetic_images(sizes.minibatch * steps, classes)
        loader = tasks.Loader(minibatch_size=sizes.minibatch, max_minibatches=steps)
        stream = tasks.PermutedLabels(images, num_tasks=1, loader=loader)
        model, state = make(name)
        algo = algorithms.bp(algorithms.sgd(1e-3, momentum=0.9))
        run = lambda model=model, stream=stream, state=state, algo=algo: train_continual(
            model, stream, algo, model_state=state
        )
        taken = seconds(run, sizes.rounds)
        yield {"network": name, "minibatch": sizes.minibatch, "ms a step": 1e3 * taken / steps}
    # `transformers.py` trains this network on the CPU.
    from transformers import CONTEXT, decoder, SEQUENCES, stream_of

    stream = stream_of(steps)
    algo = algorithms.bp(algorithms.adamw(1e-3))
    model = decoder(stream.vocabulary_size)
    taken = seconds(lambda: train_continual(model, stream, algo), sizes.rounds)
    size = f"{SEQUENCES} x {CONTEXT} tokens"
    yield {"network": "GPT, width 64", "minibatch": size, "ms a step": 1e3 * taken / (2 * steps)}


def curvature(sizes: Any) -> Rows:
    """Hessian products and spectra."""
    for width in sizes.widths:
        risk, model = problem(width, sizes.rows)
        operator, vector = Hessian(risk, model), eqx.filter(model, eqx.is_inexact_array)
        peak = product_speed(sizes.rows, max(784, width), width)
        taken = seconds(lambda o=operator, v=vector: products(o, v, PRODUCTS), sizes.rounds)
        first, *rest = (layer.weight.size for layer in model.layers)
        operations = 2.0 * sizes.rows * (6 * sum(rest) + 2 * first)
        fraction = operations * PRODUCTS / taken / peak
        yield {
            "parameters": operator.dim,
            "ms a Hessian product": 1e3 * taken / PRODUCTS,
            "TFLOP/s of a matrix product": peak / 1e12,
            "fraction of it": fraction,
        }
        density = Lanczos(order=sizes.order, num_vectors=1)
        run = lambda o=operator, d=density: d(o, key=jax.random.key(1)).nodes
        yield {
            "parameters": operator.dim,
            "order": sizes.order,
            "s of a spectrum": seconds(run, sizes.rounds),
        }


def ppo(sizes: Any) -> Rows:
    """Environment steps per second of all members together, with learning."""
    world = tasks.SlipperyAnt(backend="spring", steps_per_task=sizes.rollout)
    stream = tasks.PPO(
        world,
        num_tasks=1,
        steps_per_rollout=sizes.rollout,
        epochs=10,
        minibatches_per_epoch=16,
        num_evaluation_environments=1,
        evaluation_steps=1,
    )
    algo = algorithms.bp(algorithms.adam(1e-4))
    for members in sizes.ppo_members:
        keys = jax.random.split(jax.random.key(0), members)
        model = models.ActorCritic(stream.in_size, stream.out_size, key=jax.random.key(1))
        run = lambda m=model, k=keys: train_continual(m, stream, algo, key=Ensemble(k))
        taken = seconds(run, 1)
        yield {"members": members, "environment steps/s": members * sizes.rollout / taken}
