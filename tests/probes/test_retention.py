"""Accuracy on earlier tasks, and what was forgotten."""

import numpy as np
import pytest
from tables import own_data, permuted

from spectral import algorithms, Ensemble, History, probes, tasks, train_continual
from spectral._check_parts import check_parts


RETENTION = probes.Retention(num_past=2, when=("start", "end"))


def test_a_network_that_does_not_change_keeps_its_accuracies():
    """Without a step the loss on an earlier task is that of its end, to the last bit."""
    setting, name = permuted(), "retention"
    probe = probes.Retention(num_past=2, metric="test_loss", when=("start", "end"))
    _, history = train_continual(
        setting.model, setting.stream, algorithms.bp(1e-30), probes={name: probe}
    )
    own, found = history["test_loss"], history["retention.end.accuracy"]
    nan = np.nan
    expected = np.array([[nan, nan], [own[0], nan], [own[1], own[0]]], found.dtype)
    assert own[0] != own[1]
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(
        history["retention.end.mean"], [nan, own[0], (own[0] + own[1]) / 2], rtol=1e-6
    )
    lost = probes.forgetting(history, name, metric="test_loss")
    np.testing.assert_array_equal(lost, [nan, 0, 0])
    assert list(history.quantities)[-2:] == ["retention.start.mean", "retention.end.mean"]


def test_the_start_of_a_task_sees_the_weights_of_the_end_before():
    """What is one task ago at the start is the accuracy of its end, under training."""
    setting = own_data(tasks.PermutedInputs)
    _, history = train_continual(
        setting.model, setting.stream, algorithms.bp(0.3), probes={"r": RETENTION}
    )
    own, start = history["test_accuracy"], history["r.start.accuracy"]
    np.testing.assert_array_equal(start[1:, 0], own[:-1])
    assert not np.array_equal(history["r.end.accuracy"][1:, 0], own[:-1])


def test_forgetting_is_from_the_best_accuracy_so_far():
    nan = np.nan
    accuracy = np.array([[nan, nan], [0.7, nan], [0.4, 0.5], [nan, nan], [0.2, 0.6]])
    columns = {"test_accuracy": np.array([0.6, 0.9, 0.8, 0.7, 0.7]), "r.end.accuracy": accuracy}
    # Task 0 is known better in task 1 than at its end: in task 2, 0.9 - 0.4 and 0.7 - 0.5 are lost.
    expected = [nan, -0.1, (0.5 + 0.2) / 2, nan, (0.5 + 0.2) / 2]
    np.testing.assert_allclose(probes.forgetting(columns, "r"), expected, rtol=1e-6)
    members = {name: np.stack([c, c], axis=1) for name, c in columns.items()}
    found = probes.forgetting(History(members), "r")
    np.testing.assert_allclose(found, np.stack([expected] * 2, axis=1), rtol=1e-6)
    with pytest.raises(ValueError, match="`history`: Column 's.end.accuracy' does not exist"):
        probes.forgetting(columns, "s")


@pytest.mark.slow
def test_members_have_the_numbers_of_single_runs():
    setting = permuted()
    train = lambda algo: train_continual(
        setting.model, setting.stream, algo, probes={"r": RETENTION}
    )[1]["r.end.accuracy"]
    algos = [algorithms.bp(lr) for lr in (0.01, 0.05)]
    both = train(Ensemble.of(algos))
    for i, algo in enumerate(algos):
        np.testing.assert_array_equal(both[:, i], train(algo))


def test_what_cannot_be_measured_is_named():
    with pytest.raises(ValueError, match="`num_past` is 0"):
        probes.Retention(num_past=0)
    algo, setting = algorithms.bp(), permuted()
    check = lambda setting, probe: check_parts(
        setting.model, setting.stream, algo, probes={"r": probe}
    )
    match = "`metric`: Metric 'accuracy' does not exist. Allowed: test_accuracy, test_loss"
    with pytest.raises(ValueError, match=match):
        check(setting, probes.Retention(metric="accuracy"))
    with pytest.raises(TypeError, match="DriftingInputs, which cannot rebuild an earlier task"):
        check(own_data(tasks.DriftingInputs), probes.Retention())
    message = r"'test_accuracy' does not exist.* Pass one .*`Retention\(metric=\"test_loss\"\)`"
    with pytest.raises(ValueError, match=message):
        check(own_data(tasks.PermutedInputs, kind="numbers"), probes.Retention())
    told = probes.Retention(metric="test_loss").quantities()["mean"]
    assert (told.label, told.better, told.limits) == ("loss on earlier tasks", None, (None, None))
