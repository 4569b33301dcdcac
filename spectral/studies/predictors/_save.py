"""The comparison of signs as files."""

import json
import os
import pathlib
from typing import Any

import pandas as pd

from ..analysis._finite import finite
from ..experiment._settings import given_path, SettingsError
from ..runs._atomic_write import write_text
from ._ranking import PredictorRanking


def save_predictors(
    ranking: PredictorRanking, folder: str | os.PathLike[str]
) -> list[pathlib.Path]:
    """Write the result of `rank_predictors` to a folder: `predictors.csv`, a row for each sign,
    `coverage.csv`, and `predictors.json`, which also has the protocol and the messages.

    ```python
    studies.save_predictors(studies.rank_predictors("runs/digits"), "runs/digits/predictors")
    ```

    **Returns:** the files.

    **Raises:** `SettingsError` if a file cannot be written.
    """
    folder = given_path("folder", folder)
    texts = {
        "predictors.csv": ranking.to_dataframe().to_csv(index=False),
        "coverage.csv": pd.DataFrame(ranking.coverage).to_csv(index=False),
        "predictors.json": json.dumps(predictors_facts(ranking), indent=1, allow_nan=False) + "\n",
    }
    try:
        for name, text in texts.items():
            write_text(folder / name, text)
    except OSError as error:
        raise SettingsError(
            f"The comparison cannot be written to {str(folder)!r}: {error.strerror}. Choose "
            "another folder with `--out`."
        ) from error
    return [folder / name for name in texts]


def predictors_facts(ranking: PredictorRanking) -> dict[str, Any]:
    """The comparison, as JSON can hold it."""
    plain = lambda value: finite(value) if isinstance(value, float) else value
    return {
        "protocol": ranking.protocol.facts,
        "signs": [{n: plain(v) for n, v in sign.flat.items()} for sign in ranking.signs],
        "coverage": [line._asdict() for line in ranking.coverage],
        "messages": list(ranking.messages),
    }
