"""What a user types: each command in a file, imported when it is called."""
