"""Other signs than curvature, and the theorem about dead units."""

from ._claim import Above, Below, Claim
from ._collapse_claims import RANK
from ._effects import between, change, Level, Ratio
from ._performance_claims import FIVE
from ._readings import DeadUnitBound, Performance, Recorded
from ._relations import Correlation
from ._windows import EARLY, FIRST, LATE, SECOND


FEATURES = Recorded("rank.start.feature_effective_rank", "effective rank of features")
DEAD = Recorded("dead.start.fraction", "dead units")
COSINE = Recorded("per_example.start.mean_cosine", "mean cosine of gradients")


def proxy_claims() -> tuple[Claim, ...]:
    """The claims about feature ranks, dead units, gradients and Theorem 6.2."""
    studies = (("permuted_digits", 30), ("permuted_mnist", 5), ("continual_imagenet", 5))
    return (
        *(claim for study in studies for claim in _proxies(*study)),
        *_cifar(),
        *_gradients_and_bound(),
    )


def _proxies(study: str, seeds: int) -> tuple[Claim, ...]:
    def row(name: str, sentence: str, effect, says) -> Claim:
        place = "section 8, Figure 6"
        return Claim(f"{study}.{name}", sentence, place, study, effect, says, seeds)

    return (
        row(
            "er_high_rank",
            "ER keeps a high feature rank: at least that of early tasks.",
            Ratio(Level(FEATURES, "er", LATE), Level(FEATURES, "er", EARLY)),
            Above(0.9),
        ),
        row(
            "l2_low_rank",
            "L2 has a lower feature rank than ER.",
            between(FEATURES, "l2", "er", LATE),
            Below(0),
        ),
        row(
            "l2_many_dead",
            "L2 has more dead units than ER.",
            between(DEAD, "l2", "er", LATE),
            Above(0),
        ),
    )


def _cifar() -> tuple[Claim, ...]:
    study = "incremental_cifar"

    def row(name: str, sentence: str, effect, says) -> Claim:
        return Claim(f"{study}.{name}", sentence, "E, Figure 6", study, effect, says, 5)

    return (
        row(
            "dead_fall",
            "The dead units of BP fall over the tasks.",
            change(DEAD, "bp", LATE, SECOND),
            Below(0),
        ),
        row(
            "dead_fall_reset",
            "The growing set of classes is a reason: RESET's dead units at the ends of tasks, "
            "which no earlier task can have caused, fall as well.",
            change(
                Recorded("dead_end.end.fraction", "dead units at task ends"), "reset", LATE, SECOND
            ),
            Below(0),
        ),
        row(
            "dead_rise_first",
            "Few classes are a reason: dead units rise sharply in the first task.",
            change(DEAD, "bp", SECOND, FIRST),
            Above(0.02),
        ),
        row(
            "dead_above_reset",
            "Relative to RESET, BP's dead units show the loss: they are more at the ends of tasks.",
            between(
                Recorded("dead_end.end.fraction", "dead units at task ends"), "bp", "reset", LATE
            ),
            Above(0),
        ),
    )


def _gradients_and_bound() -> tuple[Claim, ...]:
    study = "permuted_digits"
    bound = DeadUnitBound((64, 100, 100, 100, 10))
    return (
        Claim(
            f"{study}.collinearity",
            "Collinear gradients at the start of a task go with a worse outcome.",
            "section 5 (it points to section 8, which does not show it)",
            study,
            Correlation(COSINE, Performance(), FIVE, within=True),
            Below(0),
            30,
        ),
        Claim(
            f"{study}.bound_tells",
            "The bound of Theorem 6.2 says something: late tasks of BP start with a bound below "
            "0.9 of the parameters.",
            "ours",
            study,
            Level(bound, "bp", LATE),
            Below(0.9),
            30,
        ),
        Claim(
            f"{study}.bound_tight",
            "The bound of Theorem 6.2 explains the collapse: the measured eps-rank of BP is above "
            "half of it.",
            "ours",
            study,
            Ratio(Level(RANK, "bp", LATE), Level(bound, "bp", LATE)),
            Above(0.5),
            30,
        ),
    )
