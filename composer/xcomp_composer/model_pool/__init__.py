"""The composing models of a server: loaded once, shared by calls through fair queues."""
