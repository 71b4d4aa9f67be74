"""The client of the indexer: repositories, their images, and how well these fit texts."""
