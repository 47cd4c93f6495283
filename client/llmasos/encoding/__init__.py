"""What networks that see a text once make of it: vectors, labels, ranks and filled gaps."""
