"""Former names of `xcomp_protos.errors` and `xcomp_protos.client.retry`, kept for programs that import them."""
