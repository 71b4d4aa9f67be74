"""What `doctor` and `status` examine: the machine and its servers."""
