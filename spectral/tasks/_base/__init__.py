"""The protocol of a task stream, and the parts that several kinds of stream share."""
