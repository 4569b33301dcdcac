"""What an estimator returns, and the questions that are asked of it."""
