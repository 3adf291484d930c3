"""What an error text says: masks, causes, and what of people and secrets is hidden."""
