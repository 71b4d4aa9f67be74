"""The image repository: ingests images, embeds them, finds them and returns their bytes."""
