"""The command line of xcomp: talks gRPC to servers elsewhere, or to local ones that it starts itself."""
