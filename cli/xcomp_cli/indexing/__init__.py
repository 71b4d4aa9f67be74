"""Run an ingest: on paths of the server, by upload, or repeatedly."""
