"""Task streams of labelled data."""
