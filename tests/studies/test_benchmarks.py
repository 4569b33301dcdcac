"""The benchmark scripts at small size, also the one for a GPU on a machine without one."""

import importlib
import json
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest


FOLDER = pathlib.Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch):
    """A benchmark as a module, and its arguments."""
    monkeypatch.syspath_prepend(FOLDER)

    def load(name, *arguments):
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
        return importlib.import_module(name)

    return load


@pytest.mark.slow
def test_cheap_operator_never_restarts(script):
    """A restart orthogonalises once more than a step of the Hessian does."""
    memory = script("lanczos_memory")
    estimate = memory.Lanczos(order=12, num_vectors=1)
    spectrum = estimate(memory.operator("cheap", 500), key=jax.random.key(0))
    assert not spectrum.exhausted.any()


def test_curvature_estimators_use_equally_many_products(script):
    for order, num_vectors in ((10, 5), (7, 3)):
        contenders = script("curvature").estimators(order, num_vectors)
        for name in ("Lanczos", "MatfreeLanczos"):
            assert contenders[name].order * contenders[name].num_vectors == order * num_vectors
        deflated = contenders["Deflated"]
        spent = deflated.deflation_order + deflated.order * deflated.num_vectors
        assert spent == order * num_vectors


def test_curvature_rejects_unknown_parts(script, capsys):
    with pytest.raises(SystemExit):
        script("curvature", "sped").main()
    assert "unknown parts ['sped']" in capsys.readouterr().err


@pytest.mark.slow
def test_forecast_of_few_tasks(script, capsys):
    """With fewer than two blocks of ten tasks there is a correlation but no interval."""
    rising = np.arange(9.0)
    assert script("forecast").correlation(rising, rising**2) == " 1.000"
    assert script("forecast").correlation(np.arange(20.0), np.arange(20.0)).endswith("1.000]")
    with pytest.raises(SystemExit):
        script("forecast", "--tasks", "2").main()
    assert "--tasks is 2, but a correlation needs at least 3 tasks" in capsys.readouterr().err


@pytest.mark.slow
def test_gpu_script(tmp_path):
    written = tmp_path / "gpu.json"
    done = subprocess.run(
        [sys.executable, "gpu.py", "--small", "--only", "loop", "--json", str(written)],
        cwd=FOLDER,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("device: ")
    _, *rows = json.loads(written.read_text())["parts"]["loop"]
    assert [row["members"] for row in rows] == [1, 2]
    assert all(row["member-steps/s"] > 0 for row in rows)


@pytest.mark.slow
def test_algorithms_script():
    done = subprocess.run(
        [sys.executable, "algorithms.py", "--small", "--only", "cbp", "snp /10"],
        cwd=FOLDER,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert [line[:16].strip() for line in lines[-3:]] == ["bp", "cbp", "snp /10"]
    assert all(float(line.split()[-1]) > 0 for line in lines[-3:])


@pytest.mark.slow
def test_forecast_script():
    done = subprocess.run(
        [sys.executable, "forecast.py", "--small", "--only", "BP"],
        cwd=FOLDER,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert lines[1].startswith("BP: 20 tasks")
    assert -1 <= float(lines[2].split()[6]) <= 1


@pytest.mark.slow
def test_studies_script():
    done = subprocess.run(
        [sys.executable, "studies.py", "--small", "--only", "seeds", "saving", "help"],
        cwd=FOLDER,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "devices: 2 of" in done.stdout
    assert "ratio: " in done.stdout
    assert "saving costs" in done.stdout
    assert "spectral --help: " in done.stdout
