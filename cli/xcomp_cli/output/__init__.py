"""What is printed: console lines, progress bars, hits, pages."""
