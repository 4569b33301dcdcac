"""Claims as sentences that data can contradict: verdicts from planted histories, and the pages."""

import json
import pathlib

import numpy as np
import pytest
from recorded_history import recorded

from spectral import studies
from spectral.studies import Claim, judge, Member
from spectral.studies.claims._claim import Above, Below, Condition, Within
from spectral.studies.claims._effects import between, change, Difference, Level, Ratio, Separation
from spectral.studies.claims._protocol import protocol_table
from spectral.studies.claims._readings import (
    DeadUnitBound,
    Performance,
    PublishedRank,
    Recorded,
    SecondOverLargest,
)
from spectral.studies.claims._relations import Bound, Correlation, Implication, Lead
from spectral.studies.claims._studies import STUDIES
from spectral.studies.claims._windows import EARLY, FIRST, LATE, SECOND
from spectral.studies.command_line._main import main
from spectral.studies.published._load import read_experiment
from spectral.studies.runs._folder import open_folder
from spectral.studies.runs._quantities import save_quantities
from spectral.studies.runs._results import save_member


ROOT = pathlib.Path(__file__).parents[2]
RANK, DEAD = Recorded("mine.start.rank", "rank"), Recorded("dead.start.fraction", "dead units")
ACCURACY = Performance()


def series(early, late, *, noise=0.0, seed=0, tasks=20):
    draws = np.random.default_rng(seed).normal(size=tasks)
    return np.linspace(early, late, tasks) + noise * draws


def runs(columns, *, seeds=5):
    """By algorithm and seed; `columns(algorithm, seed)` has the columns of one run."""
    return {a: {s: recorded(own(s)) for s in range(seeds)} for a, own in columns.items()}


def claim(effect, says, *, seeds=5, given=None):
    return Claim("mine.row", "A sentence.", "ours", "mine", effect, says, seeds, given=given)


def falling(fall, *, seeds=5, noise=0.002):
    own = lambda seed: {"test_accuracy": series(0.9, 0.9 - fall, noise=noise, seed=seed)}
    return runs({"bp": own}, seeds=seeds)


LOSES = claim(change(ACCURACY, "bp", LATE, EARLY), Below(-0.02))


def test_a_claim_that_is_true_false_or_undecided():
    true = judge(LOSES, falling(0.2))
    assert (true.outcome, true.seeds, true.reason) == ("confirmed", 5, "")
    # Windows: tasks 1 and 16 to 19 of 20.
    assert true.value == pytest.approx(-0.2 * (17.5 - 1) / 19, abs=0.003)
    assert true.low < true.value < true.high < -0.02
    assert 0 < true.detects < 0.02
    false = judge(LOSES, falling(0.0))
    assert false.outcome == "refuted"
    unknown = judge(LOSES, falling(0.023, noise=0.05))
    assert unknown.outcome == "undecided"
    assert unknown.reason == "the interval is on both sides of the limit"


def test_too_few_seeds():
    two = judge(LOSES, falling(0.2, seeds=2))
    assert (two.outcome, two.reason) == ("undecided", "2 of at least 3 seeds have a number")
    assert two.value < -0.1
    three = judge(LOSES, falling(0.2, seeds=3))
    assert (three.outcome, three.reason) == ("confirmed", "3 of 5 seeds")
    none = judge(LOSES, {})
    assert (none.outcome, none.reason) == ("not run", "not finished: bp")
    apart = {"bp": {0: falling(0)["bp"][0]}, "l2": {1: falling(0)["bp"][1]}}
    assert judge(claim(between(ACCURACY, "bp", "l2", LATE), Above(0)), apart).outcome == "not run"
    absent = judge(claim(Level(DEAD, "bp", LATE), Above(0)), falling(0))
    assert (absent.outcome, absent.reason) == (
        "undecided",
        "not recorded: column dead.start.fraction",
    )


def test_a_condition_that_is_not_met():
    fresh = Condition(Level(ACCURACY, "bp", EARLY), Above(0.95))
    found = judge(claim(LOSES.effect, LOSES.says, given=fresh), falling(0.2))
    assert found.outcome == "undecided"
    assert found.reason.startswith("condition not met: performance of `bp`, first tenth is 0.88")
    met = Condition(Level(ACCURACY, "bp", EARLY), Above(0.5))
    assert judge(claim(LOSES.effect, LOSES.says, given=met), falling(0.2)).outcome == "confirmed"


def test_assertions():
    assert [Above(1.0).judge(*ends) for ends in ((2, 3), (0, 0.5), (0, 2))] == [True, False, None]
    assert [Below(1.0).judge(*ends) for ends in ((2, 3), (0, 0.5), (0, 2))] == [False, True, None]
    within = [Within(-1, 1).judge(*ends) for ends in ((-0.5, 0.5), (2, 3), (0, 2), (-3, -2))]
    assert within == [True, False, None, False]


def test_windows():
    """Task 0 is in its own window alone."""
    tasks = np.arange(20.0)
    assert (EARLY.of(tasks), LATE.of(tasks)) == (1.0, 17.5)
    assert (FIRST.of(tasks), SECOND.of(tasks)) == (0.0, 1.5)
    assert EARLY.of(np.arange(200.0)) == 10.0
    assert (EARLY.of(np.arange(1.0)), LATE.of(np.arange(3.0))) == (0.0, 2.0)


def histories(**columns):
    return {name: recorded(own) for name, own in columns.items()}


def test_levels_and_what_is_made_of_two():
    pair = histories(
        bp={"mine.start.rank": np.full(20, 2.0)}, l2={"mine.start.rank": np.full(20, 8.0)}
    )
    low, high = Level(RANK, "bp", LATE), Level(RANK, "l2", LATE)
    assert Difference(high, low).of_seed(pair) == 6.0
    assert Ratio(high, low).of_seed(pair) == 4.0
    assert Separation(RANK, ("l2",), ("bp",), LATE).of_seed(pair) == 6.0
    three = pair | histories(er={"mine.start.rank": np.full(20, 9.0)})
    assert Separation(RANK, ("l2", "er"), ("bp",), LATE).of_seed(three) == 6.0
    assert Separation(RANK, ("l2",), ("bp", "er"), LATE).of_seed(three) == -1.0


def test_correlations():
    """A trend between algorithms is not a correlation within them."""
    own = np.random.default_rng(0).normal(size=(2, 20))
    rows = histories(
        bp={"mine.start.rank": own[0], "test_accuracy": -own[0]},
        l2={"mine.start.rank": own[1] + 10, "test_accuracy": 10 - own[1]},
    )
    pooled = Correlation(RANK, ACCURACY, ("bp", "l2"))
    assert Correlation(RANK, ACCURACY, ("bp", "l2"), within=True).of_seed(rows) == pytest.approx(-1)
    assert pooled.of_seed(rows) > 0.4
    relative = Correlation(RANK, ACCURACY, ("bp", "l2"), relative_to="bp")
    difference = rows["l2"]["test_accuracy"] - rows["bp"]["test_accuracy"]
    ranks = lambda x: np.argsort(np.argsort(x[1:]))
    expected = np.corrcoef(ranks(rows["l2"]["mine.start.rank"]), ranks(difference))[0, 1]
    assert relative.of_seed(rows) == pytest.approx(expected)
    rows["bp"]["test_accuracy"][10:] = rows["bp"]["mine.start.rank"][10:]
    first = Correlation(RANK, ACCURACY, ("bp",), num_tasks=10)
    assert first.of_seed(rows) == pytest.approx(-1)
    assert np.isnan(Correlation(RANK, ACCURACY, ("bp",), num_tasks=4).of_seed(rows))


def test_implications():
    """Of tasks 1 to 19, those with a rank below half of task 1's, and what their accuracy is."""
    rank = np.repeat([9.0, 1.0, 0.2], [1, 9, 10])
    accuracy = np.repeat([0.2, 0.9, 0.8, 0.9], [1, 9, 6, 4])
    rows = histories(bp={"mine.start.rank": rank, "test_accuracy": accuracy})
    low = Bound(RANK, above=False, limit=0.5, of_early=EARLY)
    worse = Bound(ACCURACY, above=False, limit=-0.05, from_early=EARLY)
    assert Implication(low, worse, ("bp",)).of_seed(rows) == pytest.approx(0.6)
    assert Implication(worse, low, ("bp",)).of_seed(rows) == 1.0
    never = Bound(ACCURACY, above=True, limit=0.95)
    assert np.isnan(Implication(never, low, ("bp",)).of_seed(rows))
    rank[15] = np.nan  # a task without a measurement does not count
    rows = histories(bp={"mine.start.rank": rank, "test_accuracy": accuracy})
    assert Implication(low, worse, ("bp",)).of_seed(rows) == pytest.approx(5 / 9)


def test_lead():
    noise = 0.01 * np.random.default_rng(1).normal(size=(2, 40))
    rank = np.repeat([1.0, 0.3], [15, 25]) + noise[0]
    accuracy = np.repeat([0.9, 0.5], [25, 15]) + noise[1]
    rows = histories(bp={"mine.start.rank": rank, "test_accuracy": accuracy})
    assert Lead(RANK, ACCURACY, "bp").of_seed(rows) == 10.0
    assert Lead(ACCURACY, RANK, "bp").of_seed(rows) == -10.0
    steady = histories(bp={"mine.start.rank": rank, "test_accuracy": 0.9 + noise[1]})
    assert np.isnan(Lead(RANK, ACCURACY, "bp").of_seed(steady))


def with_spectra(nodes):
    """Four tasks, of which every second one was measured with two vectors."""
    column = np.full((4, 2, 3), np.nan)
    column[::2] = nodes
    weights = np.tile([0.5, 0.3, 0.2], (4, 2, 1))
    return recorded({"hessian.start.nodes": column, "hessian.start.weights": weights})


def test_readings():
    history = with_spectra([[-0.05, 1.0, 4.0], [0.0, 3.0, 4.0]])
    fractions = SecondOverLargest().of(history)
    np.testing.assert_allclose(fractions, [0.5, np.nan, 0.5, np.nan])
    fractions = np.array([[0.0, 0.0], [0.5, 0.0], [np.nan, np.nan]])
    bound = DeadUnitBound((3, 4, 4, 2)).of(recorded({"dead.start.by_layer": fractions}))
    total = 3 * 4 + 4 + 4 * 4 + 4 + 4 * 2 + 2
    np.testing.assert_allclose(bound, [1.0, 1 - 2 * (3 + 1 + 4) / total, np.nan])


@pytest.mark.slow
def test_the_published_estimator():
    """Where a spectrum was measured. Half of it is within 0.1."""
    history = with_spectra([[-0.02, 1.0, 4.0], [0.02, 3.0, 4.0]])
    found = PublishedRank().of(history)
    assert np.isnan(found[1::2]).all()
    np.testing.assert_allclose(found[::2], 0.5, atol=0.05)


def test_the_smallest_effect_that_seeds_detect():
    """Of studies at this distance from the limit, 80 % decide."""
    assert studies.detectable(30) == pytest.approx(0.529, abs=0.001)
    assert np.isnan(studies.detectable(1))
    draws = np.random.default_rng(0).normal(studies.detectable(10), 1, (4000, 10))
    half = 2.262 * draws.std(axis=1, ddof=1) / np.sqrt(10)
    assert np.mean(draws.mean(axis=1) > half) == pytest.approx(0.8, abs=0.02)


def test_the_protocol_has_every_claim():
    """`docs/results/protocol.md` has the table of the rows, and each row can be judged."""
    rows = studies.paper_claims()
    text = (ROOT / "docs" / "results" / "protocol.md").read_text(encoding="utf-8")
    assert text.split("<!-- claims -->")[1].strip() == protocol_table(rows)
    assert f"There are {len(rows)} claims" in text
    names = [row.name for row in rows]
    assert len(set(names)) == len(names)
    for row in rows:
        assert row.name.split(".")[0] == row.study
    assert {row.study for row in rows} <= {study.name for study in STUDIES}


@pytest.mark.parametrize("study", [s for s in STUDIES if not s.sweep], ids=lambda s: s.name)
def test_every_study_can_decide_its_claims(study):
    """Its file trains the algorithms, records the probes and has the seeds that claims need."""
    settings, _ = read_experiment(ROOT / study.file)
    small, _ = read_experiment(ROOT / study.file, ["preset=small"])
    assert small["seeds"] == 3
    folder = f"docs/results/{study.folder or study.name}"
    assert study.command(folder) in (ROOT / study.file).read_text(encoding="utf-8")
    rows = (ROOT / "docs" / "results" / "README.md").read_text(encoding="utf-8")
    assert f"| `{study.name}.yaml` | `{study.folder or study.name}` |" in rows
    assert small["algorithms"] == settings["algorithms"]
    for row in studies.paper_claims():
        if row.study == study.name:
            assert set(row.effect.algorithms) <= set(settings["algorithms"]), row.name
            assert row.seeds == settings["seeds"]
            for column in columns_of(row.effect):
                assert column.split(".")[0] in settings["probes"], row.name


def columns_of(module):
    """The columns that an effect reads, from its fields."""
    found = []
    for value in vars(module).values():
        if isinstance(value, str) and value.count(".") > 1 and " " not in value:
            found.append(value)
        elif hasattr(value, "__dict__"):
            found += columns_of(value)
    return found


def planted(folder, columns, *, seeds=3):
    """A run folder of the study of permuted digits, with these columns for each algorithm."""
    settings, _ = read_experiment(ROOT / "examples/results/permuted_digits.yaml")
    settings = settings | {"seeds": seeds}
    about = {"spectral": "0.0.1", "command": "spectral run", "numerics": {}}
    open_folder(folder, settings, about, "new")
    save_quantities(folder, recorded({"test_accuracy": np.zeros(1)}).quantities)
    for algorithm, own in columns.items():
        for seed in range(seeds):
            history = recorded(own(seed))
            member = Member(algorithm, seed, "finished", "", history, processor="a processor")
            save_member(folder, member)
    return folder


@pytest.fixture
def root(tmp_path):
    own = lambda fall: lambda s: {"test_accuracy": series(0.9, 0.9 - fall, noise=0.002, seed=s)}
    planted(tmp_path / "permuted_digits", {"bp": own(0.2), "er": own(0.0), "l2_er": own(0.0)})
    return tmp_path


def test_the_command(root, capsys, monkeypatch):
    """One table, one page a study, and what is missing with the command that trains it."""
    drawn = lambda results, *, folder, only: [folder / "performance.png"]
    monkeypatch.setattr("spectral.studies.claims._pages.draw_figures", drawn)
    assert main(["claims", str(root)]) == 0
    out = capsys.readouterr().out
    rows = {line.split()[0]: line for line in out.splitlines() if line.startswith("permuted")}
    assert "confirmed" in rows["permuted_digits.bp_loses"]
    assert "refuted" in rows["permuted_digits.er_loses"]
    assert "not run" in rows["permuted_digits.l2_keeps"]
    assert "3 of 30 seeds" in rows["permuted_digits.bp_loses"]
    assert "examples/results/point_mass.yaml --out" in out
    assert "point_mass has not been run." in out
    assert "version 0.0.1" in out
    page = (root / "permuted_digits.md").read_text()
    assert "Processors: a processor." in page
    assert "| BP loses plasticity. |" in page
    assert "figures/permuted_digits/performance.png" in page
    summary = (root / "claims.md").read_text()
    assert "`permuted_digits.bp_loses` | confirmed" in summary
    facts = json.loads((root / "claims.json").read_text())["verdicts"]
    assert {row["verdict"] for row in facts} == {"confirmed", "refuted", "undecided", "not run"}


def test_what_is_damaged_stopped_or_of_another_protocol(root):
    """One message each, and all else is judged."""
    digits = root / "permuted_digits"
    (digits / "er" / "seed_0" / "history.npz").write_bytes(b"cut off")
    stopped = digits / "l2_er" / "seed_2" / "status.json"
    stopped.write_text(json.dumps(json.loads(stopped.read_text()) | {"status": "unfinished"}))
    found = studies.judge_claims(root)
    verdict = {v.claim.name: v for v in found.verdicts}
    assert verdict["permuted_digits.bp_loses"].outcome == "confirmed"
    assert verdict["permuted_digits.er_loses"].reason == "2 of at least 3 seeds have a number"
    told = "\n".join(found.studied[0].messages)
    assert "damaged history.npz" in told
    assert "l2_er seed 2 stopped half-way" in told
    # Other settings than those of the file are not judged.
    config = digits / "config.yaml"
    config.write_text(config.read_text().replace("num_tasks: 200", "num_tasks: 100"))
    found = studies.judge_claims(root)
    assert {v.outcome for v in found.of("permuted_digits")} == {"not run"}
    told = "\n".join(found.studied[0].messages)
    assert "`stream.num_tasks` is 100 in the run, and 200 in the file" in told
    with pytest.raises(studies.SettingsError, match="is not a folder: name one"):
        studies.judge_claims(root / "missing")
    config.write_text("no mapping")
    assert "cannot be read" in studies.judge_claims(root).studied[0].messages[0]


@pytest.mark.slow
def test_a_study_at_small_size(tmp_path, monkeypatch, capsys):
    """A unit of the small preset is trained by the command of the study, and its processor kept."""
    monkeypatch.chdir(tmp_path)
    few = "algorithms={bp: {type: bp, lr: 0.03}}"
    file = str(ROOT / "examples" / "results" / "permuted_digits.yaml")
    command = ["run", file, "--out", "kept/permuted_digits", "--set", "preset=small", "--set", few]
    for _ in range(3):
        assert main([*command, "--apart", "--at-most", "1", "--resume"]) == 0
    members = studies.load_results("kept/permuted_digits").members
    assert len(members) == 3
    assert all(member.processor for member in members)
    assert main(["claims", "kept"]) == 0
    assert "not judged" in capsys.readouterr().out


@pytest.mark.slow
def test_the_figures_of_a_page(root):
    assert main(["claims", str(root), "--out", str(root / "pages")]) == 0
    figure = "figures/permuted_digits/performance.png"
    assert (root / "pages" / figure).exists()
    assert figure in (root / "pages" / "permuted_digits.md").read_text()
