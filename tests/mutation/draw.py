"""Draw mutants of the package at random, and see whether the quick tests notice them.

    python tests/mutation/draw.py --seed 1 --count 40 --out tests/mutation/drawn.csv

A mutant changes one operator or constant of one line: the script chooses file, line and operator.
Each mutant is a copy of the package in a temporary folder. The quick tests of its room run on it,
and the conventions of the house. A mutant that survives needs a test, or a reason why it changes no
behaviour.
"""

import argparse
import ast
import csv
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import NamedTuple


ROOT = pathlib.Path(__file__).parents[2]
PACKAGE = ROOT / "spectral"
HOUSE = "house/test_conventions.py"
SWAPS = {
    "<": "<=",
    "<=": "<",
    ">": ">=",
    ">=": ">",
    "==": "!=",
    "!=": "==",
    "+": "-",
    "-": "+",
    "*": "/",
    "/": "*",
    "//": "*",
    "%": "*",
    "and": "or",
    "or": "and",
    "&": "|",
    "|": "&",
}


_TYPES = ("annotation", "returns", "decorator_list", "bases")


class Mutant(NamedTuple):
    file: str  # below the package
    line: int
    column: int
    old: str
    new: str


def mutants(source: str, file: str) -> Iterator[Mutant]:
    """Every mutant of a file."""
    lines = source.splitlines()
    for node in _behaviour(ast.parse(source)):
        if isinstance(node, ast.Compare | ast.BinOp | ast.BoolOp):
            yield from _operators(node, lines, file)
        elif isinstance(node, ast.Constant) and isinstance(node.value, bool | int | float):
            old, value = lines[node.lineno - 1][node.col_offset : node.end_col_offset], node.value
            new = repr(not value) if isinstance(value, bool) else repr(value + 1)
            yield Mutant(file, node.lineno, node.col_offset, old, new)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.Invert):
            old = "not " if isinstance(node.op, ast.Not) else "~"
            yield Mutant(file, node.lineno, node.col_offset, old, "")


def _operators(
    node: ast.Compare | ast.BinOp | ast.BoolOp, lines: list[str], file: str
) -> Iterator[Mutant]:
    if isinstance(node, ast.Compare):
        operands = [node.left, *node.comparators]
    else:
        operands = node.values if isinstance(node, ast.BoolOp) else [node.left, node.right]
    for a, b in zip(operands[:-1], operands[1:], strict=True):
        if a.end_lineno != b.lineno or a.end_col_offset is None:
            continue  # the operator is on another line than an operand
        start = a.end_col_offset
        between = lines[b.lineno - 1][start : b.col_offset]
        word = between.strip(" ()")
        if word in SWAPS:
            yield Mutant(file, b.lineno, start + between.index(word), word, SWAPS[word])


def _behaviour(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes except annotations, messages and what only describes types."""
    for name, value in ast.iter_fields(tree):
        if name in ("annotation", "returns", "decorator_list", "bases") or isinstance(
            tree, ast.Raise
        ):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not isinstance(child, ast.JoinedStr | ast.Subscript):
                yield child
            if isinstance(child, ast.AST) and not isinstance(child, ast.JoinedStr):
                yield from _behaviour(child)


def apply(mutant: Mutant, source: str) -> str:
    """The source with the mutant in place."""
    lines = source.splitlines(keepends=True)
    line, end = lines[mutant.line - 1], mutant.column + len(mutant.old)
    assert line[mutant.column : end] == mutant.old
    lines[mutant.line - 1] = line[: mutant.column] + mutant.new + line[end:]
    return "".join(lines)


def draw(count: int, seed: int) -> list[Mutant]:
    """Mutants of random rooms, so that small rooms are not left out."""
    generator, chosen = random.Random(seed), []
    by_room: dict[str, list[Mutant]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        file = path.relative_to(PACKAGE).as_posix()
        by_room.setdefault(_room(file), []).extend(mutants(path.read_text(), file))
    while len(chosen) < count:
        mutant = generator.choice(by_room[generator.choice(sorted(by_room))])
        if mutant not in chosen:
            chosen.append(mutant)
    return chosen


def _room(file: str) -> str:
    first = file.split("/")[0]
    return "loop" if first.endswith(".py") else first


def killer(mutant: Mutant) -> str:
    """The first quick test of the room or the house that fails, or an empty string."""
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder) / "spectral"
        shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
        target = copy / mutant.file
        target.write_text(apply(mutant, target.read_text()))
        for tested in (HOUSE, _room(mutant.file)):
            program = [str(pathlib.Path(sys.executable).parent / "pytest"), "-x", "-q", "-n", "2"]
            program += ["--dist", "loadfile", "-m", "not slow", "-p", "no:cacheprovider"]
            environment = os.environ | {"PYTHONPATH": folder}
            done = subprocess.run(
                [*program, f"tests/{tested}"],
                cwd=ROOT,
                env=environment,
                capture_output=True,
                text=True,
            )
            if done.returncode not in (0, 5):
                wrong = ("FAILED", "ERROR")
                lines = [line for line in done.stdout.splitlines() if line.startswith(wrong)]
                return lines[0].split(" - ")[0] if lines else f"tests/{tested} did not run"
    return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--out", type=pathlib.Path, help="a table of the mutants and their killers")
    parser.add_argument("--list", action="store_true", help="print the mutants without running")
    given = parser.parse_args()
    rows = []
    for index, mutant in enumerate(draw(given.count, given.seed)):
        place = f"{mutant.file}:{mutant.line}:{mutant.column}"
        print(f"{index:3d} {place}  {mutant.old!r} -> {mutant.new!r}", end="  ", flush=True)
        found = "" if given.list else killer(mutant)
        print("" if given.list else found or "SURVIVED", flush=True)
        rows.append([index, place, mutant.old, mutant.new, found or "survived"])
        if given.out and not given.list:
            with open(given.out, "w", newline="") as file:
                csv.writer(file).writerows([["index", "place", "old", "new", "killed by"], *rows])


if __name__ == "__main__":
    main()
