import gc
import hashlib
import os
import pathlib
import time

import jax
import pytest
from jaxtyping import install_import_hook


# Check every annotation of the package at run time. This must come before any import of it.
install_import_hook("spectral", "type_checking.check")

# The programs of tests run for milliseconds and compile for seconds. With little optimisation they
# compile in half the time. `XLA_FLAGS= make test-all` tests them as users run them. (With no
# optimisation and the older emitters, float64 keeps only eight digits.)
_quick = "--xla_backend_optimization_level=1 --xla_llvm_disable_expensive_passes=true"
if jax.__version_info__ < (0, 11):
    _quick += " --xla_cpu_use_fusion_emitters=false"
os.environ.setdefault("XLA_FLAGS", _quick)

# Keep compiled programs between runs, and share them between the workers of one run.
_cache = pathlib.Path(__file__).parents[1] / ".cache" / "jax"
jax.config.update("jax_compilation_cache_dir", str(_cache))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
jax.config.update("jax_numpy_rank_promotion", "raise")

# A process that holds all programs of the suite exceeds the memory maps that Linux allows it, and
# ends with a segmentation fault.
_MAPS = pathlib.Path("/proc/self/maps")
_MOST_MAPS = 25_000
_TESTS_BETWEEN_COUNTS = 16  # reading so many maps takes 0.1 s


@pytest.fixture(autouse=True)
def drop_programs(request):
    """Drop compiled programs after a test once there are many."""
    yield
    config = request.config
    config.tests_run = getattr(config, "tests_run", 0) + 1
    if config.tests_run % _TESTS_BETWEEN_COUNTS or not _MAPS.exists():
        return
    if _MAPS.read_bytes().count(b"\n") > _MOST_MAPS:
        jax.clear_caches()
        gc.collect()


@pytest.fixture
def getkey():
    """A function that returns a new key each time it is called."""
    count = 0

    def next_key():
        nonlocal count
        count += 1
        return jax.random.fold_in(jax.random.key(5678), count)

    return next_key


@pytest.fixture
def float64():
    """Run the test in double precision."""
    with jax.enable_x64(True):
        yield


def pytest_addoption(parser):
    group = parser.getgroup("rotation", "a part of the tests that depends on the commit")
    group.addoption("--rotate", metavar="COMMIT", help="order the test files by this text")
    group.addoption("--budget", metavar="SECONDS", type=float, help="skip what starts after this")


def pytest_collection_modifyitems(config, items):
    commit = config.getoption("--rotate")
    if commit:
        file = lambda item: item.nodeid.partition("::")[0]
        items.sort(key=lambda item: hashlib.sha256(f"{commit} {file(item)}".encode()).digest())


def pytest_sessionstart(session):
    session.config.began = time.monotonic()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    budget = item.config.getoption("--budget")
    if budget is not None and time.monotonic() - item.config.began > budget:
        pytest.skip("the time is up; other commits run this test")
