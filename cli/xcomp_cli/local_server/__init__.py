"""Servers on this machine: find, start, replace."""
