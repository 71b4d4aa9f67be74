"""Image files: decode, read metadata, render a copy for publication."""
