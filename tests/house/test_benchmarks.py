"""The form of the benchmarks: every script is run, and what is measured is judged as it should."""

import math
import pathlib

import bench
import equinox as eqx
import gpu
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from timing import limits
from timing.case import Case, Contender, operations
from timing.compare import comparison, verdict
from timing.interval import of_median
from timing.record import load, save
from timing.report import limit, table
from timing.runner import measure, Measured


BENCHMARKS = pathlib.Path(__file__).parents[2] / "benchmarks"


def measured(name="work", *, ours=1.0, peer=2.0, noise=0.01, seed=0, speeds=None):
    rng = np.random.default_rng(seed)
    drawn = lambda middle: (middle * (1 + noise * rng.uniform(-1, 1, 7))).tolist()
    seconds = {"ours": drawn(ours), "other": drawn(peer)}
    return Measured(name, seconds, seconds, speeds or {}, flops=6.0, traffic=2.0)


def test_every_script_is_run():
    scripts = {path.stem for path in BENCHMARKS.glob("*.py")} - {"bench", "bench_compare"}
    run = {*bench.TIMED, *bench.STUDIES}
    assert scripts == run | set(bench.PARTS)
    assert not run & set(bench.PARTS)


@pytest.mark.parametrize(("count", "cut"), [(1, 0), (3, 0), (5, 0), (7, 0), (9, 1), (20, 5)])
def test_an_interval_contains_the_median(count, cut):
    """The ranks are those of the sign test: the interval of 20 values is that of ranks 6 and 15."""
    values = np.random.default_rng(0).permutation(count).astype(float)
    found = of_median(values.tolist())
    assert (found.lower, found.upper) == (cut, count - 1 - cut)
    assert found.middle == (count - 1) / 2
    beyond = 2 * sum(math.comb(count, i) for i in range(cut + 1)) / 2**count
    assert found.level == pytest.approx(1 - beyond)
    assert found.level >= 0.95 or cut == 0


def test_intervals_cover():
    rng = np.random.default_rng(1)
    draws = [of_median(row.tolist()) for row in rng.exponential(size=(500, 9))]
    covered = np.mean([found.lower <= np.log(2) <= found.upper for found in draws])
    assert covered == pytest.approx(draws[0].level, abs=0.03)


def test_contenders_are_timed_in_turn():
    calls = []

    def contender(name, units=1):
        return Contender(lambda: calls.append(name), units)

    case = Case(contender("ours", 10), {"a": contender("a"), "b": contender("b")}, rounds=3)
    found = measure("work", case, 7)
    assert calls[:3] == ["ours", "a", "b"]
    assert calls[3:] == ["ours", "a", "b", "a", "b", "ours", "b", "ours", "a"]
    assert {name: len(seconds) for name, seconds in found.seconds.items()} == {
        "ours": 3,
        "a": 3,
        "b": 3,
    }
    assert found.limits == {}


def test_the_limits_of_a_case(monkeypatch):
    """Both are measured, and what allows less is what binds."""
    monkeypatch.setattr(limits, "_BYTES", 1e5)
    monkeypatch.setattr(limits, "_OPERATIONS", 1e6)
    case = Case(
        Contender(lambda: None), flops=1e9, traffic=1e3, working_set=4096, product=(64, 64, 64)
    )
    found = measure("work", case, 1)
    assert set(found.limits) == {"bandwidth", "product"}
    assert 1e7 < found.limits["bandwidth"][0] < 1e13
    assert 1e7 < found.limits["product"][0] < 1e13
    known = limit(found)
    assert known is not None
    assert known[0] == "product"


def test_the_fraction_of_the_limit():
    speeds = {"bandwidth": [4.0] * 7, "product": [20.0] * 7}
    found = limit(measured(noise=0, speeds=speeds))
    # 2 bytes at 4 a second take longer than 6 operations at 20 a second: half of the time of ours.
    assert found == ("bandwidth", 0.5, 0.5)
    text = table([measured(noise=0, speeds=speeds)])
    assert "bandwidth 500 ms" in text
    assert "50%" in text
    assert "2.00" in text.splitlines()[1]


def test_operations_are_counted():
    x, w = jnp.zeros((20, 30)), jnp.zeros((30, 40))
    assert operations(jnp.matmul, x, w) == pytest.approx(2 * 20 * 30 * 40)
    loss = lambda w: jnp.sum((x @ w) ** 2)
    assert operations(jax.grad(loss), w) == pytest.approx(2 * 2 * 20 * 30 * 40, rel=0.1)


def test_what_has_changed():
    old = measured()
    assert verdict(old, measured(seed=1))[0] == "same"
    faster = verdict(old, measured(ours=0.5, seed=1))
    assert faster[0] == "faster"
    assert faster[1] == pytest.approx(0.5, abs=0.02)
    assert verdict(old, measured(ours=1.5, seed=1))[0] == "slower"
    # The whole machine was slower, or the noise is larger than the change.
    assert verdict(old, measured(ours=1.5, peer=3.0, seed=1))[0] == "same"
    assert verdict(old, measured(ours=1.2, noise=0.5, seed=1))[0] == "same"
    # An interval of one round is a point.
    once = Measured("work", {"ours": [0.5]}, {"ours": [0.5]}, {}, flops=6.0, traffic=2.0)
    assert verdict(old, once) == ("unsure", pytest.approx(0.5, abs=0.02))


def test_two_files_are_compared(tmp_path):
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    save(old, [measured("a"), measured("b"), measured("c")], form="quick")
    save(new, [measured("a", seed=1), measured("b", ours=0.5, seed=1), measured("d")], form="quick")
    about, cases = load(old)
    assert cases == [measured("a"), measured("b"), measured("c")]
    assert about["form"] == "quick"
    assert about["versions"]["jax"] == jax.__version__
    assert about["machine"]["cores"] >= 1
    lines = comparison(old, new).splitlines()
    assert [line.split()[:2] for line in lines[:2]] == [["a", "same"], ["b", "faster"]]
    assert lines[2:] == [f"only in {old}: c", f"only in {new}: d"]


def test_parts_of_a_gpu_are_left_out_with_the_reason(monkeypatch):
    def without_package(sizes):
        yield {"members": 1}
        raise ModuleNotFoundError("No module named 'brax'")

    parts = {"loop": lambda sizes: iter([{"members": 1}, {"members": 2}]), "ppo": without_package}
    monkeypatch.setattr(gpu, "PARTS", parts)
    for package in (jax, eqx):  # other tests need what they have compiled
        monkeypatch.setattr(package, "clear_caches", lambda: None)
    found = gpu.run(["loop", "ppo"], gpu.SMALL, 100.0)
    assert found["loop"] == [{"members": 1}, {"members": 2}]
    assert found["ppo"] == [{"members": 1}, {"left out": "No module named 'brax'"}]
    (late,) = gpu.run(["loop"], gpu.SMALL, 0.0)["loop"]
    assert late["left out"].startswith("0 s are over")
