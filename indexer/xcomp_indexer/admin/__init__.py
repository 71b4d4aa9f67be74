"""Maintenance of repositories and models: change spaces, export, find duplicates, pull and verify models."""
