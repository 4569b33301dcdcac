"""What a run will take, before it is begun: steps, programs, minutes and memory."""
