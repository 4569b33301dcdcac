"""The parts of networks: dense layers, convolutions, norms, activations, initialisers."""
