"""Illustrating a text: the pipeline, and the illustrators that place and choose images."""
