"""Turns options and files of the command line into gRPC requests."""
