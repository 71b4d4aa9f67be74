"""The indexer process: its options and wiring in `main`, its RPCs in `service` and `admin_service`."""
