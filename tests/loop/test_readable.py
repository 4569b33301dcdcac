"""Texts of results: numbers as numbers, larger parts as sizes."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from signals import learner_of, mlp

from spectral import algorithms, Ensemble, Optimiser
from spectral.curvature import Estimate, Extremes, RankEstimate, Spectrum
from spectral.recording._fingerprint import fingerprint


NUMBERS = jnp.asarray(np.array([0.1, 2.5], np.float32))
FIELDS = ("value", "lower", "upper", "sem")


def rank(x):
    return RankEstimate(x, x, x, x > 0, x, x, x, x, x)


def test_numbers_are_written_as_numbers():
    text = repr(rank(NUMBERS[0]))
    assert all(f"{field}=0.1," in text for field in (*FIELDS, "low", "high"))
    assert "resolved=True" in text
    assert repr(Estimate(NUMBERS[1], jnp.asarray(np.nan))) == "Estimate(value=2.5, sem=nan)"
    one = NUMBERS[:1]
    assert "largest=[0.1]" in repr(Extremes(one, one, one, one))
    assert "largest=f32[2]" in repr(Extremes(*(NUMBERS,) * 4))
    tree = {"w": jnp.zeros((2, 3)), "b": NUMBERS[0]}
    assert repr(Estimate(tree, tree)).startswith("Estimate(value={'b': 0.1, 'w': f32[2,3]}")


def test_traced_numbers_are_written_as_jax_writes_them():
    texts = []

    @jax.jit
    def traced(x):
        texts.append((repr(x), repr(rank(x))))
        return x

    traced(NUMBERS[0])
    (plain, text), *_ = texts
    assert "float32[]" in plain
    assert all(f"{field}={plain}" in text for field in FIELDS)


def test_sizes_are_written_for_larger_parts():
    learner = learner_of(mlp(3, 2, width=4, depth=1), Optimiser(optax.adam, learning_rate=0.1))
    text = repr(learner)
    assert "model=MLP(<26 numbers in 4 arrays>)" in text
    assert "hyper={'learning_rate': 0.1}" in text
    assert "mu=MLP(<26 numbers in 4 arrays>)" in text
    assert len(text.splitlines()) < 25
    pair = Ensemble.of([learner, learner])
    assert "Ensemble(\n  stacked=Learner(\n    model=MLP(<52 numbers" in repr(pair)


def test_algorithms_and_spectra():
    text = repr(algorithms.l2_er(algorithms.Constant(0.1), weight_decay=0.25))
    assert "L2(weight_decay=0.25)" in text
    assert "EffectiveRank(lr=0.001, window=100, layers=None)" in text
    assert "Constant(peak=0.1, warmup_steps=0.0, restart='never')" in text
    rows = jnp.zeros((2, 3))
    spectrum = Spectrum(
        nodes=rows,
        weights=rows,
        residuals=rows,
        diagonal=rows,
        off_diagonal=rows[:, 1:],
        exhausted=jnp.zeros(2, bool),
        tolerance=rows[:, 0],
        dim=9,
    )
    spectrum = replace(spectrum, nodes=rows.at[1].set(jnp.array([-0.5, 0.0, 12.5])))
    text = "Spectrum(dim=9, vectors=2, nodes=3, smallest=-0.5, largest=12.5)"
    assert repr(spectrum) == text
    assert "<th>largest</th><td>12.5</td>" in spectrum._repr_html_()
    shapes = eqx.filter_eval_shape(lambda: spectrum)
    assert "nodes=ShapeDtypeStruct(shape=(2, 3)" in repr(shapes)


def test_a_text_changes_nothing():
    algo = algorithms.l2_er()
    before = fingerprint(algo)
    repr(algo)
    assert fingerprint(algo) == before
