"""Every row of the table of algorithms, with one program each; the recipes and their presets."""

import ast
import inspect
import pathlib
import re
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from signals import arrays
from tables import ALGORITHMS, NEEDS, permuted

from spectral import algorithms, models, train_continual, train_tasks
from spectral._core import begin_task, run_tasks, start_run
from spectral.algorithms import Periodic, PRESETS


KEY = jax.random.key(3)
LAWFUL = ("l2_er", "rewriter")  # test_loop_laws.py sees to these
RECIPES = [
    *("bp", "l2", "er", "l2_er", "cbp", "cbp_l2", "snp", "snp_l2", "reset", "redo", "regrama"),
    *("snr", "l2_init", "wasserstein", "spectral_reg", "parseval", "layernorm_l2", "nap", "upgd"),
    "hare_tortoise",
]


def killed(model):
    """No unit of any hidden layer is active on any input."""
    for group in model.units():
        for entries in group.shift or group.bias:
            model = eqx.tree_at(entries.where, model, entries.where(model) - 1e3)
    return model


def small(name, **options):
    """A network of one hidden layer: programs are compiled as often as there are rows."""
    network = {"width": 4, "depth": 1} | NEEDS.get(name, {})
    return permuted(network, steps_per_task=8, **options)


@pytest.mark.parametrize("name", [n for n in ALGORITHMS if n not in LAWFUL])
def test_one_program_that_can_stop_and_survives_dead_units(name):
    setting, traces = small(name), 0
    stream, make = setting.stream, ALGORITHMS[name]

    @eqx.filter_jit
    def tasks_of(run, algo, first, count):
        nonlocal traces
        traces += 1
        run = begin_task(run, stream, algo, first, KEY)
        return run_tasks(run, stream, algo, first, count, 3, KEY)

    def train(run, algo, first, count):
        return tasks_of(run, algo, jnp.asarray(first), jnp.asarray(count))

    algo = make(0.05)
    begun = start_run(setting.model, None, stream, algo, KEY)
    whole, table = train(begun, algo, 0, 3)
    assert all(np.isfinite(column).all() for column in table.values())
    assert int(whole.divergence.step) == -1
    for a, b in zip(arrays(setting.model), arrays(whole.learner.model), strict=True):
        assert not np.array_equal(a, b)

    part, _ = train(begun, algo, 0, 1)
    resumed, rest = train(part, algo, 1, 2)
    leaves = lambda run: jax.tree.leaves(eqx.filter(run, eqx.is_array))
    for a, b in zip(leaves(whole), leaves(resumed), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(rest["loss"][:2], table["loss"][1:])

    other = make(jnp.asarray(0.01))
    dead = start_run(killed(setting.model), None, stream, other, KEY)
    after, table = train(dead, other, 0, 2)
    assert int(after.divergence.step) == -1
    assert np.isfinite(table["loss"]).all()
    assert traces == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", list(ALGORITHMS))
def test_seeds_side_by_side(name):
    setting = small(name, num_tasks=1)

    def losses(key, lr):
        return train_tasks(setting.model, setting.stream, ALGORITHMS[name](lr), key=key)[1]["loss"]

    keys, rates = jax.random.split(KEY, 2), jnp.array([0.05, 0.01])
    one = jax.jit(losses)
    alone = jnp.stack([one(k, r) for k, r in zip(keys, rates, strict=True)])
    np.testing.assert_allclose(jax.jit(jax.vmap(losses))(keys, rates), alone, rtol=1e-3)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_takes_a_rate_and_numbers_and_says_where_it_is_from(name):
    make = getattr(algorithms, name)
    (first, *others) = inspect.signature(make).parameters.values()
    assert first.name == "lr"
    assert all(p.kind is p.KEYWORD_ONLY and p.default is not p.empty for p in others)
    algo = make(0.07)
    assert float(algo.optimiser.hyper["learning_rate"]) == pytest.approx(0.07)
    # Numbers are data: another rate is the same program.
    halves = [eqx.filter(make(x), eqx.is_array, inverse=True) for x in (0.07, jnp.asarray(0.1))]
    assert jax.tree.structure(halves[0]) == jax.tree.structure(halves[1])
    if name != "upgd":
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


def test_recipes_hand_their_numbers_on():
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
        assert (float(transform.rate), transform.maturity) == (0.25, 7)
        assert transform.utility is algorithms.contribution
    perturb: Any = algorithms.snp(noise=0.5, period=10).transforms[0]
    assert (perturb.period, perturb.transform.steps, float(perturb.transform.noise)) == (
        10,
        10,
        0.5,
    )


@pytest.mark.parametrize("name", ["layernorm_l2", "nap"])
def test_recipes_that_need_a_norm(name):
    setting = permuted(num_tasks=1)
    algo = getattr(algorithms, name)(0.05)
    with pytest.raises(ValueError, match="'hidden_0' has none: make the model with `layer_norm="):
        train_continual(setting.model, setting.stream, algo)
    model = models.MLP(6, 3, width=4, depth=1, layer_norm=True, key=KEY)
    _, history = train_continual(model, setting.stream, algo)
    assert np.isfinite(history["loss"]).all()


def test_upgd_is_an_optimiser_itself():
    with pytest.raises(TypeError, match="`lr` is an optimiser, but UPGD is one itself: pass a"):
        inspect.unwrap(algorithms.upgd)(algorithms.adam(0.1))


def test_presets():
    """The values that the papers print; every row makes an algorithm, and no row is there twice."""
    rows = [(r.source, r.benchmark, r.recipe.__name__) for r in PRESETS]
    assert len(set(rows)) == len(rows)
    paper = [b for s, b, _ in rows if s == "paper"]
    assert {b: paper.count(b) for b in paper} == dict.fromkeys(paper, 5)
    algo: Any
    for row in PRESETS:
        benchmark = row.benchmark
        source: Any = row.source
        algo = algorithms.preset(benchmark, row.recipe.__name__, source=source)
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
    ant: Any = algorithms.preset("slippery_ant", "cbp_l2", source="dohare")
    assert float(ant.transforms[0].rate) == pytest.approx(1e-4)
    assert ant.transforms[0].maturity == 10_000
    with pytest.raises(ValueError, match="Preset 'paper permuted_mnist snr' does not exist"):
        algorithms.preset("permuted_mnist", "snr")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: algorithms.cbp(replacement_rate=2.0), "`rate` is 2.0, but must lie between"),
        (lambda: algorithms.redo(period=0), "`window` is 0"),
        (lambda: algorithms.snp(noise=-1.0), "`noise` is -1.0"),
        (lambda: algorithms.upgd(utility_decay=1.5), "`utility_decay` is 1.5"),
        (lambda: algorithms.upgd(utility_decay=1.0), "`utility_decay` is 1.0, but .* below 1"),
        (lambda: algorithms.adam(b1=1.0), "`b1` is 1.0, but must be at least 0 and below 1"),
        (lambda: algorithms.adam(b2=1.0), "`b2` is 1.0"),
        (lambda: algorithms.upgd(lr=0.0), "`lr` is 0.0"),
        (lambda: algorithms.hare_tortoise(decay=-0.5), "`decay` is -0.5"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
