"""How a text is illustrated: the pipeline, and one folder for each way to place and choose images."""
