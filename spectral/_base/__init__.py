"""The optimiser and its schedules, texts of Modules, names of axes: beneath all rooms."""
