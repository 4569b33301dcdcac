"""Optimisers.

Functions that return an `Optimiser` take `lr`. Functions that return an optax transformation call
it `learning_rate`, as optax does: `Optimiser.hyper` holds the numbers of any optax optimiser under
optax's names, and `StepDecay` looks for this one.
"""
