"""Imports go one way: between rooms, inside rooms, and between files."""

import ast
import graphlib
import pathlib

import pytest


PACKAGE = pathlib.Path(__file__).parents[2] / "spectral"

# By folder, its files and folders in layers: each may import from the layers before its own.
LAYERS: dict[str, list[set[str]]] = {
    "": [
        {"_arguments", "_blas", "_carry", "_keys"},
        {"_base"},
        {"_eigh"},
        {"_types"},
        {"models"},
        {"curvature"},
        {"tasks"},
        {"algorithms"},
        {"probes"},
        {"theory"},
        {"_history"},
        {"_divergence"},
        {"_core"},
        {"_ensemble"},
        {"_programs"},
        {"_branches"},
        {"_measuring"},
        {"_check_parts"},
        {"_recorders"},
        {"_loop"},
        {"recording"},
        {"studies"},
    ],
    "_base": [
        {
            "_axes",
            "_free_memory",
            "_labels",
            "_paths",
            "_per_entry",
            "_precision",
            "_processes",
            "_quantity_facts",
            "_readable",
            "_scaling",
            "_schedule",
        },
        {"_optimiser", "_quantity"},
    ],
    "models": [{"layers"}, {"_apply"}, {"units"}, {"signs"}, {"_network"}, {"networks"}],
    "models/layers": [
        {"_call_key", "_channels_last", "_image_product", "_image_shape", "_initialisers"},
        {"_fixed_scale", "_lecun_uniform", "_low_rank", "_orthogonal", "activations"},
        {"_batch_norm", "_convolution"},
        {"_sparse"},
        {"_initialised"},
        {"_dense_stack", "attention"},
    ],
    "curvature": [
        {"risk"},
        {"operators"},
        {"kronecker"},
        {"spectra"},
        {"estimators"},
        {"gradients"},
        {"landscape"},
    ],
    "curvature/risk": [
        {"_batch_dependence", "_loss", "_parameters", "_sigmoid", "_softmax", "examples"},
        {"_convex", "_elementwise", "_mean_loss"},
        {"_losses", "_risk"},
        {"_closed_risk", "_held"},
        {"_check_risk"},
    ],
    "curvature/kronecker": [
        {"blocks", "capture", "_layout"},
        {"_sharing", "_chosen"},
        {"_factorise"},
        {"_kronecker"},
        {"_factored_inverse"},
        {"_kfac", "_ekfac"},
        {"_kfac_error"},
    ],
    "curvature/estimators": [
        {"_derivative", "_gram_of", "_over_vectors", "_vectors"},
        {"_units"},
        {"spectrum", "trace"},
    ],
    "tasks": [{"_base"}, {"labelled", "sequences", "rl", "landscapes"}],
    "tasks/labelled": [{"sets"}, {"rows"}, {"streams"}, {"gradual"}],
    "tasks/rl": [{"environments"}, {"rollouts"}, {"ppo", "dqn"}],
    "algorithms": [{"_base"}, {"optimisers", "penalties", "transforms"}, {"recipes"}],
    "algorithms/transforms": [{"units", "weights", "records", "switches"}],
    "probes": [
        {"_base"},
        {"interventions"},
        {"curvature", "gradients", "units", "features", "weights", "outcome"},
        {"transformers"},
    ],
    "theory": [
        {"_base"},
        {"task_shift"},
        {"dead_units"},
        {"curvature"},
        {"forecast"},
        {"structure"},
        {"as_printed"},
        {"strategies"},
    ],
    "studies": [
        {"experiment"},
        {"published"},
        {"measures"},
        {"runs"},
        {"analysis"},
        {"predictors"},
        {"suite"},
        {"figures"},
        {"claims"},
        {"report"},
        {"command_line"},
    ],
    "studies/runs/cluster": [
        {"_entry", "_has_ended", "_outcome", "_places", "_pool", "_software"},
        {"_cluster", "_group_lock"},
        {"_job", "_saved_tasks", "_train_group"},
        {"_supervise", "_this_process", "_worker"},
        {"_ray", "_slurm"},
    ],
    "studies/claims": [
        {"_readings", "_windows", "_studies"},
        {"_effects"},
        {"_claim", "_relations"},
        {"_performance_claims"},
        {"_collapse_claims"},
        {"_proxy_claims"},
        {"_claims", "_protocol", "_verdict"},
        {"_studied"},
        {"_judge_all"},
        {"_table"},
        {"_pages"},
    ],
    "studies/suite": [
        {"_aggregate", "_cost", "_honest", "_suite", "_unannounced"},
        {"_entry", "_summary_file"},
        {"_baselines", "_score_algorithm", "_suite_table"},
    ],
    "studies/predictors": [
        {"statistics"},
        {"_panel", "_protocol"},
        {"_coverage", "_signs_of", "_trivial"},
        {"_ranking"},
        {"_compare", "_read", "_save", "_text"},
        {"_rank_predictors"},
    ],
}
ROOMS = {"models", "curvature", "tasks", "algorithms", "probes", "theory", "recording", "studies"}
# Their contents are imported when they are first used, so that help comes at once.
LAZY = {"recording", "studies"}

Path = pathlib.PurePosixPath


def imported(source: str, path: Path) -> list[tuple[int, bool, str]]:
    """The imports of `spectral` in a file: line, whether at the top of the file, and what, as a
    path below the package (`models/units/_entries`, or `models` for public names)."""
    tree = ast.parse(source)
    top = {id(node) for node in tree.body}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = path.parent.parts[: len(path.parent.parts) - node.level + 1]
            targets = (
                [(*base, *node.module.split("."))]
                if node.module
                else [(*base, alias.name) for alias in node.names]
            )
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "spectral":
            rest = (node.module or "").split(".")[1:]
            targets = [tuple(rest)] if rest else [(alias.name,) for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
            targets = [tuple(name[1:]) for name in names if name[0] == "spectral"]
        else:
            continue
        found += [(node.lineno, id(node) in top, "/".join(target)) for target in targets]
    return found


def violations(source: str, path: Path) -> list[str]:
    """What is wrong with the imports of the file at `path`, below the package."""
    found = []
    own = path.with_suffix("").parts
    public = path.name == "__init__.py" or path.suffix == ".pyi"
    own = own[:-1] if public else own
    for line, top, target in imported(source, path):
        place, other = f"{path}:{line}", tuple(target.split("/"))
        if not top:
            found.append(f"{place} imports {target} inside a function or a branch")
        shared = 0
        while shared < min(len(own), len(other)) and own[shared] == other[shared]:
            shared += 1
        folder = "/".join(own[:shared])
        if public and shared == len(own):
            continue  # a package lists its own contents
        if shared == len(other):
            if not (top and target in LAZY):
                found.append(f"{place} imports {target}, the package that it is itself a part of")
        elif folder in LAYERS:
            found += [f"{place} {wrong}" for wrong in _against(folder, own, other, shared)]
        if shared == 0 and len(other) > 1 and other[0] in ROOMS:
            found.append(f"{place} imports {target}: name `{other[0]}` alone, for public names")
    return found


def _against(folder: str, own: tuple[str, ...], other: tuple[str, ...], shared: int) -> list[str]:
    levels = {name: i for i, names in enumerate(LAYERS[folder]) for name in names}
    mine, theirs = own[shared], other[shared]
    for name in (mine, theirs):
        if name not in levels:
            return [f"needs a place for {name!r} in the order of {folder or 'the package'!r}"]
    if levels[theirs] >= levels[mine]:
        return [f"imports {theirs}, which is not below {mine}"]
    return []


def cycles(graph: dict[str, set[str]]) -> list[str]:
    """The files of a circle of imports, if there is one."""
    try:
        tuple(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError as error:
        return error.args[1]
    return []


def sources() -> list[Path]:
    files = [p.relative_to(PACKAGE).as_posix() for p in PACKAGE.rglob("*.py")]
    return [Path(file) for file in sorted(files)]


def test_imports_go_one_way():
    found = [v for path in sources() for v in violations((PACKAGE / path).read_text(), path)]
    assert found == []


def test_no_files_import_in_a_circle():
    graph = {}
    for path in sources():
        if path.name != "__init__.py":
            targets = imported((PACKAGE / path).read_text(), path)
            graph[path.with_suffix("").as_posix()] = {target for _, _, target in targets}
    assert cycles(graph) == []
    assert set(cycles(graph | {"_history": {"_core"}})) >= {"_history", "_core"}


@pytest.mark.parametrize(
    ("source", "path"),
    [
        # between rooms
        ("from ...tasks import PermutedImages", "models/networks/_mlp.py"),
        ("from spectral.studies import load", "probes/units/_dead_units.py"),
        ("from spectral import train_continual", "algorithms/penalties/_l2.py"),
        ("import spectral._loop", "_core.py"),
        ("from ._loop import train_continual", "_core.py"),
        ("from .models import MLP", "_types.py"),
        ("from ..studies import SettingsError", "recording/_wandb.py"),
        # the private files of another room
        ("from ...models.networks._mlp import MLP", "tasks/_base/_stream.py"),
        # inside a room
        ("from ..networks._mlp import MLP", "models/units/_margins.py"),
        ("from ..units._entries import Entries", "models/layers/_sparse.py"),
        ("from ..estimators.spectrum._lanczos import Lanczos", "curvature/spectra/_spectrum.py"),
        ("from ..spectrum._lanczos import Lanczos", "curvature/estimators/trace/_trace.py"),
        ("from ...penalties._l2 import L2", "algorithms/transforms/weights/_reset.py"),
        ("from ..runs._folder import Results", "studies/experiment/_make.py"),
        ("from ..landscapes._toy_landscapes import x", "tasks/labelled/streams/_loader.py"),
        # the room itself
        ("from .. import MLP", "models/networks/_convnet.py"),
        ("from ...models import MLP", "models/networks/_convnet.py"),
        ("from ... import models", "models/networks/_convnet.py"),
        # hidden in a function or a branch
        ("def f():\n    from ...models import MLP", "tasks/_base/_stream.py"),
        ("def f():\n    from ._stream import x", "tasks/_base/_outputs.py"),
        ("if True:\n    from ... import _types", "tasks/_base/_outputs.py"),
        ("def f():\n    from ... import studies", "studies/command_line/_main.py"),
        # without a place in the order
        ("from ..helpers import f", "models/_network.py"),
        ("from ..layers._sparse import f", "models/oddments/_things.py"),
    ],
)
def test_a_planted_violation_is_found(source, path):
    assert violations(source, Path(path))


@pytest.mark.parametrize(
    ("source", "path"),
    [
        ("from ...models import MLP", "tasks/_base/_stream.py"),
        ("from ._outputs import x\nimport jax", "tasks/_base/_stream.py"),
        ("from .models import MLP", "_core.py"),
        ("def f():\n    import tensorflow_datasets", "tasks/labelled/sets/_images.py"),
        ("from ... import _types", "tasks/_base/_stream.py"),
        ("from ..layers._sparse import Sparse", "models/units/_of_layer.py"),
        ("from .networks._mlp import MLP", "models/__init__.py"),
    ],
)
def test_what_is_allowed_passes(source, path):
    assert violations(source, Path(path)) == []
