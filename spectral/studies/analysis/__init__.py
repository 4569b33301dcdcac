"""The contents of run folders as data sets, summaries and tables."""
