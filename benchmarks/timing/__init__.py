"""The form of every benchmark that times this library beside its peers."""
