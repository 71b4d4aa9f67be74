"""What the composer asks of an indexer."""
