"""What every server and every client of xcomp does the same way: errors, servers, channels."""
