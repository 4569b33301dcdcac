"""What every part of an algorithm remembers after a `Reset`, beside all other parts."""

import inspect
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import networks
import numpy as np
import pytest
from signals import arrays, clock_at, numpy_map, signal_at, start_of

from spectral import algorithms, models
from spectral.algorithms import AbstractPenalty, AbstractTransform, Algorithm, Periodic, Reset
from spectral.algorithms._base._needs_norm import NeedsNorm


KEY = jax.random.key(0)


class Remembers(AbstractTransform[jax.Array]):
    """A transform of one's own that remembers the sum of the first weights."""

    def init(self, learner, *, key):
        return sum((jnp.sum(p) for p in arrays(learner.model)), jnp.zeros(()))


# Every part, with how it remembers: "all" is initialised again with the whole network, "entry" for
# each array that is new, "counts" as "all" except the counts of the run, "kept" not at all.
# "previous" as "entry" for the network one step ago, and as "all" for the losses.
PARTS: dict[str, tuple[Any, str]] = {
    "own": (Remembers(), "all"),
    "cbp": (algorithms.ContinualBackprop(0.1), "counts"),
    "snr": (algorithms.SelfNormalizedReset(max_age=8), "counts"),
    "redo": (Periodic(algorithms.ReDo(), 2), "kept"),
    "regrama": (algorithms.ReGraMa(), "kept"),
    "decay": (algorithms.StepDecay(0.5, (1,)), "kept"),
    "tortoise": (algorithms.HareTortoise(period=2), "entry"),
    "perturb": (algorithms.ShrinkPerturb(target="initial", amount=0.1), "entry"),
    "noise": (algorithms.ShrinkPerturb(noise=0.1), "entry"),
    "projection": (Periodic(algorithms.NormalizeProject(), 2), "norms"),
    "rank": (algorithms.EffectiveRank(0.1, 2), "kept"),
    "barrier": (algorithms.CurvatureBarrier(0.1), "kept"),
    "rewiring": (algorithms.SparseRewiring(), "kept"),
    "norm": (NeedsNorm("another"), "kept"),
    "cpr": (algorithms.CalibratedPartialReset(amount=0.1), "all"),
    "selective": (Periodic(algorithms.SelectiveReinit(), 2), "kept"),
    "clipping": (algorithms.WeightClipping(), "kept"),
    "rescaling": (algorithms.SoftWeightRescaling(), "norms"),
    "local_time": (algorithms.LocalTime(), "kept"),
    "l2": (algorithms.L2(0.1), "kept"),
    "l2_init": (algorithms.L2Init(0.1), "entry"),
    "wasserstein": (algorithms.WassersteinInit(0.1), "entry"),
    "spectral": (algorithms.SpectralNorm(0.1), "directions"),
    "parseval": (algorithms.Parseval(0.1), "kept"),
    "churn": (algorithms.ChurnReduction(window=2), "previous"),
    "log_det": (algorithms.FeatureLogDet(0.1, window=2), "kept"),
    "volatility": (Periodic(algorithms.CurvatureVolatility(window=2), 2), "series"),
}
# These change weights when a task begins, which the network below is compared before and after.
COMBINATORS = {Periodic, algorithms.SwitchedOn}
OWN = {
    *(Reset, algorithms.FrobeniusIsometry, algorithms.DirectionAwareShrink),
    algorithms.InjectPlasticity,
}
RESETS = {
    "network": Reset(),
    "head": Reset(part="head"),
    "zero_head": Reset(part="head", to="zero"),
    "under_a_cadence": Periodic(Reset(), 2),
}


def test_the_table_has_every_part():
    kinds = {type(getattr(part, "transform", part)) for part, _ in PARTS.values()}
    for name, found in vars(algorithms).items():
        if inspect.isclass(found) and issubclass(found, AbstractTransform | AbstractPenalty):
            assert inspect.isabstract(found) or found in {*kinds, *COMBINATORS, *OWN}, (
                f"{name}: add a row"
            )


def begun_after_reset(reset, names, copies):
    """By part, what it remembers when a later task begins, what it remembered before, and what it
    would remember of the new network; also the learner after and before, and the marks of its new
    arrays. The transforms follow the `Reset`; with two copies they are before it as well."""
    options = {"layer_norm": True, "density": 0.5} if "rewiring" in names else {"depth": 1}
    model = networks.mlp(KEY, **options).model
    parts = [PARTS[name][0] for name in names]
    penalties = tuple(p for p in parts if isinstance(p, AbstractPenalty))
    transforms = tuple(p for p in parts if isinstance(p, AbstractTransform))
    listed = (*(transforms * (copies - 1)), reset, *transforms)
    algo = Algorithm(algorithms.adam(0.1), penalties=penalties, transforms=listed)

    @eqx.filter_jit
    def start(model):
        return algo.init(model, None, key=KEY)

    @eqx.filter_jit
    def begin(learner, state, task):
        learner, after = algo.begin_task(learner, state, start_of(task), key=KEY)
        return learner, after, algo.init(learner.model, None, key=KEY)[1]

    learner, state = start(model)
    trained = numpy_map(lambda x: 1.5 * x + 0.25, learner.model)
    learner = eqx.tree_at(lambda le: le.model, learner, trained)
    state = jax.tree.map(lambda x: jnp.asarray(2 * np.asarray(x) + 3, x.dtype), state)
    same, kept, _ = begin(learner, state, jnp.asarray(0))
    assert_equal(kept, state)  # the first task resets nothing
    after_learner, after, fresh = begin(learner, state, jnp.asarray(2))
    marks = reset.resets(learner, [], clock_at(0, task=2))[1]
    assert_equal(same.model, learner.model)

    named = [(n, PARTS[n][0]) for n in names]
    of_penalties = [n for n, part in named if isinstance(part, AbstractPenalty)]
    of_transforms = [n for n, part in named if isinstance(part, AbstractTransform)]
    order = [*of_penalties, *(of_transforms * (copies - 1)), "reset", *of_transforms]
    states = ((*s.penalties, *s.transforms) for s in (after, state, fresh))
    found = [row for row in zip(order, *states, strict=True) if row[0] != "reset"]
    return found, after_learner, learner, marks


def assert_equal(a, b):
    for x, y in zip(*(jax.tree.leaves(eqx.filter(t, eqx.is_array)) for t in (a, b)), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-6)


def by_array(marks, new, old):
    return [n if m else o for m, n, o in zip(*map(jax.tree.leaves, (marks, new, old)), strict=True)]


def check(kind, after, before, fresh, marks, zero, model):
    whole = all(jax.tree.leaves(marks))
    if kind == "kept":
        assert_equal(after, before)
    elif kind == "all":
        assert_equal(after, fresh if whole else before)
    elif kind == "counts":
        for now, old, new in zip(after, before, fresh, strict=True):
            expected = eqx.tree_at(lambda r: r.replaced, new, old.replaced)
            assert_equal(now, expected if whole else old)
    elif kind == "entry":
        if before is not None:
            assert_equal(jax.tree.leaves(after), by_array(marks, fresh, before))
    elif kind == "previous":
        assert_equal(after.previous, by_array(marks, fresh.previous, before.previous))
        rest = fresh if whole else before
        assert_equal((after.losses, after.churns), (rest.losses, rest.churns))
    elif kind == "series":  # behind vectors that are drawn with a key of their own
        assert_equal(after.series, fresh.series if whole else before.series)
        if whole:
            lengths = [float(jnp.linalg.norm(vector)) for vector in after.vectors]
            np.testing.assert_allclose(lengths, 1, rtol=1e-5)
        else:
            assert_equal(after.vectors, before.vectors)
    elif kind == "norms":
        # The last norm is that of the output layer. One of zero would keep it at zero.
        last = before[-1] if zero else fresh[-1]
        assert_equal(after, fresh if whole else (*before[:-1], last))
    else:
        params = arrays(model)
        signs = jax.tree.leaves(marks)
        vectors = [m for p, m in zip(params, signs, strict=True) if p.ndim < 2]
        assert_equal(list(after.vectors), by_array(vectors, fresh.vectors, before.vectors))
        matrices = [(p, m) for p, m in zip(params, signs, strict=True) if p.ndim > 1]
        triples = zip(matrices, after.directions, before.directions, strict=True)
        for (matrix, mark), now, old in triples:
            if not mark:
                assert_equal(now, old)
            elif not zero:  # a direction of norm one that the new matrix stretches most
                largest = np.linalg.svd(np.asarray(matrix), compute_uv=False)[0]
                np.testing.assert_allclose(np.linalg.norm(matrix @ now), largest, rtol=1e-2)


@pytest.mark.parametrize(
    ("kind", "names", "copies"),
    [
        pytest.param("network", ["tortoise", "cbp", "own", "l2_init"], 1, id="network"),
        *(pytest.param(k, list(PARTS), 2, id=f"all-{k}", marks=pytest.mark.slow) for k in RESETS),
    ],
)
def test_every_part_forgets_what_was_reset(kind, names, copies):
    found, after, learner, marks = begun_after_reset(RESETS[kind], names, copies)
    assert {name for name, *_ in found} == set(names)
    for name, now, old, new in found:
        check(
            PARTS[name][1], now, old, new, marks, kind == "zero_head", models.connected(after.model)
        )
    pairs = zip(arrays(after.model), arrays(learner.model), strict=True)
    assert [not np.array_equal(a, b) for a, b in pairs] == jax.tree.leaves(marks)


@pytest.mark.slow
def test_two_resets_in_succession():
    """The tortoise starts from the network that the last of them leaves, and does not return to an
    older one."""
    resets = (RESETS["zero_head"], RESETS["network"], RESETS["head"])
    tortoise = algorithms.HareTortoise(period=1, decay=1.0)
    algo = Algorithm(algorithms.sgd(0.1), transforms=(resets[0], tortoise, *resets[1:]))
    model = networks.mlp(KEY, width=4).model

    @eqx.filter_jit
    def begin(model):
        learner, state = algo.init(model, None, key=KEY)
        learner, state = algo.begin_task(learner, state, start_of(1), key=KEY)
        signal = signal_at(learner.model, jnp.ones((1, 2, 3)))
        return learner, state, algo.update(learner, state, signal, key=KEY)[0]

    learner, state, later = begin(model)
    assert_equal(state.transforms[1], eqx.filter(learner.model, eqx.is_inexact_array))
    assert_equal(later.model, learner.model)
