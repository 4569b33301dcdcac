"""The protocol of an algorithm, its unit groups, its cadence, and what it requires of a network."""
