"""Streams of token sequences, against plain Python and NumPy."""

import functools
import itertools
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import drawn
from token_network import TokenNetwork

from spectral import algorithms, curvature, Learner, tasks
from spectral.tasks.sequences._formal_tasks import FormalTask
from spectral.tasks.sequences._random_transitions import random_transitions


KEY = jax.random.key(3)
IGNORED = tasks.SequenceBatch.ignore_label
RULES = (
    tasks.CopySymbols(),
    tasks.ReverseSymbols(),
    tasks.SortSymbols(),
    tasks.ModularAddition(3),
    tasks.ModularAddition(4),
)
# The token at each place of this text is the place itself. Windows of 5 tokens begin at every
# fourth place: 11 for training, 3 held out.
PLACES = tasks.load_text(tokens=np.arange(60), held_out_fraction=0.25)
WEIGHTS = (0.0, 0.5, 1.0, 2.0)


@functools.cache
def streams() -> dict[str, Any]:
    loader = tasks.SequenceLoader(
        steps_per_task=10, minibatch_size=3, chunks_per_task=2, evaluation_batch_size=2
    )
    shorter = tasks.load_text(tokens=np.arange(29), held_out_fraction=0.4)  # 4 and 2 windows
    return {
        "vocabulary": tasks.PermutedVocabulary(
            text=PLACES, context=4, num_tasks=6, weights=WEIGHTS, loader=loader
        ),
        "texts": tasks.TextSequence((PLACES, shorter), context=4, num_tasks=6, loader=loader),
        "formal": tasks.FormalTasks(
            RULES, num_symbols=5, length=3, held_out_fraction=0.4, num_tasks=6, loader=loader
        ),
    }


SIZES = {"vocabulary": (11, 3), "texts": (4, 2), "formal": (300, 300)}  # drawn of each split


@functools.cache
def found(name: str) -> list[dict[str, Any]]:
    """What a stream makes of six tasks, from one program."""

    @eqx.filter_jit
    def of_task(stream, index):
        key = jax.random.fold_in(KEY, index)
        state = stream.task(index, key=key)
        visited = [stream.visited(state, jnp.asarray(chunk), key=key) for chunk in range(2)]
        shown = {"state": state, "chunks": jnp.concatenate(visited)}
        for split, size in zip(("train", "held_out"), SIZES[name], strict=True):
            tokens = stream.draw(state, size, split, key=key)
            shown[split] = tokens, stream.batch(state, tokens)
        return shown | {"evaluated": stream.evaluated(state, key=key)}

    stream = streams()[name]
    return [jax.tree.map(np.asarray, of_task(stream, jnp.asarray(i))) for i in range(6)]


def test_a_task_renames_the_symbols_of_training_and_held_out_windows():
    names = [task["state"].change for task in found("vocabulary")]
    for task, renaming in zip(found("vocabulary"), names, strict=True):
        assert sorted(renaming.tolist()) == list(range(60))
        for split in ("train", "held_out"):
            tokens, batch = task[split]
            assert tokens.dtype == np.uint8
            np.testing.assert_array_equal(batch.inputs, renaming[tokens[:, :-1]])
            np.testing.assert_array_equal(batch.labels, renaming[tokens[:, 1:]])
            np.testing.assert_array_equal(batch.weights, [WEIGHTS] * len(tokens))
    assert len({tuple(renaming.tolist()) for renaming in names}) == 6


def test_windows_are_visited_in_passes_and_no_held_out_window_overlaps():
    for task in found("vocabulary"):
        starts = task["chunks"][:, 0]
        np.testing.assert_array_equal(task["chunks"], starts[:, None] + np.arange(5))
        for visited in (starts[:11], starts[11:22], task["train"][0][:, 0]):
            assert sorted(visited.tolist()) == list(range(0, 44, 4))
        assert len(set(starts[22:].tolist())) == 8
        assert starts[:11].tolist() != starts[11:22].tolist()
        assert sorted(task["held_out"][0][:, 0].tolist()) == [45, 49, 53]
        assert task["evaluated"][:, 0].tolist() == [45, 49, 53]
        assert not np.isin(task["evaluated"], task["chunks"]).any()
    orders = {tuple(task["chunks"][:11, 0].tolist()) for task in found("vocabulary")}
    assert len(orders) == 6


@pytest.mark.slow
def test_each_task_has_a_text_and_the_texts_return():
    """The second text has 17 training tokens and 12 that are held out."""
    stream, (first, second, again, *_) = streams()["texts"], found("texts")
    assert stream.vocabulary_size == 60
    assert sorted(second["chunks"][:4, 0].tolist()) == [0, 4, 8, 12]
    assert sorted(second["chunks"][4:8, 0].tolist()) == [0, 4, 8, 12]
    assert second["evaluated"][:, 0].tolist() == [17, 21]
    for task in (first, again):
        assert sorted(task["chunks"][:11, 0].tolist()) == list(range(0, 44, 4))
        assert task["evaluated"][:, 0].tolist() == [45, 49]
    assert first["chunks"].tolist() != again["chunks"].tolist()


def test_texts_have_the_union_of_their_vocabularies():
    strings = "abba" * 20, "cab" * 30
    texts = tuple(tasks.load_text(string=string) for string in strings)
    train = tasks.TextSequence(texts, context=4).source.train
    both = "".join("abc"[token] for token in np.asarray(train.tokens))
    assert both == strings[0][:72] + strings[1][:81]
    assert np.asarray(train.starts).tolist() == [0, 72]
    assert np.asarray(train.counts).tolist() == [17, 20]


def plainly(rule: Any, symbols: list[int]) -> list[int]:
    if isinstance(rule, tasks.ModularAddition):
        return [sum(symbols) % rule.modulus]
    answers = {
        tasks.CopySymbols: list,
        tasks.ReverseSymbols: lambda s: list(reversed(s)),
        tasks.SortSymbols: sorted,
    }
    return answers[type(rule)](symbols)


STRINGS = np.array(list(itertools.product(range(5), repeat=3)), np.uint8)


def test_formal_answers_and_what_counts():
    """All strings, by all rules."""
    stream = streams()["formal"]
    shifts = jnp.zeros((2, 5), int)

    @jax.jit
    def shown():
        of_rule = lambda rule: stream.batch(FormalTask(rule, shifts), jnp.asarray(STRINGS))
        return jax.lax.map(of_rule, jnp.arange(len(RULES)))

    batch = shown()
    assert batch.inputs.shape[-1] == stream.context
    for rule, inputs, labels in zip(RULES, batch.inputs, batch.labels, strict=True):
        for i, symbols in enumerate(STRINGS.tolist()):
            answer = plainly(rule, symbols)
            missing = [IGNORED] * (3 - len(answer))
            assert labels[i].tolist() == [IGNORED] * 3 + answer + missing
            assert inputs[i].tolist() == ([*symbols, 5, *answer] + [5] * len(missing))[:6]


@pytest.mark.slow
def test_held_out_strings_are_not_trained_on():
    parts = []
    for index, task in enumerate(found("formal")):
        assert task["state"].rule == index % len(RULES)
        # Of the five first symbols of a string, two are held out for any other symbols.
        shifts = task["state"].shifts
        residues = STRINGS[:, 0] + shifts[0, STRINGS[:, 1]] + shifts[1, STRINGS[:, 2]]
        held_out = set(map(tuple, STRINGS[residues % 5 < 2].tolist()))
        strings = lambda tokens: set(map(tuple, tokens.tolist()))
        assert len(held_out) == 50
        assert strings(task["evaluated"]) <= held_out
        assert strings(task["held_out"][0]) <= held_out
        assert len(strings(task["held_out"][0])) > 45
        trained = strings(task["train"][0]) | strings(task["chunks"])
        assert not trained & held_out
        assert len(trained) > 70
        parts.append(frozenset(held_out))
    assert len(set(parts)) == 6


def test_the_entropy_of_a_chain_is_what_was_asked():
    """The exact entropy rate under the stationary distribution, also near both ends."""
    rates = np.array([0.01, 0.7, 1.0, math.log(6) - 1e-3])
    with jax.enable_x64(True):
        draw = jax.jit(jax.vmap(lambda rate: random_transitions(6, rate, key=KEY)))
        matrices = np.asarray(draw(jnp.asarray(rates)))
    for rate, matrix in zip(rates, matrices, strict=True):
        np.testing.assert_allclose(matrix.sum(axis=1), 1, rtol=1e-12)
        values, vectors = np.linalg.eig(matrix.T)
        stationary = np.real(vectors[:, np.argmin(abs(values - 1))])
        stationary = stationary / stationary.sum()
        np.testing.assert_allclose(stationary @ matrix, stationary, atol=1e-12)
        terms = -matrix * np.log(np.maximum(matrix, 1e-300))
        assert abs(stationary @ terms.sum(axis=1) - rate) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_long_sample_has_the_entropy_of_the_chain(seed):
    """Its cross-entropy under the true matrix, in single precision, and its first symbols."""
    source = tasks.MarkovSources(num_symbols=6, entropy_rate=0.7, context=50)

    @jax.jit
    def chain(key):
        state = source.task(jnp.asarray(0), key=key)
        return state.transitions, source.draw(state, 400, "train", key=jax.random.fold_in(key, 1))

    matrix, tokens = map(np.asarray, chain(jax.random.key(seed)))
    assert tokens.dtype == np.uint8
    assert tokens.shape == (400, 51)
    assert np.bincount(tokens[:, 0], minlength=6).min() > 40  # uniform: 67 each
    np.testing.assert_allclose(matrix.sum(axis=1), 1, rtol=1e-5)
    entropies = -(matrix * np.log(np.maximum(matrix, 1e-30))).sum(axis=1)
    np.testing.assert_allclose(entropies, 0.7, atol=1e-5)
    losses = -np.log(matrix[tokens[:, :-1], tokens[:, 1:]]).ravel()
    assert abs(losses.mean() - 0.7) < 3 * losses.std() / math.sqrt(losses.size)
    again = np.mean((tokens[:200] == tokens[200:]).all(axis=1))
    assert again < 0.01  # sequences are drawn independently


def tiny_network(stream) -> TokenNetwork:
    make = lambda key: TokenNetwork(stream.vocabulary_size, stream.context, key=key)
    return drawn(make, KEY)


def logits(model, tokens):
    hidden = model.embedding.weight[tokens] @ model.hidden.weight.T + model.hidden.bias
    return np.maximum(hidden, 0) @ model.head.weight.T + model.head.bias


def test_metrics_against_numpy_and_a_renamed_network():
    """Three held-out windows in passes of two, and weights of the positions. A network whose
    symbols are renamed as those of the task are has the loss of the original text."""
    stream = streams()["vocabulary"]
    model, state = tiny_network(stream), found("vocabulary")[1]["state"]
    plain = eqx.tree_at(lambda s: s.change, state, np.arange(60))
    # Token `change[s]` of the task is symbol s of the text.
    back = np.argsort(state.change)
    table = lambda m: (m.embedding.weight, m.head.weight, m.head.bias)
    renamed = eqx.tree_at(table, model, replace_fn=lambda x: x[back])

    optimiser = algorithms.bp(0.1).optimiser

    @eqx.filter_jit
    def evaluate(model, state):
        learner = Learner(model, None, optimiser)
        return stream.evaluate(jax.tree.map(jnp.asarray, state), learner, key=KEY)

    got, original, same = evaluate(model, state), evaluate(model, plain), evaluate(renamed, state)
    tokens = found("vocabulary")[1]["evaluated"]
    outputs = np.asarray(logits(jax.tree.map(np.asarray, model), state.change[tokens[:, :-1]]))
    labels = state.change[tokens[:, 1:]]
    highest = outputs.max(axis=-1, keepdims=True)
    log_p = outputs - highest - np.log(np.exp(outputs - highest).sum(axis=-1, keepdims=True))
    losses = -np.take_along_axis(log_p, labels[..., None], axis=-1)[..., 0]
    weights = np.array([WEIGHTS] * 3) / (3 * sum(WEIGHTS))
    right = outputs.argmax(axis=-1) == labels
    np.testing.assert_allclose(got["test_loss"], (weights * losses).sum(), rtol=1e-5)
    np.testing.assert_allclose(got["test_accuracy"], (weights * right).sum(), rtol=1e-5)
    np.testing.assert_allclose(same["test_loss"], original["test_loss"], rtol=1e-6)
    assert abs(got["test_loss"] - original["test_loss"]) > 1e-3


@pytest.mark.slow
def test_the_loss_of_curvature_is_the_criterion():
    """With labels that do not count and weights: the mean, and the Hessian in the outputs against
    derivatives of the criterion."""
    rng = np.random.default_rng(0)
    outputs = jnp.asarray(rng.normal(size=(2, 3, 4)))
    labels = jnp.array([[1, IGNORED, 3], [0, 2, IGNORED]])
    weights = jnp.array([[0.5, 1.0, 2.0], [0.0, 1.5, 1.0]])
    batch = tasks.SequenceBatch(jnp.zeros((2, 3), int), labels, weights=weights)
    loss, tangent = tasks.SequenceLoss(), jnp.asarray(rng.normal(size=(2, 3, 4)))
    stream = tasks.MarkovSources(num_symbols=4, context=3)

    @jax.jit
    def compared():
        mean = lambda z: stream.criterion(z, batch)[0]
        gradient, product = jax.jvp(jax.grad(mean), (outputs,), (tangent,))
        risk = curvature.Risk(lambda z, batch: z, loss, batch, batch)
        root = loss.hessian_root(outputs, batch)
        own = jnp.tensordot(root, jnp.sum(root * tangent[None], axis=(1, 2, 3)), (0, 0))
        of_examples = loss.hessian_product(outputs, batch, tangent)
        return {
            "mean": (mean(outputs), risk(outputs)),
            "number": (risk.num_labels, jnp.asarray(4.0)),
            "gradient": (gradient, jax.grad(risk)(outputs)),
            "product": (product, of_examples / 4.0),
            "root": (own, of_examples),
        }

    for name, (first, second) in compared().items():
        np.testing.assert_allclose(first, second, rtol=1e-4, atol=1e-6, err_msg=name)


@pytest.mark.slow
def test_what_does_not_count_has_no_mean_and_bad_labels_are_nan():
    outputs, stream = jnp.zeros((2, 3, 4)), tasks.MarkovSources(num_symbols=4, context=3)
    tokens = jnp.zeros((2, 3), int)
    value = jax.jit(lambda labels: stream.criterion(outputs, tasks.SequenceBatch(tokens, labels)))
    for labels in ([[IGNORED] * 3] * 2, [[0, 4, 1], [1, 1, 1]], [[0, -1, 1], [1, 1, 1]]):
        loss, metrics = value(jnp.array(labels))
        assert np.isnan(loss)
        assert np.isnan(metrics["accuracy"])
    loss, metrics = value(jnp.array([[0, 1, IGNORED], [IGNORED] * 3]))
    np.testing.assert_allclose([loss, metrics["accuracy"]], [math.log(4), 0.5], rtol=1e-6)
    batch = tasks.SequenceBatch(tokens, jnp.full((2, 3), IGNORED))
    risk = curvature.Risk(lambda z, b: z[b.inputs], tasks.SequenceLoss(), batch, batch)
    with pytest.raises(ValueError, match="`targets` has no label that counts"):
        curvature.Hessian(risk, jnp.zeros((4, 4)))


def test_quantities():
    source = tasks.MarkovSources(num_symbols=8, context=4, entropy_rate=0.5)
    known = source.quantities()
    assert list(known) == ["test_loss", "test_accuracy", "test_excess", "loss", "accuracy"]
    assert known["test_loss"].guess == pytest.approx(math.log(8))
    assert known["test_accuracy"].guess == 1 / 8
    assert [q.better for q in known.values()] == ["lower", "higher", "lower", "lower", "higher"]
    assert known["test_excess"].label == "excess loss"
    for name in ("vocabulary", "formal"):
        assert "test_excess" not in streams()[name].quantities()
    assert PLACES.sha256[:16] in streams()["vocabulary"].quantities()["test_loss"].note
    note = streams()["texts"].quantities()["test_loss"].note
    assert note.count("SHA-256") == 2


WRONG = {
    "too long a context": (
        lambda: tasks.PermutedVocabulary(text=PLACES, context=45),
        "`context` is 45, which needs 46 tokens, but the text 'tokens' has 45 training tokens",
    ),
    "a short held-out part": (
        lambda: tasks.PermutedVocabulary(text=PLACES, context=15),
        "`context` is 15, which needs 16 tokens, but .* has 15 held-out tokens: choose a shorter",
    ),
    "one symbol": (
        lambda: tasks.PermutedVocabulary(text=tasks.load_text(string="a" * 99), context=2),
        "`text` is 'string', which has one symbol",
    ),
    "too few weights": (
        lambda: tasks.PermutedVocabulary(text=PLACES, context=3, weights=(1.0,)),
        r"`weights` has the shape \(1,\), but must have \(3,\): pass one number for each",
    ),
    "no token that counts": (
        lambda: tasks.PermutedVocabulary(text=PLACES, context=2, weights=(0.0, 0.0)),
        r"`weights` is \(0.0, 0.0\), but must be finite, .* so that a token counts",
    ),
    "a negative weight": (
        lambda: tasks.TextSequence((PLACES,), context=2, weights=(1.0, -1.0)),
        r"`weights` is \(1.0, -1.0\), but must be finite, at least 0",
    ),
    "no texts": (lambda: tasks.TextSequence(()), "`texts` is empty, but there must be at least"),
    "two kinds of texts": (
        lambda: tasks.TextSequence((PLACES, tasks.load_text(string="abc" * 30)), context=2),
        "`texts` has 'tokens', whose tokens were given, besides texts of characters",
    ),
    "no entropy": (
        lambda: tasks.MarkovSources(entropy_rate=0.0),
        "`entropy_rate` is 0.0, but must be finite and above 0",
    ),
    "too much entropy": (
        lambda: tasks.MarkovSources(num_symbols=4, entropy_rate=1.39),
        r"`entropy_rate` is 1.39, but must be below log\(4\) = 1.386 nats",
    ),
    "a chain of one symbol": (
        lambda: tasks.MarkovSources(num_symbols=1),
        "`num_symbols` is 1, but must be an integer of at least 2",
    ),
    "a large modulus": (
        lambda: tasks.FormalTasks((tasks.ModularAddition(11),), num_symbols=10),
        "`modulus` is 11, but there are 10 symbols, so it must be at most 10",
    ),
    "a modulus of one": (lambda: tasks.ModularAddition(1), "`modulus` is 1, but must be an int"),
    "no rules": (lambda: tasks.FormalTasks(()), "`rules` is empty, but there must be at least"),
    "all strings held out": (
        lambda: tasks.FormalTasks((tasks.CopySymbols(),), held_out_fraction=1.0),
        "`held_out_fraction` is 1.0, but must be above 0 and below 1",
    ),
    "uneven chunks": (
        lambda: tasks.SequenceLoader(steps_per_task=10, chunks_per_task=3),
        "`chunks_per_task` is 3, but must divide the 10 steps",
    ),
    "no minibatch": (
        lambda: tasks.SequenceLoader(minibatch_size=0),
        "`minibatch_size` is 0, but must be an integer",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_arguments_that_do_not_fit_are_rejected(case):
    make, message = WRONG[case]
    with pytest.raises(ValueError, match=message):
        make()


def test_splits_and_sizes_that_do_not_exist_are_rejected():
    stream = streams()["vocabulary"]
    state, draw = found("vocabulary")[0]["state"], stream.draw
    with pytest.raises(ValueError, match="`num_examples` is 12, but no text has more than 11 win"):
        draw(state, 12, "train", key=KEY)
    with pytest.raises(ValueError, match="`split` is 'validation', but must be 'train' or"):
        draw(state, 2, "validation", key=KEY)
    formal = FormalTask(jnp.asarray(0), jnp.zeros((2, 5), int))
    with pytest.raises(ValueError, match="`split` is 'validation', but must be 'train' or"):
        streams()["formal"].draw(formal, 2, "validation", key=KEY)


def _shorter(tokens):
    return jnp.zeros((2, 4)), {}


def _fewer(tokens):
    return jnp.zeros((4, 3)), {}


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            lambda: TokenNetwork(4, 3, key=KEY),
            "`context` of the network is 3, but the stream has 4",
        ),
        (
            lambda: TokenNetwork(3, 9, key=KEY),
            "`vocabulary_size` of the network is 3, but .* has 4",
        ),
        (
            lambda: TokenNetwork(5, 4, key=KEY),
            r"outputs of shape \(4, 5\) .* must return logits of",
        ),
        (lambda: _shorter, r"outputs of shape \(2, 4\) .* logits of shape \(4, 4\) for 4 tokens"),
        (lambda: _fewer, r"outputs of shape \(4, 3\) .* and `vocabulary_size=4`"),
    ],
)
def test_networks_that_do_not_fit_are_rejected(model, message):
    """While the program is traced, which is before it is compiled."""
    stream = tasks.MarkovSources(num_symbols=4, context=4)
    batch = tasks.next_tokens(jnp.zeros((2, 5), int))
    forward = lambda: stream.forward(model(), None, batch, key=KEY, inference=True)[0]
    with pytest.raises(ValueError, match=message):
        eqx.filter_eval_shape(forward)
