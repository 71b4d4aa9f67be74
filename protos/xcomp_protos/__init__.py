"""The published gRPC interface of xcomp: generated messages, a typed client, and the transport both sides share."""
