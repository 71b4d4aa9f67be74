"""The image repository: brings pictures in, embeds them, finds them, hands out their bytes."""
