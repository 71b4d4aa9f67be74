"""Logs, metrics and traces; `api` is what other packages call."""
