"""Where an error came from."""

import traceback


def part_of(error: BaseException, kinds: dict[str, type | tuple[type, ...]]) -> str | None:
    """The name of the part in whose method an error was raised, or whose method returned what
    caused it; `None` if no part of these kinds was called.

    Parts are recognised by their class, since JAX calls copies of them. The innermost call counts.
    Of a network only the call itself counts, because algorithms use its other methods.

    **Arguments:**

    - `kinds`: the classes of the parts, by name; that of the network is `"model"`.
    """
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    for frame in reversed(frames):
        for name, kind in kinds.items():
            called = name != "model" or frame.f_code.co_name == "__call__"
            # Checks of what a part is or returned call it `part`.
            checked = isinstance(frame.f_locals.get("part"), kind)
            if checked or (called and isinstance(frame.f_locals.get("self"), kind)):
                return name
    return None


def passes(error: BaseException, file: str) -> bool:
    """Whether an error was raised in a call from the source file `file`."""
    return any(f.f_code.co_filename == file for f, _ in traceback.walk_tb(error.__traceback__))
