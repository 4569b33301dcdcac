"""What a run folder holds, as data sets, summaries and tables."""
