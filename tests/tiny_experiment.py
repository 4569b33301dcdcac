"""An experiment that trains in a second."""

TINY = """
seeds: 2
stream:
  type: PermutedImages
  images: {type: load_images, name: digits}
  num_tasks: 4
  steps_per_task: 20
  num_evaluation_examples: 50
model: {type: MLP, width: 4, depth: 1}
algorithms:
  bp: {type: bp, lr: 1e-2}
probes:
  dead: {type: DeadUnits, num_examples: 50}
  hessian: {type: HessianSpectrum, every: 2, num_examples: 50, estimator: {type: Lanczos, order: 4}}
"""

# Tests that share a program share its compilation: two seeds of `bp` or `l2`, without probes.
PLAIN = TINY[: TINY.index("probes:")]
