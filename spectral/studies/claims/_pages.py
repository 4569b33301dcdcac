"""The pages about the claims: one summary, and one page with figures for each study."""

import json
import os
import pathlib

from ..analysis._finite import finite
from ..experiment._settings import given_path, SettingsError
from ..figures._figures import draw_figures
from ..runs._atomic_write import write_text
from ._claims import PROTOCOL
from ._judge_all import Verdicts
from ._studied import Studied
from ._table import cells, counts, number
from ._verdict import Verdict


# The figures of a page, and those of the paper that have the same form.
FIGURES = {
    "performance": "Performance (paper: Figure 3, and Figure 9 at best rates)",
    "units": "Dead units and effective rank of features (paper: Figures 6 and 9)",
    "normalised_epsilon_rank": "The eps-rank over tasks (ours)",
    "curvature_accuracy": "Curvature against performance (paper: Figures 2, 7 and 8)",
    "hessian_spectra": "Spectra of the Hessian (paper: Figures 10, 12 and 13)",
}


def write_claims(verdicts: Verdicts, folder: str | os.PathLike[str]) -> list[pathlib.Path]:
    """Write the pages: `claims.md` with every claim, `STUDY.md` for each study with finished runs,
    their figures as `figures/STUDY/NAME.png`, and `claims.json`.

    ```python
    studies.write_claims(studies.judge_claims("docs/results"), "docs/results")
    ```

    **Returns:** the pages.

    **Raises:** `SettingsError` if a file cannot be written.
    """
    folder = pathlib.Path(given_path("folder", folder))
    texts = {"claims.md": _summary(verdicts), "claims.json": _facts(verdicts)}
    try:
        for own in verdicts.studied:
            if own.runs:
                drawn = _draw(own, folder / "figures" / own.study.name)
                texts[f"{own.study.name}.md"] = _page(own, verdicts, drawn)
        for name, text in texts.items():
            write_text(folder / name, text)
    except OSError as error:
        raise SettingsError(
            f"The pages cannot be written to {str(folder)!r}: {error.strerror}. Choose another "
            "folder with `--out`."
        ) from error
    return [folder / name for name in texts]


def _draw(own: Studied, folder: pathlib.Path) -> list[str]:
    """The names of the figures that the finished runs have."""
    if own.results is None:
        return []
    files = draw_figures(own.results, folder=folder, only=list(FIGURES))
    names = {path.stem for path in files}
    return [name for name in FIGURES if name in names]


def _summary(verdicts: Verdicts) -> str:
    names = ["claim", "verdict", "number", "95 % interval", "claimed", "seeds", "detects", "why"]
    rows = [_row(v, sentence=False) for v in verdicts.verdicts if v.outcome != "not run"]
    studies = [
        [
            f"[{own.study.title}]({own.study.name}.md)" if own.runs else own.study.title,
            str(len(verdicts.of(own.study.name))),
            str(sum(map(len, own.runs.values()))),
            own.study.scale,
            own.processors,
            f"`{own.command}`",
        ]
        for own in verdicts.studied
    ]
    messages = [f"- {text}" for own in verdicts.studied for text in own.messages]
    heads = ["study", "claims", "finished units", "scale", "processors", "next unit"]
    return "\n".join(
        [
            "# Verdicts",
            "",
            "Written by `make results`, that is `spectral claims docs/results`, by the rules of "
            f"[protocol.md](protocol.md), version {PROTOCOL}. Do not edit.",
            "",
            counts(verdicts),
            "",
            _markdown(names, rows),
            "",
            "## Studies",
            "",
            _markdown(heads, studies),
            *(["", "## What is missing", "", *messages] if messages else []),
            "",
        ]
    )


def _page(own: Studied, verdicts: Verdicts, figures: list[str]) -> str:
    names = ["claim", "paper", "verdict", "number", "95 % interval", "claimed", "seeds"]
    rows = [_row(v, sentence=True) for v in verdicts.of(own.study.name)]
    measured = {v.claim.name: v.claim.effect.text for v in verdicts.of(own.study.name)}
    name = own.study.name
    pictures = [
        line
        for figure in figures
        for line in (f"**{FIGURES[figure]}**", "", f"![{figure}](figures/{name}/{figure}.png)", "")
    ]
    told = [f"- {text}" for text in own.messages]
    return "\n".join(
        [
            f"# {own.study.title}",
            "",
            "Written by `make results`. Do not edit.",
            "",
            f"Scale: {own.study.scale}.",
            "",
            f"Next unit: `{own.command}`",
            "",
            f"Processors: {own.processors}.",
            "",
            *([*told, ""] if told else []),
            _markdown([*names, "detects", "why"], rows),
            "",
            *pictures,
            "## The number of each claim",
            "",
            *(f"- `{claim}`: {text}" for claim, text in measured.items()),
            "",
        ]
    )


def _row(verdict: Verdict, *, sentence: bool) -> list[str]:
    claim = verdict.claim
    what = [claim.sentence, claim.place] if sentence else [f"`{claim.name}`"]
    value, interval, seeds = cells(verdict)
    numbers = [verdict.outcome, value, interval, claim.says.text, seeds, number(verdict.detects)]
    return [*what, *numbers, verdict.reason]


def _markdown(names: list[str], rows: list[list[str]]) -> str:
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _facts(verdicts: Verdicts) -> str:
    rows = [
        {
            "claim": v.claim.name,
            "sentence": v.claim.sentence,
            "verdict": v.outcome,
            "value": finite(v.value),
            "low": finite(v.low),
            "high": finite(v.high),
            "detects": finite(v.detects),
            "seeds": v.seeds,
            "planned": v.claim.seeds,
            "reason": v.reason,
        }
        for v in verdicts.verdicts
    ]
    facts = {"protocol": PROTOCOL, "verdicts": rows}
    return json.dumps(facts, indent=1, allow_nan=False) + "\n"
