"""Hidden units: where their parameters are, how they are renewed, and how active they are."""
