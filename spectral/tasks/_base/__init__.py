"""The interface of a task stream, and code shared by several kinds of stream."""
