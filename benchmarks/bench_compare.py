"""What has changed between two files of `make bench`, beyond noise.

    python benchmarks/bench_compare.py OLD.json NEW.json

A work has changed if two pairs of intervals do not overlap: those of the median time of this
library, and, if both files have a peer of it, those of the median ratio to the first such peer. The
second pair leaves out what slowed down or sped up the whole machine. With seven rounds an interval
contains its median with a probability of at least 98 %.
"""

import argparse
import pathlib

from timing.compare import comparison


def main() -> None:
    parser = argparse.ArgumentParser(description="What has changed between two files.")
    parser.add_argument("old", type=pathlib.Path, metavar="OLD.json")
    parser.add_argument("new", type=pathlib.Path, metavar="NEW.json")
    given = parser.parse_args()
    for path in (given.old, given.new):
        if not path.is_file():
            parser.error(f"{str(path)!r} is not a file: name a file that `make bench` has written")
    print(comparison(given.old, given.new))


if __name__ == "__main__":
    main()
