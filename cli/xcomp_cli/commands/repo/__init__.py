"""The commands below `xcomp repo`."""
