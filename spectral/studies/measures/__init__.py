"""The measures of a history that are compared between runs, and confidence intervals over seeds."""
