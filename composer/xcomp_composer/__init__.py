"""The composer: writes articles and illustrates them from a repository, over gRPC."""
