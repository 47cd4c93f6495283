"""Reading the files that a checkpoint or plan is made of."""
