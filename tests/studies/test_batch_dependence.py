"""Networks that see the batch in inference mode, in experiments."""

from typing import Any

import equinox as eqx
import jax
import pytest
from growing_classes import BatchNormNetwork
from tables import growing

from spectral import algorithms
from spectral.studies import experiment_of, SettingsError
from spectral.studies.experiment._make import _check_top


class Centred(eqx.Module):
    """Always normalised over the batch, by hand."""

    inner: Any

    def __init__(self, *, key):
        self.inner = BatchNormNetwork(key=key)

    def __call__(self, x, state):
        (outputs, taps), state = self.inner(x, state)
        return (outputs - jax.lax.pmean(outputs, "batch"), taps), state


def parts(model) -> dict[str, Any]:
    return {"stream": growing().stream, "model": model, "algorithms": {"bp": algorithms.bp(0.1)}}


def test_they_are_rejected_unless_they_are_meant():
    with pytest.raises(SettingsError, match=r"^In `model`: .*depend on the other examples"):
        experiment_of(**parts(Centred))
    assert experiment_of(**parts(Centred), batch_dependent=True).batch_dependent
    assert not experiment_of(**parts(BatchNormNetwork)).batch_dependent


def test_settings_say_that_they_are_meant():
    needed = {"stream": {}, "model": {}, "algorithms": {}}
    _check_top(needed | {"batch_dependent": True})
    with pytest.raises(SettingsError, match="`batch_dependent` is 'yes', but must be true or"):
        _check_top(needed | {"batch_dependent": "yes"})
