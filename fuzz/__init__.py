"""Targets for coverage-guided fuzzing, and the second readers that they compare ours with. See `make fuzz`."""
