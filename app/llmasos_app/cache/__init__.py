"""Built engines that are kept in the user's cache."""
