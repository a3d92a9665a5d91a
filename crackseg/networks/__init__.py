"""The networks by name; needs the extra ``train``."""
