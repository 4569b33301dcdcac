"""Deleting the run in a folder, and nothing else."""

import os
import pathlib
import re
import uuid
from collections.abc import Iterator, Set

from ...experiment._settings import SettingsError


# The figures that `spectral plot` and `spectral landscape` write whatever was recorded. Others are
# named by the quantities of the run.
FIGURES = (
    "performance",
    "returns",
    "units",
    "overview",
    "normalised_epsilon_rank",
    "curvature_accuracy",
    "hessian_spectra",
    "curvature",
    "landscape",
)
_MEMBER = r"[A-Za-z0-9_+-]+/seed_\d+"  # as `member_folder` and `check_names` have it
_TASK = r"checkpoints/(kept/)?\d+/(rejected-)?\d+(\.orbax-checkpoint-tmp[^/]*)?"
# Paths below the run folder, as runs, sweeps, clusters, Orbax, TensorBoard and Weights & Biases
# name them.
_WRITTEN = (
    r"(config\.yaml|quantities\.json|summary\.json|sweep\.yaml|sweep\.csv|selected\.yaml)",
    rf"{_MEMBER}/(history\.npz|status\.json)",
    rf"{_TASK}/(_[A-Z_]+|commit_success\.txt|descriptor/.*|about/.*|arrays/.*)",
    rf"{_TASK}/(about|arrays)\.orbax-checkpoint-tmp[^/]*/.*",
    r"cluster/(\d+\.lock|token-[0-9a-f]+|jobs/.*)",
    rf"events/({_MEMBER}/)?events\.out\.tfevents\.[^/]+",
    rf"events/({_MEMBER}|run)\.wandb-id",
    r"events/wandb/(latest-run|debug[^/]*\.log|(offline-)?run-[^/]+/.*)",
)
_PART = r"(\.[0-9a-f]{32}\.part)?"  # of a file whose writing was interrupted


def clear(folder: pathlib.Path, figures: Set[str]) -> None:
    """Delete the files that runs and sweeps write, and the folders that are then empty. All other
    files stay.

    `figures` are the names of figures beside `FIGURES`.
    """
    drawn = "|".join(map(re.escape, sorted({*FIGURES, *figures})))
    patterns = (*_WRITTEN, rf"figures/({drawn})\.(png|pdf)")
    written = re.compile(f"({'|'.join(patterns)}){_PART}")
    emptied = set()
    for path in list(_files(folder)):
        if written.fullmatch(path.relative_to(folder).as_posix()):
            path.unlink()
            emptied |= set(path.parents) - {folder, *folder.parents}
    for path in sorted(emptied, key=lambda path: len(path.parts), reverse=True):
        if not any(path.iterdir()):
            path.rmdir()
        elif re.fullmatch(_TASK, path.relative_to(folder).as_posix()):
            # Under its own name it would be taken for a checkpoint.
            path.rename(path.with_name(f"other-{uuid.uuid4().hex[:8]}-{path.name}"))


def check_no_links(folder: pathlib.Path) -> None:
    """Check that no folder of the run is a symbolic link. Files behind one are elsewhere, and are
    not deleted; but what they hold would be taken for parts of the new run.

    **Raises:** `SettingsError` naming the link.
    """
    for path in (*folder.glob("*"), *folder.glob("*/*"), *folder.glob("checkpoints/kept/*")):
        inside = path.relative_to(folder).as_posix()
        of_run = re.fullmatch(rf"checkpoints(/kept)?(/\d+)?|{_MEMBER}", inside)
        of_run = of_run or (path.parent == folder and any(path.glob("seed_*")))
        if path.is_symlink() and path.is_dir() and of_run:
            raise SettingsError(
                f"{str(path)!r} is a symbolic link to {str(path.readlink())!r}, and --overwrite "
                "deletes nothing behind links: delete the link, or name another folder with --out."
            )


def _files(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """The files below a folder, and links, which are not followed."""
    for parent, folders, files in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        yield from (pathlib.Path(parent, name) for name in (*files, *links))
