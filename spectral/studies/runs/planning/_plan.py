"""What a run will take, and the text that says it."""

from dataclasses import dataclass

from ...measures._align import align


@dataclass(frozen=True)
class GroupPlan:
    """What the members that are trained together will take.

    - `label`: the text in front of their progress bar; `members`: their number.
    - `tasks`: those that are left to train.
    - `steps`: gradient steps of all members together.
    - `programs`: how many programs are compiled that no earlier group of the run has.
    - `compile_seconds`, `train_seconds`, `probe_seconds`: on the clock. Training includes what
      begins a task, and its evaluation.
    - `bytes`: arrays that exist at once when the largest program runs, without the data.
    """

    label: str
    members: int
    tasks: int
    steps: int
    programs: int
    compile_seconds: float
    train_seconds: float
    probe_seconds: float
    bytes: int

    @property
    def seconds(self) -> float:
        return self.compile_seconds + self.train_seconds + self.probe_seconds


@dataclass(frozen=True)
class Plan:
    """What a run will take, as `dry_run` has predicted it.

    - `groups`: a `GroupPlan` for each group that is left to train.
    - `data_bytes`: the arrays of the stream, such as images. All groups share them.
    - `process_bytes`: Python, JAX, and what the compiler leaves; 0 if the device is not the CPU.
    - `free_bytes`: the memory that is free now; `None` if unknown.
    """

    groups: tuple[GroupPlan, ...]
    data_bytes: int
    process_bytes: int
    free_bytes: int | None

    @property
    def steps(self) -> int:
        return sum(group.steps for group in self.groups)

    @property
    def programs(self) -> int:
        return sum(group.programs for group in self.groups)

    @property
    def seconds(self) -> float:
        return sum(group.seconds for group in self.groups)

    @property
    def peak_bytes(self) -> int:
        """The memory that the run needs at most."""
        largest = max((group.bytes for group in self.groups), default=0)
        return self.process_bytes + self.data_bytes + largest


def plan_table(plan: Plan) -> str:
    """A table of what each group of a run will take, and a line about all of them.

    ```python
    experiment = studies.load_experiment("examples/digits.yaml")
    print(studies.plan_table(studies.dry_run(experiment, "runs/digits")))
    ```
    """
    if not plan.groups:
        return "All training runs have ended: nothing is left to train."
    head = ("", "members", "tasks", "steps", "programs", "compile", "train", "probes", "memory")
    rows = [
        (
            group.label,
            f"{group.members}",
            f"{group.tasks}",
            f"{group.steps:,}",
            f"{group.programs}",
            _time(group.compile_seconds),
            _time(group.train_seconds),
            _time(group.probe_seconds),
            _size(group.bytes),
        )
        for group in plan.groups
    ]
    free = "" if plan.free_bytes is None else f"; {_size(plan.free_bytes)} are free"
    process = f"{_size(plan.process_bytes)} for the process, " if plan.process_bytes else ""
    largest = max(group.bytes for group in plan.groups)
    return "\n".join(
        [
            align([head, *rows]),
            "",
            f"{plan.steps:,} steps and {plan.programs} programs in {_time(plan.seconds)}.",
            f"{_size(plan.peak_bytes)} of memory at the peak: {process}{_size(plan.data_bytes)} "
            f"for the data, {_size(largest)} for the largest program and its arrays{free}.",
        ]
    )


def _time(seconds: float) -> str:
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size * (2 if unit == "days" else 1):
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"


def _size(count: int) -> str:
    return f"{count / 1e9:.3g} GB" if count >= 1e9 else f"{count / 1e6:.3g} MB"
