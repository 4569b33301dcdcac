"""Who keeps plasticity where."""

from ._claim import Above, Below, Claim, Within
from ._effects import AbstractEffect, between, change, Level, Separation
from ._readings import Performance, Recorded
from ._windows import EARLY, EARLY_CYCLES, END, LATE, MIDDLE, Window


FIVE = ("bp", "l2", "er", "l2_er", "cbp")
NAMES = {"bp": "BP", "l2": "L2", "er": "ER", "l2_er": "L2-ER", "cbp": "CBP"}


def performance_claims() -> tuple[Claim, ...]:
    """The claims about accuracies and returns, in the order of the paper."""
    return (
        *_streams("permuted_digits", 30, 0.02, "ours, as section 8 says of Permuted MNIST"),
        *_streams("permuted_mnist", 5, 0.02, "section 8, Figure 3"),
        *_mnist(),
        *_imagenet(),
        *_cifar(),
        *_reinforcement(),
    )


def _loses(
    study: str, seeds: int, algorithm: str, margin: float, place: str, since: Window = EARLY
):
    effect = change(Performance(), algorithm, LATE, since)
    sentence = f"{NAMES[algorithm]} loses plasticity."
    name = f"{study}.{algorithm}_loses"
    return Claim(name, sentence, place, study, effect, Below(-margin), seeds)


def _keeps(
    study: str, seeds: int, algorithm: str, margin: float, place: str, since: Window = EARLY
):
    effect = change(Performance(), algorithm, LATE, since)
    sentence = f"{NAMES[algorithm]} keeps plasticity."
    name = f"{study}.{algorithm}_keeps"
    return Claim(name, sentence, place, study, effect, Above(-margin), seeds)


def _l2_beside_er(study: str, seeds: int) -> Claim:
    effect = between(Performance(), "l2_er", "er", LATE)
    sentence = "L2 is needed beside ER: L2-ER ends above ER."
    return Claim(f"{study}.l2_beside_er", sentence, "section 7", study, effect, Above(0), seeds)


def _streams(study: str, seeds: int, margin: float, place: str) -> tuple[Claim, ...]:
    about = (study, seeds)
    return (
        *(_loses(*about, algorithm, margin, place) for algorithm in ("bp", "er")),
        *(_keeps(*about, algorithm, margin, place) for algorithm in ("l2", "cbp", "l2_er")),
        Claim(
            f"{study}.early_boost",
            "L2-ER is better than BP from the first tasks, before any loss.",
            place,
            study,
            between(Performance(), "l2_er", "bp", EARLY),
            Above(0),
            seeds,
        ),
        _l2_beside_er(study, seeds),
        Claim(
            f"{study}.smaller_rate",
            "A smaller learning rate changes little: BP at a third of the rate ends as BP does.",
            "G.3",
            study,
            between(Performance(), "bp_slow", "bp", LATE),
            Within(-margin, margin),
            seeds,
        ),
    )


def _mnist() -> tuple[Claim, ...]:
    study, seeds, best = "permuted_mnist", 5, "permuted_mnist_best"
    largest = Recorded("hessian.start.extremes", "largest eigenvalue at task starts")
    return (
        Claim(
            f"{study}.l2_declines",
            "L2 declines by about 1 %.",
            "G.4",
            study,
            change(Performance(), "l2", LATE, EARLY),
            Within(-0.02, 0),
            seeds,
        ),
        Claim(
            f"{study}.l2_narrow",
            "The eigenvalues of L2 have a narrower range than those of CBP and L2-ER.",
            "G.4, Figure 10",
            study,
            Separation(largest, ("cbp", "l2_er"), ("l2",), LATE),
            Above(0),
            seeds,
        ),
        Claim(
            f"{best}.l2_er_best",
            "At the best rate of each method L2-ER ends above the four others.",
            "G.3, Figure 9",
            best,
            Separation(Performance(), ("l2_er",), ("bp", "l2", "er", "cbp"), LATE),
            Above(0),
            seeds,
        ),
        _keeps(best, seeds, "l2_er", 0.02, "G.3, Figure 9"),
    )


def _imagenet() -> tuple[Claim, ...]:
    study, seeds, margin, place = "continual_imagenet", 5, 0.03, "section 8, Figure 3"
    return (
        *(_loses(study, seeds, a, margin, place) for a in ("bp", "er", "l2")),
        Claim(
            f"{study}.er_first_half",
            "ER keeps plasticity for the first half.",
            "section 8; H.4 counts ER among those that keep it, the caption of Figure 12 does not",
            study,
            change(Performance(), "er", MIDDLE, EARLY),
            Above(-margin),
            seeds,
        ),
        *(_keeps(study, seeds, a, margin, place) for a in ("cbp", "l2_er")),
        _l2_beside_er(study, seeds),
    )


def _cifar() -> tuple[Claim, ...]:
    """Section 8 defines keeping by RESET, because the tasks become harder."""
    study, rows = "incremental_cifar", []
    for algorithm in ("bp", "er", "cbp", "l2", "l2_er"):
        keeps = algorithm in ("l2", "l2_er")
        effect = between(Performance(), algorithm, "reset", LATE)
        verb, says = ("keeps", Above(0)) if keeps else ("loses", Below(0))
        side = "better" if keeps else "worse"
        sentence = f"{NAMES[algorithm]} {verb} plasticity: it ends {side} than RESET."
        name = f"{study}.{algorithm}_{verb}"
        rows.append(Claim(name, sentence, "section 8, Figure 3", study, effect, says, 5))
    return tuple(rows)


def _reinforcement() -> tuple[Claim, ...]:
    mass, place = "point_mass", "ours, as section 8 says of Slippery Ant"
    since = EARLY_CYCLES
    ant: AbstractEffect = between(Performance(), "l2_er", "bp", END)
    alive = Level(Performance(), "l2_er", END)
    return (
        *(_loses(mass, 30, a, 0.5, place, since) for a in ("bp", "er")),
        *(_keeps(mass, 30, a, 0.5, place, since) for a in ("l2", "cbp", "l2_er")),
        Claim(
            "slippery_ant.l2_er_above_bp",
            "BP loses plasticity and L2-ER keeps it: L2-ER ends above BP.",
            "section 8, Figure 3",
            "slippery_ant",
            ant,
            Above(100),
            3,
        ),
        Claim(
            "slippery_ant.l2_er_learns",
            "L2-ER still walks in the last task: its return is above that of standing still.",
            "section 8, Figure 3",
            "slippery_ant",
            alive,
            Above(1000),
            3,
        ),
    )
