"""How images enter a repository: scan, decode, embed, write; or by upload."""
