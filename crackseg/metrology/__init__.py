"""From a mask (and the photograph) to cracks with length, width and area."""
