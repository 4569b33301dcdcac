"""The table of the protocol, from the rows of the claims."""

from ._claim import Claim, detectable


def protocol_table(claims: tuple[Claim, ...]) -> str:
    """The claims as a table in Markdown: what is claimed, by which number, and how many seeds."""
    names = ["name", "claim", "place", "number of each seed", "confirmed if", "seeds", "detects"]
    rows = [names, ["---"] * len(names), *map(_row, claims)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _row(claim: Claim) -> list[str]:
    sentence = claim.sentence
    if claim.given is not None:
        sentence += f" Undecided unless {claim.given.effect.text} {claim.given.says.text}."
    return [
        f"`{claim.name}`",
        sentence,
        claim.place,
        claim.effect.text,
        claim.says.text,
        str(claim.seeds),
        f"{detectable(claim.seeds):.2g} sd",
    ]
