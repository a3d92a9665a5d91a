"""From pixels to crack probability, by a model folder and a runtime."""
