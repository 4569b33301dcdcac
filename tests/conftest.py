import gc
import os
import pathlib

import jax
import pytest
from jaxtyping import install_import_hook


# Every annotation of the package is checked at run time; before anything imports it.
install_import_hook("spectral", "type_checking.check")

# The programs of tests run for milliseconds and compile for seconds: half of that time with little
# optimisation. `XLA_FLAGS= make test-all` tests them as users run them. (With none at all and the
# older emitters float64 keeps eight digits.)
_quick = "--xla_backend_optimization_level=1 --xla_llvm_disable_expensive_passes=true"
if jax.__version_info__ < (0, 11):
    _quick += " --xla_cpu_use_fusion_emitters=false"
os.environ.setdefault("XLA_FLAGS", _quick)

# Keep what was compiled between runs.
_cache = pathlib.Path(__file__).parent.parent / ".cache" / "jax"
jax.config.update("jax_compilation_cache_dir", str(_cache))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(autouse=True, scope="module")
def forget_programs():
    """The programs of one file are dropped before the next: the system limits how many pieces of
    memory a process may map, and a process that compiles all of them ends in a segmentation
    fault."""
    yield
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
