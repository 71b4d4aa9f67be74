"""Repositories: the catalog, their recorded spaces and profiles, the record of an image, access to its file."""
