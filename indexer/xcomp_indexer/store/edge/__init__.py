"""The embedded store: Qdrant Edge shards in folders of the indexer's home."""
