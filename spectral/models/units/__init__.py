"""Where the numbers of each hidden unit are, how it is renewed, and how active it is."""
