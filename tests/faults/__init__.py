"""What docs/operations.md promises when something breaks, on a real broker with services as processes."""
