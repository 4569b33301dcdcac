"""All verdicts, from a folder with one run folder for each study."""

import os
import pathlib
from typing import NamedTuple

from ..experiment._settings import given_path, SettingsError
from ._claims import paper_claims
from ._studied import read_study, Studied
from ._studies import STUDIES
from ._verdict import judge, Verdict


class Verdicts(NamedTuple):
    """The verdicts about all claims, and the studies that they come from."""

    verdicts: tuple[Verdict, ...]
    studied: tuple[Studied, ...]

    def of(self, study: str) -> tuple[Verdict, ...]:
        """The verdicts of one study."""
        return tuple(v for v in self.verdicts if v.claim.study == study)


def judge_claims(folder: str | os.PathLike[str]) -> Verdicts:
    """Compute the verdict about every claim of the protocol (`docs/results/protocol.md`).

    ```python
    verdicts = studies.judge_claims("docs/results")
    print(studies.claims_table(verdicts))
    ```

    **Arguments:**

    - `folder`: the folder that holds the run folders of the studies, each with the name of its
      file in `examples/results`. What is missing, damaged or of other settings is told in
      `studied[i].messages`, and all else is judged.

    **Raises:** `SettingsError` if the folder does not exist.
    """
    root = pathlib.Path(given_path("folder", folder))
    if not root.is_dir():
        raise SettingsError(
            f"{str(root)!r} is not a folder: name one that holds the run folders of the studies, "
            "such as docs/results."
        )
    studied = tuple(read_study(study, root) for study in STUDIES)
    runs = {own.study.name: own.runs for own in studied}
    verdicts = tuple(judge(claim, runs[claim.study]) for claim in paper_claims())
    return Verdicts(verdicts, studied)
