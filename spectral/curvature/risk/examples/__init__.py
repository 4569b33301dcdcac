"""Where the examples of a risk are: in memory, in batches that are read from disk, on devices."""
