"""The composer process: its options and wiring in `main`, its RPCs in `service`."""
