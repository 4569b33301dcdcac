"""Spectral collapse, and what follows it."""

from ._claim import Above, Below, Claim, Condition
from ._effects import between, change, Difference, Level, Ratio, Separation
from ._performance_claims import FIVE, NAMES
from ._readings import Performance, PublishedRank, Recorded, SecondOverLargest
from ._relations import Bound, Correlation, Implication, Lead
from ._windows import EARLY, LATE


RANK = Recorded("hessian.start.normalised_epsilon_rank", "eps-rank (quadrature)")
PLAIN = (("permuted_digits", 30, 0.1), ("permuted_mnist", 5, 0.1), ("continual_imagenet", 5, 0.5))
KEEPING = {
    "permuted_digits": (("l2", "cbp", "l2_er"), ("bp", "er"), "ours, as G.4"),
    "permuted_mnist": (("l2", "cbp", "l2_er"), ("bp", "er"), "G.4, Figure 10"),
    "continual_imagenet": (("er", "cbp", "l2_er"), ("bp", "l2"), "H.4, panels of Figure 12"),
    "incremental_cifar": (("l2", "l2_er"), ("bp", "er", "cbp"), "I.4, Figure 13"),
}


def collapse_claims() -> tuple[Claim, ...]:
    """The claims about spectra, in the order of the paper."""
    return (
        *(claim for study, seeds, guess in PLAIN for claim in _collapse(study, seeds, guess)),
        *(_sorts(study) for study in KEEPING),
        *_cifar(),
        *_imagenet(),
    )


def _collapse(study: str, seeds: int, guess: float) -> tuple[Claim, ...]:
    own = lambda algorithm: Ratio(Level(RANK, algorithm, LATE), Level(RANK, algorithm, EARLY))

    def row(name: str, sentence: str, place: str, effect, says) -> Claim:
        return Claim(f"{study}.{name}", sentence, place, study, effect, says, seeds)

    margin = 0.05
    return (
        row("bp_collapses", "The spectrum of BP collapses.", "F.1", own("bp"), Below(0.5)),
        *(
            row(f"{a}_spectrum", f"{NAMES[a]} keeps the spectrum.", "F.1", own(a), Above(0.5))
            for a in ("cbp", "l2_er")
        ),
        row(
            "l2_raises_rank",
            "L2 is needed beside ER: L2-ER ends with a higher eps-rank than ER.",
            "section 7",
            between(RANK, "l2_er", "er", LATE),
            Above(0),
        ),
        row(
            "collapse_precedes",
            "Collapse precedes the loss: the eps-rank of BP drops in an earlier task.",
            "ours; abstract and F.1 mean the start of a task",
            Lead(RANK, Performance(), "bp"),
            Above(0),
        ),
        row(
            "start_tells",
            "The eps-rank at the start of a task goes with the outcome of that task.",
            "abstract, section 1",
            Correlation(RANK, Performance(), FIVE, within=True),
            Above(0),
        ),
        *(
            row(
                f"correlates_{name}",
                f"eps-rank and accuracy correlate ({name}).",
                "Figures 2 and 7",
                Correlation(reading, Performance(), FIVE),
                Above(0),
            )
            for name, reading in (("quadrature", RANK), ("published", PublishedRank()))
        ),
        row(
            "collapse_prevents",
            "Preventing collapse is necessary: where the eps-rank is below half of its early "
            "level, the task is learned worse than early ones.",
            "section 5",
            Implication(
                Bound(RANK, False, 0.5, of_early=EARLY),
                Bound(Performance(), False, -0.02, from_early=EARLY),
                FIVE,
            ),
            Above(0.9),
        ),
        row(
            "complete_loss",
            "Complete loss goes with complete collapse: where a task is learned no better than by "
            "guessing, the eps-rank is below a tenth of its early level.",
            "F.1",
            Implication(
                Bound(Performance(), False, guess + margin),
                Bound(RANK, False, 0.1, of_early=EARLY),
                FIVE,
            ),
            Above(0.9),
        ),
    )


def _sorts(study: str) -> Claim:
    above, below, place = KEEPING[study]
    seeds = 30 if study == "permuted_digits" else 5
    return Claim(
        f"{study}.spectra_sort",
        "Those that keep plasticity have denser spectra than those that lose it, all of them.",
        place,
        study,
        Separation(PublishedRank(), above, below, LATE),
        Above(0),
        seeds,
    )


def _cifar() -> tuple[Claim, ...]:
    study, algorithms = "incremental_cifar", (*FIVE, "reset")
    correlation = lambda reading, num_tasks: Correlation(
        reading, Performance(), algorithms, num_tasks=num_tasks, relative_to="reset"
    )
    readings = (("quadrature", RANK), ("published", PublishedRank()))
    rows = [
        Claim(
            f"{study}.ten_{name}",
            f"In the first ten tasks eps-rank correlates with the accuracy above RESET's ({name}).",
            "F.2, Figure 7",
            study,
            correlation(reading, 10),
            Above(0),
            5,
        )
        for name, reading in readings
    ]
    both = Difference(correlation(PublishedRank(), 10), correlation(PublishedRank(), None))
    sentence = "Over all twenty tasks the correlation is weaker."
    rows.append(
        Claim(f"{study}.twenty_weaker", sentence, "F.2, Figure 8", study, both, Above(0), 5)
    )
    return tuple(rows)


def _imagenet() -> tuple[Claim, ...]:
    study = "continual_imagenet"
    fresh = Condition(Level(Performance(), "reset", LATE), Above(0.85))
    return (
        Claim(
            f"{study}.half_needed",
            "A normalised eps-rank of 0.5 is needed for about 80 %.",
            "section 5",
            study,
            Implication(Bound(Performance(), True, 0.8), Bound(PublishedRank(), True, 0.5), FIVE),
            Above(0.95),
            5,
            given=fresh,
        ),
        Claim(
            f"{study}.valley",
            "BP starts late tasks in a valley and L2-ER in a bowl: the second eigenvalue over the "
            "largest is larger for L2-ER.",
            "Figure 1, App. A (there at task 800)",
            study,
            between(SecondOverLargest(), "l2_er", "bp", LATE),
            Above(0),
            5,
        ),
        Claim(
            f"{study}.valley_grows",
            "BP moves into the valley: this ratio falls over the tasks.",
            "Figure 1, App. A",
            study,
            change(SecondOverLargest(), "bp", LATE, EARLY),
            Below(0),
            5,
        ),
    )
