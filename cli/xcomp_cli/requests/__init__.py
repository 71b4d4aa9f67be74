"""From options and files of the command line to gRPC requests."""
