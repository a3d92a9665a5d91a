"""From an image file to upright RGB pixels by window, its metadata, its scale and its tiles."""
