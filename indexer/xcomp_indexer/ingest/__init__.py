"""Adds images to a repository: scan, decode, embed and write, or by upload."""
