"""How images are found: parse, route and embed a query, retrieve by vector, fuse, rank, calibrate."""
