"""On a GPU: agreement with the CPU, and the speed of the loop, of curvature and of PPO.

    make gpu && .venv/bin/python benchmarks/gpu.py [--only agreement loop ...] [--json FILE]

On a GPU the script should take less than four minutes: no row begins later than `--seconds` after
the start, and a part whose package is not installed is left out, both with the reason. On a
machine without a GPU, or with `--small`, it runs at a small size. This tests the script, but not
the speed.

- `agreement`: the losses of a run of L2-ER, a product with the Hessian and the largest eigenvalue,
  on the CPU and on this device, with products in full precision.
- `loop`: online SGD (one example per step) on the paper's MLP 784-1000-1000-1000-10. Members are
  independent runs, with their own networks and keys, under one `jax.vmap` of the compiled loop.
  Every step of a member reads its weights for the forward product and for the backward product,
  which the first layer does not need. The update reads and writes them once more. The bandwidth
  fraction is this traffic divided by the bandwidth of a large copy.
- `networks`: steps of ResNet-18, ConvNet and GPT inside the loop.
- `curvature`: products with the Hessian and spectra of order 100 with one vector, for 2.8 and 11
  million parameters and 2000 rows, and the fraction of the speed of the largest matrix product.
- `ppo`: PPO on the ant with 1 to 64 members: environment steps of all members, with learning.

The numbers are also written as JSON, with the device, the versions and the commit.
"""

import argparse
import json
import math
import pathlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import gpu_parts
import jax
from timing.record import circumstances


@dataclass(frozen=True)
class Sizes:
    """How large the parts are."""

    width: int
    steps: int
    rounds: int
    members: tuple[int, ...]
    widths: tuple[int, ...]  # of curvature
    rows: int
    order: int
    minibatch: int
    ppo_members: tuple[int, ...]
    rollout: int


LARGE = Sizes(
    width=1000,
    steps=1000,
    rounds=3,
    members=(1, 4, 16, 64, 256),
    widths=(1000, 2150),
    rows=2000,
    order=100,
    minibatch=100,
    ppo_members=(1, 4, 16, 64),
    rollout=2048,
)
SMALL = Sizes(
    width=16,
    steps=20,
    rounds=1,
    members=(1, 2),
    widths=(4,),
    rows=20,
    order=4,
    minibatch=2,
    ppo_members=(1, 2),
    rollout=32,
)
PARTS: dict[str, Callable[[Sizes], Iterator[dict[str, Any]]]] = {
    "agreement": gpu_parts.agreement,
    "loop": gpu_parts.loop,
    "networks": gpu_parts.networks,
    "curvature": gpu_parts.curvature,
    "ppo": gpu_parts.ppo,
}


def run(names: list[str], sizes: Sizes, seconds: float) -> dict[str, Any]:
    """What each part has found, or why it was left out."""
    began, found = time.perf_counter(), {}
    for name in names:
        print(f"{name}:", flush=True)
        rows: list[dict[str, Any]] = []
        found[name] = rows
        following = PARTS[name](sizes)
        try:
            while time.perf_counter() - began < seconds:
                if (row := next(following, None)) is None:
                    break
                rows.append(row)
                print("  " + ", ".join(f"{k} {_text(v)}" for k, v in row.items()), flush=True)
            else:
                raise TimeoutError(f"{seconds:.0f} s are over, so no further row is measured")
        except (ImportError, TimeoutError) as reason:
            rows.append({"left out": str(reason)})
            print(f"  left out: {reason}", flush=True)
        eqx.clear_caches()
        jax.clear_caches()
    return found


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def main() -> None:
    parser = argparse.ArgumentParser(description="On a GPU: agreement with the CPU, and speed.")
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--small", action="store_true", help="tiny sizes, as without a GPU")
    parser.add_argument(
        "--seconds", type=float, default=200.0, help="after which no row begins, on a GPU"
    )
    parser.add_argument("--json", type=pathlib.Path, default=pathlib.Path("runs/gpu.json"))
    given = parser.parse_args()
    device = jax.devices()[0]
    small = given.small or device.platform != "gpu"
    print(f"device: {device.device_kind}; JAX {jax.__version__}{'; small sizes' * small}")
    seconds = math.inf if small else given.seconds
    found = run(given.only, SMALL if small else LARGE, seconds)
    given.json.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(circumstances() | {"small": small, "parts": found}, indent=1)
    given.json.write_text(text + "\n")
    print(f"The numbers are in {given.json}")
    apart = [row for row in found.get("agreement", []) if row.get("difference", 0) > 1e-2]
    if apart:
        raise SystemExit("The two devices differ by more than 1 %.")


if __name__ == "__main__":
    main()
