"""How a spectrum, its extremes, a trace or a diagonal is found."""
