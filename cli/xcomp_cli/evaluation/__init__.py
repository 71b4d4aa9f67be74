"""Measures how well images are chosen, against the picks of people; used by `xcomp eval` only."""
