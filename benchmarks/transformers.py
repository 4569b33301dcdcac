"""How fast transformers are: training in the loop, products with the Hessian, Kronecker factors.

    python benchmarks/transformers.py [train] [hessian] [kfac] [--quick] [--small]

The network is a `models.GPT` of 4 blocks, width 64 and 4 heads on 8 sequences of 32 tokens of the
English text that comes with Python. The time of the processor counts all threads, so compare it on
one processor: `taskset -c 0 python benchmarks/transformers.py`.

`train`: AdamW with warm-up and cosine in each of four tasks. `loop` is `train_continual`, which
checks its arguments, draws the sequences and evaluates each task within the measured time. `bare`
is one `lax.scan` over given tokens, with the same network and the same optimiser. `torch` is an
eager loop with the fused AdamW at a fixed learning rate. All compute loss and accuracy of each
step.

`hessian`: one product with the Hessian of the mean loss on the 8 sequences. The product inside
Lanczos is in a loop of 20; `by itself` is a single product, which evaluates the gradient again, as
the peers do.

`kfac`: Kronecker factors of the Linear layers, against those of curvlinops, and of all layers,
which curvlinops does not have. `mc` draws one target for each token. `type-2` pulls back the
columns of all positions of a sequence together, as curvlinops does, so both take 103 columns.
`Exact()` takes 3,296, one for each position and class.

The peers need the extra `benchmarks`. Without it their rows are left out.
"""

import argparse
import functools
from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from attention_peers import Together
from curvature_peers import installed
from timing.case import Case, Contender, operations
from timing.command import add_options, Cases, time_cases

from spectral import algorithms, models, tasks, train_continual
from spectral.curvature import Empirical, Hessian, KFAC, Risk, Sampled, SoftmaxCrossEntropy


PARTS = ("train", "hessian", "kfac")
PEAK, DECAY, SEQUENCES, CONTEXT, PRODUCTS, TASKS = 1e-3, 0.01, 8, 32, 20, 4
PRODUCT = SEQUENCES * CONTEXT, 64, 256  # of all tokens with the first layer of an MLP
KINDS = {"mc": Sampled(jax.random.key(1)), "empirical": Empirical(), "type-2": Together()}


def decoder(vocabulary_size: int, *, tied: bool = True) -> models.GPT:
    options = {"width": 64, "depth": 4, "num_heads": 4, "tied": tied}
    return models.GPT(vocabulary_size, CONTEXT, **options, key=jax.random.key(0))


def stream_of(steps: int) -> tasks.PermutedVocabulary:
    loader = tasks.SequenceLoader(
        steps_per_task=steps, minibatch_size=SEQUENCES, num_evaluation_examples=SEQUENCES
    )
    return tasks.PermutedVocabulary(context=CONTEXT, num_tasks=TASKS, loader=loader)


def tokens_of(stream: tasks.PermutedVocabulary, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Random windows of the text, [steps, sequences, tokens], and the tokens that follow."""
    text = np.asarray(stream.source.train.tokens)
    rng = np.random.default_rng(0)
    starts = rng.integers(0, len(text) - CONTEXT - 1, (steps, SEQUENCES, 1))
    windows = text[starts + np.arange(CONTEXT + 1)].astype(np.int32)
    return windows[..., :-1], windows[..., 1:]


def bare(model: models.GPT, inputs: np.ndarray, targets: np.ndarray) -> Callable[[], object]:
    steps = len(inputs)
    rate = optax.warmup_cosine_decay_schedule(0.0, PEAK, steps // 10, steps)
    optimiser = algorithms.entrywise_adamw(1.0, weight_decay=DECAY)
    params, static = eqx.partition(model, eqx.is_inexact_array)

    def loss(params, x, y):
        logits, _ = jax.vmap(eqx.combine(params, static))(x)
        values = optax.softmax_cross_entropy_with_integer_labels(logits, y)
        return jnp.mean(values), jnp.mean(jnp.argmax(logits, -1) == y)

    @jax.jit
    def train(params, inputs, targets):
        def step(carried, batch):
            params, state, count = carried
            (value, right), grads = jax.value_and_grad(loss, has_aux=True)(params, *batch)
            updates, state = optimiser.update(grads, state, params)
            scaled = jax.tree.map(lambda u: rate(count) * u, updates)
            return (optax.apply_updates(params, scaled), state, count + 1), (value, right)

        start = params, optimiser.init(params), jnp.asarray(0)
        return jax.lax.scan(step, start, (inputs, targets))

    given = jnp.asarray(inputs), jnp.asarray(targets)
    return lambda: jax.block_until_ready(train(params, *given))


def training(steps: int) -> Case:
    stream = stream_of(steps)
    model = decoder(stream.vocabulary_size)
    lr = algorithms.WarmupCosine(PEAK, warmup_steps=steps // 10, decay_steps=steps, restart="task")
    algo = algorithms.bp(algorithms.adamw(lr, weight_decay=DECAY))
    count = TASKS * steps
    inputs, targets = tokens_of(stream, count)
    peers = {"bare JAX": Contender(bare(model, inputs, targets), count)}
    risk = risk_of(inputs, targets)
    if installed("torch"):
        from transformers_in_torch import Peers

        in_torch = Peers(model, inputs, targets)
        assert abs(float(risk(model)) - in_torch.loss_of_first()) < 1e-4
        peers["PyTorch"] = Contender(in_torch.training(PEAK, DECAY), count)
    ours = Contender(lambda: train_continual(model, stream, algo), count)
    params, static = eqx.partition(model, eqx.is_inexact_array)
    flops = operations(jax.grad(lambda params: risk(eqx.combine(params, static))), params)
    return Case(ours, peers, flops, product=PRODUCT)


def forward(model: models.GPT, inputs):
    return jax.vmap(model)(inputs)[0]


def risk_of(inputs: np.ndarray, targets: np.ndarray) -> Risk:
    return Risk(forward, SoftmaxCrossEntropy(), jnp.asarray(inputs[0]), jnp.asarray(targets[0]))


@eqx.filter_jit
def single(operator: Hessian, vector):
    return operator.product()(vector)


@eqx.filter_jit
def linearised(operator: Hessian, vector):
    product = operator.product()
    return jax.lax.fori_loop(0, PRODUCTS, lambda _, v: product(v), vector)


@eqx.filter_jit
def factors(risk: Risk, model: models.GPT, factor, layers: tuple[str, ...] | None):
    kfac = KFAC(risk, model, factor=factor, layers=layers)
    return eqx.filter(kfac.blocks, eqx.is_array)


def hessian() -> Case:
    stream = stream_of(1)
    model = decoder(stream.vocabulary_size)
    inputs, targets = tokens_of(stream, 1)
    risk = risk_of(inputs, targets)
    operator = Hessian(risk, model)
    vector, static = eqx.partition(model, eqx.is_inexact_array)
    peers = {"by itself": Contender(lambda: single(operator, vector))}
    if installed("torch", "curvlinops"):
        from transformers_in_torch import Peers

        peers["curvlinops"] = Contender(Peers(model, inputs, targets).curvlinops_product())
    if installed("torch", "hessian_eigenthings"):
        from transformers_in_torch import Peers

        product = Peers(model, inputs, targets).eigenthings_product()
        peers["hessian-eigenthings"] = Contender(product)
    gradient = jax.grad(lambda params: risk(eqx.combine(params, static)))
    both = lambda v: jax.jvp(gradient, (vector,), (v,))
    # What a linearised product does not compute again.
    flops = operations(both, vector) - operations(gradient, vector)
    ours = Contender(lambda: linearised(operator, vector), PRODUCTS)
    return Case(ours, peers, flops, product=PRODUCT)


def kfac(kind: str) -> Case:
    stream = stream_of(1)
    model = decoder(stream.vocabulary_size, tied=False)
    inputs, targets = tokens_of(stream, 1)
    risk = risk_of(inputs, targets)
    parts = [
        f"blocks.{i}.{part}" for i in range(len(model.blocks)) for part in ("attention", "mlp")
    ]
    of = lambda layers: Contender(lambda: factors(risk, model, KINDS[kind], layers))
    peers = {"all layers": of(None)}
    if installed("torch", "curvlinops"):
        from transformers_in_torch import Peers

        peers["curvlinops"] = Contender(Peers(model, inputs, targets).curvlinops_kfac(kind))
    return Case(of((*parts, "head")), peers)


def cases(parts: Sequence[str] = PARTS, *, quick: bool, small: bool) -> Cases:
    """The work of each part, by its name."""
    found: dict[str, dict[str, Callable[[], Case]]] = {
        "train": {
            "step of AdamW, GPT 64": functools.partial(training, 10 if small else 50),
        },
        "hessian": {"Hessian product, GPT 64": hessian},
        "kfac": {
            f"KFAC factors ({kind}), GPT 64": functools.partial(kfac, kind)
            for kind in (["mc"] if quick else KINDS)
        },
    }
    return {work: make for part in parts for work, make in found[part].items()}


def main() -> None:
    parser = argparse.ArgumentParser(description="How fast transformers are.")
    parser.add_argument("parts", nargs="*", default=PARTS, metavar=f"[{' '.join(PARTS)}]")
    add_options(parser)
    given = parser.parse_args()
    if unknown := sorted(set(given.parts) - set(PARTS)):
        parser.error(f"unknown parts {unknown}: choose from {list(PARTS)}, or pass none for all")
    time_cases(cases(given.parts, quick=given.quick, small=given.small), given)


if __name__ == "__main__":
    main()
