"""The command line of xcomp: a gRPC client of servers elsewhere, or of local servers that it starts."""
