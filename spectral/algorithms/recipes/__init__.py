"""Named algorithms, and the published settings of each."""
