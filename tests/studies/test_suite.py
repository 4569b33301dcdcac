"""The suite: statistics, budget, summaries, hidden boundaries, cheats and the table."""

import dataclasses
import inspect
import json
import pathlib
import re
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from tiny_experiment import PLAIN

from spectral import algorithms, studies
from spectral._keys import derive, Role
from spectral._types import Chunk, Clock, Step
from spectral.algorithms import AbstractTransform
from spectral.studies import SettingsError
from spectral.studies.command_line._main import main
from spectral.studies.experiment._make import make_experiment
from spectral.studies.experiment._yaml import load_yaml
from spectral.studies.suite import _score_algorithm
from spectral.studies.suite._aggregate import (
    bootstrap_interval,
    interquartile_mean,
    probability_of_improvement,
)
from spectral.studies.suite._cost import Cost
from spectral.studies.suite._entry import read_entry
from spectral.studies.suite._honest import check_honest
from spectral.studies.suite._suite import MOST_SETTINGS, SuiteStream, VERSION
from spectral.studies.suite._summary_file import save_suite_summary
from spectral.studies.suite._unannounced import _one_task, unannounced, UnannouncedPenalty


SUITE = studies.load_suite("quick")
NAMES = [stream.name for stream in SUITE.streams]


def summary(name: str = "bp", score: float = 0.5, **changed: Any) -> studies.SuiteSummary:
    found = studies.StreamScore({"lr": 0.1}, [score, score + 0.1, score + 0.2], "", 0.9)
    given = {
        "name": name,
        "form": "quick",
        "track": "announced",
        "version": VERSION,
        "protocol": SUITE.protocol,
        "time": 1.0,
        "memory": 1.0,
        "streams": dict.fromkeys(NAMES, found),
    }
    return studies.SuiteSummary(**given | changed)


def test_interquartile_mean():
    # Of 9 scores 2 are left out at each end.
    scores = np.array([[9.0, 0.0, 5.0], [1.0, 8.0, 4.0], [-50.0, 6.0, 100.0]])
    assert interquartile_mean(scores) == (1 + 4 + 5 + 6 + 8) / 5
    assert interquartile_mean(np.array([[0.0], [1.0], [2.0], [9.0]])) == 1.5
    assert interquartile_mean(np.array([[1.0, 2.0, 6.0]])) == 3.0
    many = np.random.default_rng(0).normal(size=(5, 6))
    assert interquartile_mean(many) == pytest.approx(scipy.stats.trim_mean(many.ravel(), 0.25))


def test_probability_of_improvement():
    own, other = np.array([[1.0, 5.0], [2.0, 5.0]]), np.array([[0.0, 5.0], [2.0, 7.0]])
    # First stream: 1 > 0, 1 < 2, 2 > 0, 2 = 2: 2.5 of 4. Second: 5 = 5 and 5 < 7, twice: 1 of 4.
    assert probability_of_improvement(own, other) == pytest.approx((2.5 / 4 + 1 / 4) / 2)
    assert probability_of_improvement(other, own) == pytest.approx(1 - (2.5 / 4 + 1 / 4) / 2)
    fewer = bootstrap_interval(probability_of_improvement, own, other[:1], draws=5)
    assert fewer.value == (1 + 1 / 2) / 2


def test_bootstrap_covers_the_truth():
    generator, covered = np.random.default_rng(1), 0
    offsets = np.array([0.0, 10.0])  # streams that differ by far more than seeds do
    for _ in range(100):
        scores = generator.normal(size=(20, 2)) + offsets
        found = bootstrap_interval(lambda s: np.mean(s, axis=(-2, -1)), scores, draws=200)
        assert found.value == np.mean(scores)
        covered += found.lower <= 5.0 <= found.upper
        # Without strata the interval would be as wide as the difference of the streams.
        assert found.upper - found.lower < 1.2
    assert 88 <= covered <= 99


def test_scores_are_between_guessing_and_perfect():
    digits, _, markov = SUITE.streams
    accuracy = np.array([1.0, 0.1, 0.05, np.nan, 0.55])
    np.testing.assert_allclose(digits.score(accuracy), [1, 0, 0, 0, 0.5])
    losses = np.array([0.5, 3.0, np.nan, markov.guess])
    np.testing.assert_allclose(markov.score(losses), [1, 0, 0, 0])
    assert markov.guess == pytest.approx(np.log(8))


def test_declaration():
    assert NAMES == ["permuted_digits", "random_labels", "markov"]
    assert MOST_SETTINGS["quick"] == 3
    for stream in SUITE.streams:
        trainability = stream.experiment["probes"]["trainability"]
        last = stream.experiment["stream"]["num_tasks"] - 1
        assert last % trainability["every"] == 0


def test_entries(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    read = lambda name: read_entry(name, SUITE, "announced")
    assert len(read("bp").cells["markov"]) == SUITE.most_settings
    # The default of 100 steps would not fit; that of `snp`, 1, stays.
    assert read("er").cells["permuted_digits"]["er-1"].settings["er_period"] == 50
    assert "period" not in read("snp").cells["permuted_digits"]["snp-1"].settings
    hidden = read_entry("bp", SUITE, "hidden").cells["markov"]["bp-1"]
    assert hidden.settings["type"].endswith(":unannounced")

    (tmp_path / "my_suite_entry.py").write_text(
        "from spectral.algorithms import Algorithm, l2\n"
        "def mine(lr: float) -> Algorithm:\n    return l2(lr)\n"
        "def rigid() -> Algorithm:\n    return l2(0.1)\n"
    )
    assert read("my_suite_entry:mine").name == "mine"
    with pytest.raises(SettingsError, match="takes no `lr`"):
        read("my_suite_entry:rigid")
    with pytest.raises(SettingsError, match="NAME: Recipe 'l2r' does not exist"):
        read("l2r")

    file = tmp_path / "own.yaml"
    file.write_text("type: l2\nlr: {grid: [1, 2]}\nweight_decay: {grid: [1, 2]}\n")
    with pytest.raises(SettingsError, match="tries 4 settings on 'permuted_digits'"):
        read(file)
    file.write_text("permuted_digits: {type: bp}\nrandom_labels: {type: bp}\n")
    with pytest.raises(SettingsError, match="no algorithm for 'markov'"):
        read(file)
    file.write_text("type: bp\nlr: {grid: [1, 2, 3]}\n")
    assert {n: len(cells) for n, cells in read(file).cells.items()} == dict.fromkeys(NAMES, 3)


def test_wrong_summaries_are_named_and_the_others_shown(tmp_path):
    folder = tmp_path / "announced"
    folder.mkdir()
    wrong = {
        "version": summary(version=VERSION + 1),
        "protocol": summary(protocol="another"),
        "track": summary(track="hidden"),
    }
    for name, made in wrong.items():
        save_suite_summary(made, folder / f"{name}.json")
    (folder / "half.json").write_text('{"name": "bp", "str')
    fewer = dataclasses.asdict(summary())
    del fewer["streams"]["markov"]
    (folder / "fewer.json").write_text(json.dumps(fewer))
    save_suite_summary(summary("l2"), folder / "l2.json")
    found, messages = studies.suite_baselines(
        dataclasses.replace(SUITE, folder=tmp_path), "announced"
    )
    assert found == [summary("l2")]
    for name in wrong:
        assert any(f"{name}.json' has the {name} " in m and "again" in m for m in messages)
    for name in ("half", "fewer"):
        assert any(f"{name}.json' is damaged" in message for message in messages)
    assert re.search(r"spectral score adam_local_time --form quick --track announced", messages[-1])
    with pytest.raises(SettingsError, match="cannot be read: No such file"):
        studies.load_suite_summary(tmp_path / "none.json", SUITE, "announced")


def test_table():
    lost = studies.StreamScore({"lr": 0.1}, [0.0, 0.4, 0.5], "seed 100 with lr 0.1", 0.0)
    own = summary("mine", 0.1)
    own.streams["markov"] = lost
    text = studies.suite_table([own, summary("bp")], about="mine")
    lines = text.splitlines()
    assert lines[1].split()[:3] == ["1", "bp", "0.60"]
    assert lines[2].split()[1] == "mine"
    assert "mine on markov diverged: seed 100 with lr 0.1." in text
    assert re.search(r"mine over bp +0\.0\d \[0\.00", text)
    assert studies.suite_table([]) == "No algorithm has been scored yet."


def test_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(studies, "score_algorithm", lambda name, folder, **_: summary(str(folder)))
    assert main(["score", "my_module:mine", "--track", "hidden"]) == 0
    assert "runs/suite/quick/hidden/mine" in capsys.readouterr().out
    assert main(["score"]) == 0
    assert "recipes have not been scored" in capsys.readouterr().err
    lost = summary("bp", streams=dict.fromkeys(NAMES, studies.StreamScore({}, [0.0], "all", None)))
    monkeypatch.setattr(studies, "score_algorithm", lambda *_, **__: lost)
    assert main(["score", "bp"]) == 1
    assert "bp on markov diverged: all." in capsys.readouterr().out


def test_hidden_boundaries():
    hidden = unannounced(algorithms.reset(0.1))
    (transform,) = hidden.transforms
    assert type(transform).begin_task is AbstractTransform.begin_task
    assert type(transform).resets is AbstractTransform.resets
    (penalty,) = unannounced(algorithms.l2(0.1)).penalties
    assert isinstance(penalty, UnannouncedPenalty)
    assert penalty.penalty == algorithms.l2(0.1).penalties[0]

    # Step 3 of chunk 1 of task 2, with 5 minibatches in each of 4 chunks of a task.
    clock = Clock(*(jnp.asarray(n, int) for n in (48, 3, 1, 2)))
    chunk, key = Chunk(jnp.zeros((5, 1))), jax.random.key(0)
    step = Step(clock, None, None, None, chunk, jnp.asarray, print, print, clock.task, key)
    seen = _one_task(step).clock
    told = [int(n) for n in (seen.step, seen.step_in_chunk, seen.chunk, seen.task)]
    assert told == [48, 3, 9, 0]

    restarted = algorithms.Constant(0.1, warmup_steps=2, restart="task")
    with pytest.raises(ValueError, match="boundaries of tasks are hidden"):
        unannounced(algorithms.bp(restarted))


class ReadsTheEvaluationKey(AbstractTransform[None]):
    """Looks for the key of the run among the variables of its callers."""

    def init(self, learner, *, key):
        return None

    def update(self, learner, state, signal, *, key):
        frame = inspect.currentframe()
        while frame is not None and frame.f_code.co_name != "take_step":
            frame = frame.f_back
        assert frame is not None
        stolen = derive(frame.f_locals["key"], Role.EVALUATE, signal.clock.task)
        return _nudged(learner, jax.random.uniform(stolen)), state


class EvaluatesOnTestRows(AbstractTransform[None]):
    """Keeps a change only if the test rows like it."""

    def init(self, learner, *, key):
        return None

    def begin_task(self, learner, state, start, *, key):
        batch = start.draw(20, "held_out", key=key)
        return _nudged(learner, start.loss_of(learner, batch, key=key)), state


class SamplesTheTask(AbstractTransform[None]):
    """Uses what it may use."""

    def init(self, learner, *, key):
        return None

    def begin_task(self, learner, state, start, *, key):
        batch = start.sample(20, key=key)
        return _nudged(learner, start.loss_of(learner, batch, key=key)), state


def _nudged(learner, amount):
    move = lambda leaf: leaf + amount if eqx.is_inexact_array(leaf) else leaf
    return eqx.tree_at(lambda lr: lr.model, learner, jax.tree.map(move, learner.model))


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (SamplesTheTask(), None),
        (ReadsTheEvaluationKey(), "'bp' derives the key of the evaluation"),
        (EvaluatesOnTestRows(), "'bp' changes weights by rows that are held out"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, AbstractTransform) else "",
)
def test_cheats_fail(transform, message, untraced):
    experiment = make_experiment(load_yaml(PLAIN))
    algo = algorithms.followed_by(experiment.algorithms["bp"], (transform,))
    experiment = dataclasses.replace(experiment, algorithms={"bp": algo})
    if message is None:
        check_honest(experiment)
    else:
        with pytest.raises(SettingsError, match=re.escape(message)):
            check_honest(experiment)


def test_first_seed(untraced):
    settings = load_yaml(PLAIN)

    def key(seed, **more):
        made = make_experiment(settings | more)
        made = dataclasses.replace(made, model=lambda *, key: eqx.nn.Identity())
        return made.member(seed)[2]

    assert key(1, first_seed=99) == key(100)
    assert key(1, first_seed=99) != key(1)
    with pytest.raises(SettingsError, match="`first_seed` is -1"):
        make_experiment(settings | {"first_seed": -1})


SMALL = """
experiment:
  stream:
    type: PermutedImages
    images: {type: load_images, name: digits, num_validation: 300}
    num_tasks: 2
    steps_per_task: 20
    num_evaluation_examples: 20
  model: {type: MLP, width: 4, depth: 1}
  probes:
    trainability: {type: Trainability, num_tasks: 1, num_twins: 1, budget: 5, outcomes: [own]}
choose_by: validation accuracy
measure: accuracy
guess: 0.1
best: 1.0
lr: {grid: [1.0e+30, 0.01]}
longest_period: 10
"""


@pytest.mark.slow
def test_score(tmp_path, monkeypatch):
    (tmp_path / "1_small.yaml").write_text(SMALL)
    small = dataclasses.replace(
        SUITE, streams=(SuiteStream("small", **load_yaml(SMALL)),), folder=tmp_path
    )
    monkeypatch.setattr(_score_algorithm, "load_suite", lambda form: small)
    summary = studies.score_algorithm("bp", tmp_path / "bp")
    found = summary.streams["small"]
    assert found.setting == {"lr": 0.01}
    assert found.diverged == ""
    assert len(found.scores) == 3
    assert len(set(found.scores)) > 1
    assert 0.2 < summary.time < 5
    assert summary.memory == pytest.approx(1, rel=0.01)
    assert found.trainability is not None
    assert 0.5 < found.trainability < 2
    results = studies.load_results(tmp_path / "bp" / "small" / "scoring")
    accuracy = [m.history["test_accuracy"][-1] for m in results.members]
    np.testing.assert_allclose(found.scores, np.maximum(0, (np.array(accuracy) - 0.1) / 0.9))
    path = tmp_path / "bp" / "summary.json"
    assert studies.load_suite_summary(path, small, "announced") == summary

    monkeypatch.setattr(_score_algorithm, "cost_of", lambda *given, folder: Cost(1.0, 1.0))
    # What ended is not trained again, also if the score was stopped half-way.
    path.unlink()
    again = studies.score_algorithm("bp", tmp_path / "bp")
    assert again.streams == summary.streams

    # `reset` does nothing if it is not told where a task ends.
    hidden = studies.score_algorithm("reset", tmp_path / "reset", track="hidden")
    assert hidden.streams["small"].scores == found.scores

    lost = tmp_path / "lost.yaml"
    lost.write_text("type: bp\nlr: {grid: [1.0e+30, 2.0e+30]}\n")
    summary = studies.score_algorithm(lost, tmp_path / "lost")
    assert summary.streams["small"].scores == [0.0, 0.0, 0.0]
    assert summary.streams["small"].diverged == "every setting in tuning: lr 1e+30; lr 2e+30"


def test_the_table_of_the_documentation_is_that_of_the_baselines():
    page = (pathlib.Path(__file__).parents[2] / "docs" / "suite.md").read_text()
    for track in ("announced", "hidden"):
        found, _ = studies.suite_baselines(SUITE, track)
        if found:
            assert studies.suite_table(found) in page
