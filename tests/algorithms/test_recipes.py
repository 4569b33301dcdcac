"""The rows of the table of algorithms; the recipes and their presets."""

import ast
import functools
import inspect
import pathlib
import re
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml
from signals import arrays, mlp
from tables import ALGORITHMS, NEEDS, permuted

from spectral import algorithms, train_tasks
from spectral._core import begin_task, run_tasks, start_run
from spectral.algorithms import Algorithm, Periodic, PRESETS
from spectral.algorithms._base._needs_norm import NeedsNorm


KEY = jax.random.key(3)
RECIPES = [
    *("bp", "l2", "er", "l2_er", "cbp", "cbp_l2", "snp", "snp_l2", "reset", "redo", "regrama"),
    *("snr", "l2_init", "wasserstein", "spectral_reg", "parseval", "layernorm_l2", "nap", "upgd"),
    *("hare_tortoise", "cpr", "selective_reinit", "fire", "dash", "weight_clipping"),
    *("soft_weight_rescaling", "trac", "adam_local_time", "c_chain", "feature_log_det"),
]

# Rows of the table of algorithms that are trained as one: the optimiser of the first, and the
# penalties and transforms of all. One program is compiled instead of one for each row.
TOGETHER = [
    *("l2_init", "wasserstein", "spectral_reg", "cbp", "snr"),
    *("warm_started", "reset_head", "hare_tortoise", "c_chain"),
]
LAWFUL = ("bp", "l2", "er", "l2_er", "rewriter")  # tests/loop/test_laws.py trains their parts
# Their own files test the updates of these, also in a network of dead units.
BY_THEMSELVES = (
    *("parseval", "redo", "regrama", "nap", "rewired", "curved", "cpr", "selective_reinit", "fire"),
    *("dash", "weight_clipping", "soft_weight_rescaling", "adam_local_time", "feature_log_det"),
    "injected",
)


@functools.cache
def small(**options):
    """A network of one hidden layer, and three short tasks."""
    tasks = {"num_tasks": options.pop("num_tasks", 3), "steps_per_task": 8}
    return permuted({"width": 4, "depth": 1} | options, **tasks)


def combined(names, lr):
    rows = [ALGORITHMS[name](lr) for name in names]
    penalties, transforms = (
        tuple(part for row in rows for part in getattr(row, kind))
        for kind in ("penalties", "transforms")
    )
    return Algorithm(rows[0].optimiser, penalties=penalties, transforms=transforms)


def needs(names):
    return dict(option for name in names for option in NEEDS.get(name, {}).items())


def killed(model):
    """The model with all hidden units dead."""
    for group in model.units():
        for entries in group.shift or group.bias:
            bias = jnp.asarray(np.asarray(entries.where(model)) - np.float32(1e3))
            model = eqx.tree_at(entries.where, model, bias)
    return model


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(TOGETHER, id="together"),
        *(pytest.param([n], id=n, marks=pytest.mark.slow) for n in ALGORITHMS if n not in LAWFUL),
    ],
)
def test_training_resumes_exactly_and_survives_dead_units(names):
    """One program trains three tasks, resumes after one, takes another learning rate, and keeps
    a dead network finite."""
    setting, traces = small(**needs(names)), 0
    stream = setting.stream

    @eqx.filter_jit
    def tasks_of(run, algo, first, count):
        nonlocal traces
        traces += 1
        run = begin_task(run, stream, algo, first, KEY)
        return run_tasks(run, stream, algo, first, count, 3, KEY)

    def train(run, algo, first, count):
        return tasks_of(run, algo, jnp.asarray(first), jnp.asarray(count))

    start = eqx.filter_jit(lambda model, algo: start_run(model, None, stream, algo, KEY))
    algo = combined(names, 0.05)
    begun = start(setting.model, algo)
    whole, table = train(begun, algo, 0, 3)
    known = [column for name, column in table.items() if not name.endswith(".on_since")]
    assert all(np.isfinite(column).all() for column in known)
    assert int(whole.divergence.step) == -1
    for a, b in zip(arrays(setting.model), arrays(whole.learner.model), strict=True):
        assert not np.array_equal(a, b)

    part, _ = train(begun, algo, 0, 1)
    resumed, rest = train(part, algo, 1, 2)
    leaves = lambda run: jax.tree.leaves(eqx.filter(run, eqx.is_array))
    for a, b in zip(leaves(whole), leaves(resumed), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(rest["loss"][:2], table["loss"][1:])

    other = combined(names, jnp.asarray(0.01))
    after, table = train(start(killed(setting.model), other), other, 0, 2)
    assert int(after.divergence.step) == -1
    assert np.isfinite(table["loss"]).all()
    assert traces == 1


def parts_of(name):
    """The classes of the parts of an algorithm, without the cadence of its transforms."""
    algo = ALGORITHMS[name](0.05)
    inner: Any = [getattr(t, "transform", t) for t in algo.transforms]
    return {type(part) for part in (*algo.penalties, *inner)} - {NeedsNorm}


def test_every_part_of_an_algorithm_is_trained():
    trained = set().union(*map(parts_of, [*LAWFUL, *BY_THEMSELVES, *TOGETHER]))
    for name in ALGORITHMS:
        assert parts_of(name) <= trained, f"{name}: add it to a list above"


@pytest.mark.slow
@pytest.mark.parametrize("name", list(ALGORITHMS))
def test_seeds_side_by_side(name):
    setting = small(num_tasks=1, **needs([name]))

    def losses(key, lr):
        return train_tasks(setting.model, setting.stream, ALGORITHMS[name](lr), key=key)[1]["loss"]

    keys, rates = jax.random.split(KEY, 2), jnp.array([0.05, 0.01])
    one = jax.jit(losses)
    alone = jnp.stack([one(k, r) for k, r in zip(keys, rates, strict=True)])
    np.testing.assert_allclose(jax.jit(jax.vmap(losses))(keys, rates), alone, rtol=1e-3)


@pytest.mark.parametrize("name", RECIPES)
def test_the_signature_of_a_recipe(name):
    make = getattr(algorithms, name)
    (first, *others) = inspect.signature(make).parameters.values()
    assert (first.name, first.default) == ("lr", 1e-2)  # as the paper's Table 2
    assert all(p.kind is p.KEYWORD_ONLY and p.default is not p.empty for p in others)
    algo = make(0.07)
    assert float(algo.optimiser.hyper["learning_rate"]) == pytest.approx(0.07)
    # Numbers are data: another rate is the same program.
    halves = [eqx.filter(make(x), eqx.is_array, inverse=True) for x in (0.07, jnp.asarray(0.1))]
    assert jax.tree.structure(halves[0]) == jax.tree.structure(halves[1])
    if name not in ("upgd", "trac"):  # TRAC wraps the optimiser
        assert make(algorithms.adam(0.2)).optimiser.make is algorithms.entrywise_adam
    for noun in ("Raises", "lr"):
        assert noun in make.__doc__ + str(inspect.signature(make))


def test_the_page_has_every_recipe_with_its_defaults():
    page = (pathlib.Path(__file__).parents[2] / "docs" / "algorithms.md").read_text()
    table = page[page.index("## Recipes") : page.index("Formulas in full")]
    rows = [line.split("|")[1:-1] for line in table.splitlines() if line.startswith("| `")]
    assert [name.strip(" `") for name, *_ in rows] == RECIPES
    for name, _, defaults, _ in rows:
        recipe = inspect.unwrap(getattr(algorithms, name.strip(" `")))
        (_, *parameters) = inspect.signature(recipe).parameters.values()
        told = dict(re.findall(r"`(\w+)=([^`]*)`", defaults))
        for p in parameters:
            value = told.pop(p.name)
            assert (p.default.__name__ if callable(p.default) else p.default) == (
                value if callable(p.default) else ast.literal_eval(value)
            )
        assert not told


def test_recipes_pass_on_their_arguments():
    for make, window in ((algorithms.redo, None), (algorithms.regrama, 5)):
        algo: Any = make(period=20, threshold=0.3, window=window)
        assert [type(t) for t in algo.transforms] == [Periodic]
        (every,) = algo.transforms
        assert (every.period, every.transform.window) == (20, window or 20)
        assert float(every.transform.threshold) == pytest.approx(0.3)
    options = {"maturity": 7, "utility": algorithms.contribution, "replacement_rate": 0.25}
    cbp: Any = algorithms.cbp(**options, decay=0.5, compensate=False)
    assert (float(cbp.transforms[0].decay), cbp.transforms[0].compensate) == (0.5, False)
    cbp_l2: Any = algorithms.cbp_l2(weight_decay=0.125, **options)
    assert float(cbp_l2.penalties[0].weight_decay) == 0.125
    for transform in (cbp.transforms[0], cbp_l2.transforms[0]):
        assert (float(transform.replacement_rate), transform.maturity) == (0.25, 7)
        assert transform.utility is algorithms.contribution
    perturb: Any = algorithms.snp(noise=0.5, period=10).transforms[0]
    assert (perturb.period, perturb.transform.steps, float(perturb.transform.noise)) == (
        10,
        10,
        0.5,
    )


@pytest.mark.parametrize("name", ["layernorm_l2", "nap"])
def test_recipes_that_need_a_norm(name):
    algo = getattr(algorithms, name)(0.05)
    begin = lambda model: eqx.filter_eval_shape(algo.init, model, None, key=KEY)
    with pytest.raises(ValueError, match="'hidden_0' of this MLP has none: make the model"):
        begin(mlp(6, 3, width=4, depth=1))
    begin(mlp(6, 3, width=4, depth=1, layer_norm=True))


def test_upgd_is_an_optimiser_itself():
    with pytest.raises(TypeError, match="`lr` is an optimiser, but UPGD is one itself: pass a"):
        inspect.unwrap(algorithms.upgd)(algorithms.adam(0.1))


def test_presets():
    """The values that the papers print. Every row makes an algorithm, and no row occurs twice."""
    rows = [(r.source, r.benchmark, r.name) for r in PRESETS]
    assert len(set(rows)) == len(rows)
    paper = [b for s, b, name in rows if s == "paper" and name != "reset"]
    assert {b: paper.count(b) for b in paper} == dict.fromkeys(paper, 5)
    algo: Any
    for row in PRESETS:
        benchmark = row.benchmark
        source: Any = row.source
        algo = algorithms.preset(benchmark, row.name, source=source)
        momentum = "momentum" in algo.optimiser.hyper
        assert momentum == (benchmark in ("continual_imagenet", "incremental_cifar"))
    algo = algorithms.preset("continual_imagenet", "l2_er")
    assert float(algo.optimiser.hyper["learning_rate"]) == pytest.approx(1e-3)
    assert float(algo.penalties[0].weight_decay) == pytest.approx(1e-3)
    assert float(algo.transforms[0].transform.lr) == pytest.approx(1e-4)
    assert algo.transforms[0].period == 12
    head: Any = algorithms.preset("continual_imagenet", "cbp", source="dohare").transforms[-1]
    assert (head.part, head.to) == ("head", "zero")
    falling: Any = algorithms.preset("incremental_cifar", "l2", source="dohare").transforms[-1]
    assert (float(falling.factor), falling.chunks) == (pytest.approx(0.2), (60, 120, 160))
    for name, part in (("retrained_network", "network"), ("head_resetting", "head")):
        algo = algorithms.preset("incremental_cifar", name, source="dohare")
        assert (algo.transforms[0].part, algo.transforms[0].to) == (part, "fresh")
        assert eqx.tree_equal(algo.transforms[1], falling)
        assert float(algo.penalties[0].weight_decay) == pytest.approx(5e-4)
    algo = algorithms.preset("incremental_cifar", "reset")
    assert algo.transforms[0].part == "network"
    assert algo.penalties == ()
    published: Any = algorithms.preset("slippery_ant", "cbp_l2")
    assert float(published.penalties[0].weight_decay) == pytest.approx(1e-3)
    ant: Any = algorithms.preset("slippery_ant", "cbp_l2", source="dohare")
    assert float(ant.penalties[0].weight_decay) == pytest.approx(1e-4)
    assert float(ant.transforms[0].replacement_rate) == pytest.approx(1e-4)
    assert ant.transforms[0].maturity == 10_000
    with pytest.raises(ValueError, match="Preset 'paper permuted_mnist snr' does not exist"):
        algorithms.preset("permuted_mnist", "snr")


def _described(make, arguments):
    """A constructor with its arguments, as a YAML file would name it."""
    plain = lambda v: v.__name__ if callable(v) else list(v) if isinstance(v, tuple) else v
    return {"type": make.__name__} | {name: plain(value) for name, value in arguments.items()}


def test_values_of_presets():
    expected = yaml.safe_load(pathlib.Path(__file__).with_name("presets.yaml").read_text())
    found = []
    for row in PRESETS:
        recipe = _described(row.recipe, row.arguments)
        recipe["lr"] = _described(row.optimiser, row.optimiser_arguments)
        if row.then:
            recipe["then"] = [_described(make, given) for make, given in row.then]
        found.append([row.source, row.benchmark, recipe])
    assert found == expected


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: algorithms.cbp(replacement_rate=2.0),
            "`replacement_rate` is 2.0, but must lie between",
        ),
        (lambda: algorithms.redo(period=0), "`window` is 0"),
        (lambda: algorithms.snp(noise=-1.0), "`noise` is -1.0"),
        (lambda: algorithms.upgd(utility_decay=1.5), "`utility_decay` is 1.5"),
        (lambda: algorithms.upgd(utility_decay=1.0), "`utility_decay` is 1.0, but .* below 1"),
        (lambda: algorithms.adam(b1=1.0), "`b1` is 1.0, but must be at least 0 and below 1"),
        (lambda: algorithms.adam(b2=1.0), "`b2` is 1.0"),
        (lambda: algorithms.upgd(lr=0.0), "`lr` is 0.0"),
        (lambda: algorithms.hare_tortoise(decay=-0.5), "`decay` is -0.5"),
        (lambda: algorithms.snr(rejection_level=2.0), "`rejection_level` is 2.0"),
        (lambda: algorithms.muon(beta=2.0), "`beta` is 2.0"),
        (lambda: algorithms.sgd(momentum=2.0), "`momentum` is 2.0"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
