"""The published gRPC interface of xcomp: generated messages, typed clients, and what all servers share."""
