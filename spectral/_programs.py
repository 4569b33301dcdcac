"""The compiled programs of a run. Each also accepts ensembles."""

import equinox as eqx

from ._core import begin_task, run_tasks, start_run
from ._ensemble import spread


start = eqx.filter_jit(spread(start_run))
begin = eqx.filter_jit(spread(begin_task))
segment = eqx.filter_jit(spread(run_tasks))
