"""The progress bar in a notebook. `tests/studies/test_run.py` has that of a terminal."""

import os
import pathlib
import subprocess
import sys

import pytest


ROOT = pathlib.Path(__file__).parents[2]

# The kernel of a notebook, as tqdm recognises it, with or without a stand-in for ipywidgets.
KERNEL = """
import sys, types
shell = types.ModuleType("IPython")
shell.get_ipython = lambda: object()
shell.display = types.ModuleType("IPython.display")
shell.display.display = lambda widget: print("displayed")
sys.modules |= {"IPython": shell, "IPython.display": shell.display}
sys.modules["ipykernel.zmqshell"] = types.ModuleType("ipykernel.zmqshell")
"""
WIDGETS = """
class Widget:
    def __init__(self, children=(), min=0, max=1):
        self.children, self.min, self.max, self.value = children, min, max, ""
        self.layout, self.style = types.SimpleNamespace(), types.SimpleNamespace()
widgets = types.ModuleType("ipywidgets")
widgets.HTML = widgets.FloatProgress = widgets.HBox = Widget
sys.modules["ipywidgets"] = widgets
"""
NO_WIDGETS = "sys.modules['ipywidgets'] = None\n"
BAR = """
import numpy as np
from spectral import History, Quantity, recording
shown = {"test_accuracy": Quantity("test accuracy", better="higher")}
bar = recording.ProgressBar(label="bp")
for done in (2, 3, 4):  # as after resuming
    bar.update(done, 4, History({"test_accuracy": np.full(done, 0.25)}, quantities=shown))
"""


def cell(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process without a terminal."""
    paths = (str(ROOT), os.environ.get("PYTHONPATH"))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.slow  # each process imports JAX
def test_text_in_a_notebook_without_widgets():
    done = cell(KERNEL + NO_WIDGETS + BAR)
    assert "bp:  50%" in done.stderr
    assert "4/4" in done.stderr
    assert "test accuracy 0.250" in done.stderr
    assert "Warning" not in done.stderr
    assert cell("import sys\n" + NO_WIDGETS + BAR).stderr == ""  # outside a notebook


@pytest.mark.slow
def test_widget_in_a_notebook():
    code = (
        "_, scale, right = bar._bar.container.children\nprint(scale.max, scale.value, right.value)"
    )
    done = cell(KERNEL + WIDGETS + BAR + code)
    first, last = done.stdout.splitlines()
    assert first == "displayed"
    assert last.startswith("4 4 ")
    assert "0.250" in last
    assert done.stderr == ""
