"""How fast transformers are: training in the loop, products with the Hessian, Kronecker factors.

    python benchmarks/transformers.py [train] [hessian] [kfac] [--rounds 15] [--steps 100]

The network is a `models.GPT` of 4 blocks, width 64 and 4 heads on 8 sequences of 32 tokens of the
English text that comes with Python. All contenders of a part run in one process and in turn. Each
round gives the ratio of two times, and the median of these ratios is printed, because other
programs may slow down a whole round. The time of the processor is printed as well: it does not
count the time for which others have the processor. It counts all threads, so compare it on one
processor: `taskset -c 0 python benchmarks/transformers.py`.

`train`: AdamW with warm-up and cosine in each of four tasks. `loop` is `train_continual`, which
checks its arguments, draws the sequences and evaluates each task within the measured time. `bare`
is one `lax.scan` over given tokens, with the same network and the same optimiser. `torch` is an
eager loop with the fused AdamW at a fixed learning rate. All compute loss and accuracy of each
step.

`hessian`: one product with the Hessian of the mean loss on the 8 sequences. The product inside
Lanczos is that of `linearised`, in a loop of 20; `single` is a product by itself, which evaluates
the gradient again, as the peers do.

`kfac`: Kronecker factors of the Linear layers, against those of curvlinops, and of all layers,
which curvlinops does not have. `mc` draws one target for each token. `type-2` pulls back the
columns of all positions of a sequence together, as curvlinops does, so both take 103 columns.
`Exact()` takes 3,296, one for each position and class.

The peers need the extra `benchmarks` and `pip install --no-deps hessian-eigenthings`. Without them
their rows are left out.
"""

import argparse
import time
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from attention_peers import Together
from curvature_peers import installed

from spectral import algorithms, models, tasks, train_continual
from spectral.curvature import Empirical, Hessian, KFAC, Risk, Sampled, SoftmaxCrossEntropy


Contenders = dict[str, Callable[[], object]]
PEAK, DECAY, SEQUENCES, CONTEXT, PRODUCTS, TASKS = 1e-3, 0.01, 8, 32, 20, 4


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


def train(rounds: int, steps: int) -> None:
    stream = stream_of(steps)
    model = decoder(stream.vocabulary_size)
    lr = algorithms.WarmupCosine(PEAK, warmup_steps=steps // 10, decay_steps=steps, restart="task")
    algo = algorithms.bp(algorithms.adamw(lr, weight_decay=DECAY))
    inputs, targets = tokens_of(stream, TASKS * steps)
    contenders: Contenders = {
        "loop": lambda: train_continual(model, stream, algo),
        "bare": bare(model, inputs, targets),
    }
    if installed("torch"):
        from transformers_in_torch import Peers

        peers = Peers(model, inputs, targets)
        own = risk_of(inputs, targets)(model)
        assert abs(float(own) - peers.loss_of_first()) < 1e-4
        contenders["torch"] = peers.training(PEAK, DECAY)
    size = sum(p.size for p in jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array)))
    print(f"{size:,} parameters, {stream.vocabulary_size} tokens, {TASKS * steps} steps")
    show(in_turn(contenders, rounds), "loop", TASKS * steps)


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


def hessian(rounds: int) -> None:
    stream = stream_of(1)
    model = decoder(stream.vocabulary_size)
    inputs, targets = tokens_of(stream, 1)
    operator = Hessian(risk_of(inputs, targets), model)
    vector = eqx.filter(model, eqx.is_inexact_array)
    contenders: Contenders = {
        "single": lambda: jax.block_until_ready(single(operator, vector)),
        "linearised": lambda: jax.block_until_ready(linearised(operator, vector)),
    }
    if installed("torch", "curvlinops"):
        from transformers_in_torch import Peers

        contenders["curvlinops"] = Peers(model, inputs, targets).curvlinops_product()
    if installed("torch", "hessian_eigenthings"):
        from transformers_in_torch import Peers

        contenders["eigenthings"] = Peers(model, inputs, targets).eigenthings_product()
    taken = in_turn(contenders, rounds)
    taken["linearised"] = taken["linearised"] / PRODUCTS
    show(taken, "linearised", 1)
    show(taken, "single", 1)


def kfac(rounds: int) -> None:
    stream = stream_of(1)
    model = decoder(stream.vocabulary_size, tied=False)
    inputs, targets = tokens_of(stream, 1)
    risk = risk_of(inputs, targets)
    parts = [
        f"blocks.{i}.{part}" for i in range(len(model.blocks)) for part in ("attention", "mlp")
    ]
    linear = (*parts, "head")
    kinds = {"mc": Sampled(jax.random.key(1)), "empirical": Empirical(), "type-2": Together()}
    for kind, factor in kinds.items():
        contenders: Contenders = {
            name: lambda factor=factor, layers=layers: jax.block_until_ready(
                factors(risk, model, factor, layers)
            )
            for name, layers in (("linear", linear), ("all layers", None))
        }
        if installed("torch", "curvlinops"):
            from transformers_in_torch import Peers

            peers = Peers(model, inputs, targets)
            contenders["curvlinops"] = peers.curvlinops_kfac(kind)
        print(kind)
        show(in_turn(contenders, rounds), "linear", 1)


def in_turn(contenders: Contenders, rounds: int) -> dict[str, np.ndarray]:
    """The seconds on the clock and those of the processor, [rounds, 2], after one call that
    compiles."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for repeat in range(rounds + 1):
        for name, run in contenders.items():
            start = time.perf_counter(), time.process_time()
            run()
            if repeat:
                end = time.perf_counter(), time.process_time()
                taken[name].append((end[0] - start[0], end[1] - start[1]))
    return {name: np.asarray(times) for name, times in taken.items()}


def show(taken: dict[str, np.ndarray], base: str, steps: int) -> None:
    for name, times in taken.items():
        wall, work = np.median(times, axis=0) / steps * 1e3
        ratio, of_work = np.median(times / taken[base], axis=0)
        print(
            f"{name:12s}{wall:10.3f} ms,{ratio:6.2f} times `{base}`; processor {work:10.3f} ms,"
            f"{of_work:6.2f} times",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("parts", nargs="*", default=["train", "hessian", "kfac"])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps", type=int, default=100)
    own = parser.parse_args()
    if "train" in own.parts:
        train(own.rounds, own.steps)
    if "hessian" in own.parts:
        hessian(own.rounds)
    if "kfac" in own.parts:
        kfac(own.rounds)


if __name__ == "__main__":
    main()
