"""How algorithms find the units of a model and renew them, and the models that they reject."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from growing_classes import BatchNormNetwork
from signals import drawn, learner_of, mlp, signal_at

from spectral import models
from spectral.algorithms import ContinualBackprop, ReDo, ReGraMa, SelfNormalizedReset
from spectral.algorithms._base._unit_groups import renewed
from spectral.models import AbstractNetwork, Entries, UnitGroup


KEY = jax.random.key(0)


class Described(AbstractNetwork):
    """A network with another description of its units."""

    inner: models.MLP
    groups: tuple[UnitGroup, ...]

    def __call__(self, x, /):
        return self.inner(x)

    def units(self):
        inside = lambda e: dataclasses.replace(e, where=lambda m: e.where(m.inner))
        parts = ("incoming", "bias", "outgoing")
        return tuple(
            dataclasses.replace(g, **{p: tuple(map(inside, getattr(g, p))) for p in parts})
            for g in self.groups
        )

    def fresh(self, *, key):
        return Described(self.inner.fresh(key=key), self.groups)


@pytest.fixture
def model():
    return mlp(3, 2, width=4, depth=1)


def test_renewed_units_have_initial_batch_norm_statistics():
    model, model_state = drawn(eqx.nn.make_with_state(BatchNormNetwork))
    norm: Any = model.norm
    kept = (jnp.asarray(np.full(5, x, np.float32)) for x in (2, 3))
    learner = learner_of(model, model_state=model_state.set(norm.statistics, tuple(kept)))
    group = dataclasses.replace(
        model.units()[0],
        scale=(Entries(lambda m: m.norm.weight, 0),),
        shift=(Entries(lambda m: m.norm.bias, 0),),
        statistics=(lambda m: m.norm,),
    )
    renew = eqx.filter_jit(lambda learner, units: renewed(learner, [(group, units)], key=KEY))
    after: Any = renew(learner, jnp.asarray(np.arange(5) == 3))
    mean, variance = after.model_state.get(norm.statistics)
    assert mean.tolist() == [2, 2, 2, 0, 2]
    assert variance.tolist() == [3, 3, 3, 1, 3]


@pytest.mark.parametrize(
    "make", [lambda: ContinualBackprop(0.1), ReDo, ReGraMa, SelfNormalizedReset]
)
def test_a_model_without_units_is_rejected(make):
    learner = learner_of(drawn(lambda key: eqx.nn.Linear(2, 2, key=key)))
    with pytest.raises(TypeError, match="Linear without a method `units\\(\\)`"):
        make().init(learner, key=KEY)


def test_a_model_whose_units_cannot_be_renewed_is_rejected(model):
    transform = ContinualBackprop(0.1)
    mute = Described(model, (dataclasses.replace(model.units()[0], outgoing=()),))
    with pytest.raises(ValueError, match="No hidden units of this Described can be renewed"):
        transform.init(learner_of(mute), key=KEY)
    with pytest.raises(ValueError, match="No hidden units of this MLP"):
        transform.init(learner_of(mlp(3, 2, depth=0)), key=KEY)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"repeat": 3}, "the layer 'hidden_0' cannot be found .* axis 1 must have 12 entries"),
        ({"axis": 2}, "an array of shape \\(2, 4\\), but axis 2 must have 4 entries"),
        ({"where": lambda m: m.head.weight}, "`where` gives AttributeError"),
        ({"where": lambda m: None}, "The `outgoing` entries .* `where` gives None"),
    ],
)
def test_outgoing_weights_that_cannot_be_found(change, message, model):
    (group,) = model.units()
    wrong = dataclasses.replace(group.outgoing[0], **change)
    model = Described(model, (dataclasses.replace(group, outgoing=(wrong,)),))
    with pytest.raises(ValueError, match=message):
        ContinualBackprop(0.1).init(learner_of(model), key=KEY)


@pytest.mark.parametrize("taps", [{}, {"hidden_0": np.ones((2, 5), "f")}])
def test_taps_that_do_not_match_the_units(taps, model):
    transform, learner = ContinualBackprop(0.1), learner_of(model)
    signal = signal_at(model, np.ones((1, 2, 3), "f"), taps=jax.tree.map(jnp.asarray, taps))
    update = lambda: transform.update(learner, transform.init(learner, key=KEY), signal, key=KEY)
    with pytest.raises(ValueError, match="describes a layer 'hidden_0' of 4 activations, but"):
        eqx.filter_eval_shape(update)
