"""crackseg: from photographs of concrete to a crack inventory in millimetres."""

__version__ = "0.1.0"
