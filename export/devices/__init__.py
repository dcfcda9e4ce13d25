"""What devices accept, and where they run the ops of a file."""
