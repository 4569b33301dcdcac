"""What networks are built of: dense layers, convolutions, norms, activations, initialisers."""
