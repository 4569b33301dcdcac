"""Benchmarks run at small size; the one for a GPU on a machine without one."""

import pathlib
import subprocess
import sys

import pytest


FOLDER = pathlib.Path(__file__).parent.parent / "benchmarks"


def test_gpu_script():
    done = subprocess.run(
        [sys.executable, "gpu.py", "--members", "1", "2"],
        cwd=FOLDER,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert lines[0].startswith("device: ")
    assert [line.split()[0] for line in lines[-2:]] == ["1", "2"]
    assert all(float(line.split()[2]) > 0 for line in lines[-2:])


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
