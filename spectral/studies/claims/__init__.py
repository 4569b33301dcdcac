"""The claims of the paper as sentences that data can contradict, and what the recorded runs say."""
