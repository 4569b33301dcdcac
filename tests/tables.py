"""The tables over which the laws of the loop are tested: a new row is one entry here."""

import functools
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from growing_classes import BatchNormNetwork, growing_classes
from networks import drawn
from point_mass import actor_critic, point_mass
from switching import switching_dqn, value_network
from token_network import TokenNetwork
from unit_rewriter import RewriteUnits

from spectral import algorithms, curvature, models, Optimiser, probes, tasks


class Setting(NamedTuple):
    """The arguments of `train_continual` except the algorithm."""

    stream: Any
    model: Any
    model_state: Any = None


KEY = jax.random.key(1)


@functools.cache
def tiny_images() -> tasks.ImageSet:
    rng = np.random.default_rng(0)
    labels = np.tile(np.arange(3), 20)
    images = rng.integers(0, 100, (60, 3, 2, 1)) + 50 * labels[:, None, None, None]
    return tasks.ImageSet(
        name="tiny",
        train_images=jnp.asarray(images[:42].astype(np.uint8)),
        train_labels=jnp.asarray(labels[:42]),
        test_images=jnp.asarray(images[42:].astype(np.uint8)),
        test_labels=jnp.asarray(labels[42:]),
        num_classes=3,
        max_value=255,
    )


def permuted(network: dict[str, Any] | None = None, **options: Any) -> Setting:
    options = {"num_tasks": 3, "steps_per_task": 16, "chunks_per_task": 2} | options
    stream = tasks.PermutedImages(tiny_images(), **options)
    network = {"width": 5, "depth": 2} | (network or {})
    later = network.pop("later", False)
    make = lambda key: models.MLP(6, 3, **network, key=key)
    model = drawn(make, KEY, density=network.get("density", 1))
    return Setting(stream, waiting(model) if later else model)


def waiting(model: Any) -> models.PlasticityInjection:
    """The network with plasticity to be injected."""
    make = lambda m: models.PlasticityInjection(m, later=True, key=KEY)
    return eqx.filter_jit(make)(model)


@functools.cache
def growing() -> Setting:
    return Setting(growing_classes(), *drawn(eqx.nn.make_with_state(BatchNormNetwork), KEY))


@functools.cache
def moving_mass() -> Setting:
    return Setting(point_mass(), drawn(actor_critic, KEY))


@functools.cache
def replay() -> Setting:
    """With a norm, because observations of up to 200 would make some algorithms diverge."""
    return Setting(switching_dqn(), drawn(lambda key: value_network(layer_norm=True, key=key), KEY))


@functools.cache
def split_convnet() -> Setting:
    loader = tasks.Loader(epochs=2, minibatch_size=7)
    stream = tasks.SplitClasses(tiny_images(), classes_per_task=2, num_tasks=3, loader=loader)
    options: Any = {"channels": (3,), "kernels": (3,), "dense_sizes": (4,)}
    return Setting(stream, drawn(lambda key: models.ConvNet((1, 3, 2), 2, **options, key=key), KEY))


@functools.cache
def split_vit() -> Setting:
    """Tokens of one pixel, and a class token."""
    loader = tasks.Loader(epochs=2, minibatch_size=7)
    stream = tasks.SplitClasses(tiny_images(), classes_per_task=2, num_tasks=3, loader=loader)
    options: Any = {"width": 4, "depth": 1, "num_heads": 2, "mlp_width": 6, "activation": "relu"}
    return Setting(stream, drawn(lambda key: models.ViT((1, 3, 2), 2, 1, **options, key=key), KEY))


@functools.cache
def incremental_resnet() -> Setting:
    """Epochs of 2, 5 and 8 minibatches."""
    loader = tasks.Loader(epochs=2, minibatch_size=5)
    stream = tasks.IncrementalClasses(tiny_images(), classes_per_task=1, loader=loader)
    options: Any = {"width": 2, "blocks": (1,), "dense_sizes": (3,)}
    make = eqx.nn.make_with_state(models.ResNet18)
    return Setting(stream, *drawn(lambda key: make((1, 3, 2), 3, **options, key=key), KEY))


@functools.cache
def tiny_rows(kind: str) -> tasks.LabelledSet:
    """Rows of 4 numbers: 24 for training, 6 for tests, 6 for validation."""
    rng = np.random.default_rng(0)
    inputs, classes = rng.normal(size=(36, 4)), np.arange(36) % 3
    labels = {"classes": classes, "numbers": rng.normal(size=(36, 2))}[kind]
    inputs = inputs + classes[:, None]
    return tasks.labelled_set(inputs, labels, name="tiny", num_test=6, num_validation=6)


def own_data(make: Any, kind: str = "classes", *, gradual: Any = None, **options: Any) -> Setting:
    loader = tasks.Loader(epochs=2, minibatch_size=6, standardise=True)
    stream = make(tiny_rows(kind), num_tasks=3, loader=loader, **options)
    stream = stream if gradual is None else gradual(stream, abruptness=0.25)
    network = lambda key: models.MLP(4, stream.out_size, width=5, depth=2, key=key)
    return Setting(stream, drawn(network, KEY))


def permuted_patches() -> Setting:
    loader = tasks.Loader(epochs=2, minibatch_size=5, flat=True)
    stream = tasks.PermutedPatches(tiny_images(), 1, num_tasks=3, loader=loader)
    return Setting(stream, drawn(lambda key: models.MLP(6, 3, width=5, depth=2, key=key), KEY))


SEQUENCES = tasks.SequenceLoader(
    steps_per_task=16, minibatch_size=2, chunks_per_task=2, num_evaluation_examples=5
)


def tiny_text(symbols: str) -> tasks.Text:
    """A text of 200 characters."""
    drawn_symbols = np.random.default_rng(0).choice(list(symbols), 200)
    return tasks.load_text(string="".join(drawn_symbols), name=symbols)


def on_tokens(make: Any, *arguments: Any, **options: Any) -> Setting:
    stream = make(*arguments, num_tasks=3, loader=SEQUENCES, **options)
    make = lambda key: TokenNetwork(stream.vocabulary_size, stream.context, key=key)
    return Setting(stream, drawn(make, KEY))


@functools.cache
def permuted_vocabulary() -> Setting:
    return on_tokens(tasks.PermutedVocabulary, text=tiny_text("abcd"), context=6)


def formal_tasks() -> Setting:
    rules = tasks.ReverseSymbols(), tasks.ModularAddition(3)
    return on_tokens(tasks.FormalTasks, rules, num_symbols=4, length=3)


STREAMS = {
    "permuted_online": permuted,
    "permuted_minibatch": lambda: permuted(minibatch_size=4),
    "growing_classes": growing,
    "point_mass": moving_mass,
    "replay": replay,
    "split_convnet": split_convnet,
    "split_vit": split_vit,
    "incremental_resnet": incremental_resnet,
    "flipped_labels": lambda: own_data(tasks.FlippedLabels, fraction=0.25),
    "rotated_inputs": lambda: own_data(tasks.RotatedInputs),
    "drifting_numbers": lambda: own_data(tasks.DriftingInputs, "numbers"),
    "permuted_vocabulary": permuted_vocabulary,
    "markov_sources": lambda: on_tokens(
        tasks.MarkovSources, num_symbols=4, entropy_rate=0.7, context=6
    ),
    "formal_tasks": formal_tasks,
    "text_sequence": lambda: on_tokens(
        tasks.TextSequence, (tiny_text("abc"), tiny_text("cd")), context=6
    ),
    "permuted_patches": permuted_patches,
    "gradual_inputs": lambda: own_data(tasks.RotatedInputs, gradual=tasks.InterpolatedInputs),
    "gradual_labels": lambda: own_data(
        tasks.RandomLabels, gradual=tasks.InterpolatedLabels, rows=24
    ),
    "gradual_mixture": lambda: own_data(tasks.GrowingData, gradual=tasks.DriftingMixture),
}

# Streams that share all except their tasks with another row, and the algorithms they train with.
SIBLINGS = {"markov_sources", "formal_tasks", "text_sequence", "permuted_patches"}
WITH_SIBLINGS = {"bp", "l2_er"}


def rewriter(lr: Any) -> algorithms.Algorithm:
    transform = algorithms.Periodic(RewriteUnits(), period=4)
    return algorithms.Algorithm(Optimiser(optax.adam, learning_rate=lr), transforms=(transform,))


def rewired(lr: Any) -> algorithms.Algorithm:
    transform = algorithms.Periodic(algorithms.SparseRewiring(fraction=0.4), 4)
    return algorithms.Algorithm(algorithms.adam(lr), transforms=(transform,))


def curved(lr: Any) -> algorithms.Algorithm:
    transform = algorithms.Periodic(algorithms.CurvatureBarrier(1e-4, window=2), 4)
    return algorithms.Algorithm(algorithms.sgd(lr), transforms=(transform,))


def warm_started(lr: Any) -> algorithms.Algorithm:
    transform = algorithms.ShrinkPerturb(shrink=0.6, target="fresh", amount=0.1, at="task")
    return algorithms.Algorithm(algorithms.sgd(lr, momentum=0.9), transforms=(transform,))


def switched(lr: Any) -> algorithms.Algorithm:
    """On from the second task."""
    sign = probes.DeadUnits(num_examples=4)
    options: Any = {"threshold": 1.5, "direction": "below", "patience": 2}
    noise = algorithms.ShrinkPerturb(noise=1e-2)
    transform = algorithms.SwitchedOn(noise, sign, "fraction", **options)
    return algorithms.followed_by(algorithms.bp(lr), (transform,))


# Each takes the learning rate. Every cadence is 2 or 4 steps.
ALGORITHMS = {
    "bp": algorithms.bp,
    "l2": lambda lr: algorithms.l2(lr, weight_decay=1e-2),
    "er": lambda lr: algorithms.er(lr, er_period=2),
    "l2_er": lambda lr: algorithms.l2_er(lr, er_period=4, weight_decay=1e-2),
    "rewriter": rewriter,
    "cbp": lambda lr: algorithms.cbp(algorithms.adam(lr), replacement_rate=0.05, maturity=2),
    "cbp_l2": lambda lr: algorithms.cbp_l2(lr, replacement_rate=0.05, maturity=2),
    "redo": lambda lr: algorithms.redo(lr, threshold=0.5, period=4),
    "regrama": lambda lr: algorithms.regrama(lr, threshold=0.3, period=4),
    "snr": lambda lr: algorithms.snr(lr, rejection_level=0.2, max_age=8),
    "snp": lambda lr: algorithms.snp(lr, noise=1e-2, period=2),
    "snp_l2": lambda lr: algorithms.snp_l2(lr, noise=1e-2),
    "warm_started": warm_started,
    "reset": algorithms.reset,
    "reset_head": lambda lr: algorithms.reset(algorithms.muon(lr), part="head"),
    "l2_init": lambda lr: algorithms.l2_init(lr, strength=1e-2),
    "wasserstein": algorithms.wasserstein,
    "spectral_reg": lambda lr: algorithms.spectral_reg(lr, strength=1e-2),
    "parseval": lambda lr: algorithms.parseval(lr, strength=1e-5),
    "layernorm_l2": lambda lr: algorithms.layernorm_l2(lr, weight_decay=1e-2),
    "nap": lambda lr: algorithms.nap(lr, period=2),
    "rewired": rewired,
    "curved": curved,
    "upgd": algorithms.upgd,
    # The published scale diverges in a network of a few weights.
    "c_chain": lambda lr: algorithms.c_chain(
        lr, scale=1e-3, initial=0.1, initial_chunks=1, window=3
    ),
    "feature_log_det": lambda lr: algorithms.feature_log_det(lr, window=2),
    "aid": algorithms.bp,
    "adalin": lambda lr: algorithms.redo(lr, threshold=0.5, period=4),
    "smooth_leaky": algorithms.bp,
    "hare_tortoise": lambda lr: algorithms.hare_tortoise(lr, decay=0.5, period=4),
    "cpr": lambda lr: algorithms.cpr(lr, amount=0.1, period=4),
    "fire": lambda lr: algorithms.fire(algorithms.sgd(lr, momentum=0.9), iterations=2),
    "selective_reinit": lambda lr: algorithms.selective_reinit(lr, fraction=0.1, period=4),
    "weight_clipping": lambda lr: algorithms.weight_clipping(lr, factor=2.0),
    "soft_weight_rescaling": lambda lr: algorithms.soft_weight_rescaling(lr, amount=0.1),
    # At first the scale is 1e-7, below the rounding of the weights in small steps.
    "trac": lambda lr: algorithms.trac(algorithms.sgd(100 * lr), keep_distance=True),
    "dash": lambda lr: algorithms.dash(lr, num_batches=2, batch_size=3),
    "switched": switched,
    "injected": lambda lr: algorithms.Algorithm(
        algorithms.adam(lr), transforms=(algorithms.InjectPlasticity(task=1),)
    ),
    "adam_local_time": lambda lr: algorithms.adam_local_time(lr, at="chunk"),
}

# Options of the network that some algorithms need or are. These are not paired with all streams.
NEEDS = {
    "layernorm_l2": {"layer_norm": True},
    "nap": {"layer_norm": True},
    "rewired": {"density": 0.5},
    "aid": {"activation": models.AID(p=0.9)},
    "adalin": {"activation": models.AdaLin()},
    "smooth_leaky": {"activation": models.smooth_leaky()},
    "injected": {"later": True},
}


def _pairs() -> list[Any]:
    """Every algorithm with every stream. The quick pairs have a penalty and a transform, units that
    are rewritten under Adam, BatchNorm, rollouts, and sequences; `test_recipes.py` trains the other
    parts."""
    quick = {
        ("l2_er", "permuted_online"),
        ("rewriter", "growing_classes"),
        ("bp", "point_mass"),
        ("bp", "permuted_vocabulary"),
    }
    return [
        pytest.param(a, s, id=f"{a}-{s}", marks=() if (a, s) in quick else pytest.mark.slow)
        for a in ALGORITHMS
        for s in STREAMS
        if a not in NEEDS and (s not in SIBLINGS or a in WITH_SIBLINGS)
    ]


PAIRS = _pairs()


class Estimator(NamedTuple):
    """An estimator for a matrix of 32 rows, and its properties."""

    estimator: Any
    exact: bool = False  # finds all eigenvalues of a matrix of low rank, for any random vectors
    bounds: bool = True  # bounds the error of the rest of the spectrum
    guarded: bool = True  # handles a Krylov space that ends early
    gram: bool = False  # only for matrices F F^T that have a Gram matrix
    quick: str | None = "float64"  # the precision in which the quick tests run it


ESTIMATORS = {
    "lanczos": Estimator(curvature.Lanczos(order=20)),
    "lanczos_normal": Estimator(
        curvature.Lanczos(order=20, distribution=curvature.Normal()), quick=None
    ),
    "lanczos_signs": Estimator(
        curvature.Lanczos(order=20, distribution=curvature.Rademacher()), quick=None
    ),
    "lanczos_without_basis": Estimator(
        curvature.Lanczos(order=20, orthogonalisation=curvature.NoOrthogonalisation()),
        bounds=False,
        quick=None,
    ),
    "matfree": Estimator(curvature.MatfreeLanczos(order=20), guarded=False),
    "dense": Estimator(curvature.Dense(), exact=True),
    "gram": Estimator(curvature.GramEigh(), exact=True, gram=True),
    "chebyshev": Estimator(curvature.Chebyshev(order=100), bounds=False),
    "deflated": Estimator(curvature.Deflated(order=14, deflation_order=20), exact=True),
}
