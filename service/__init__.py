"""The REST service around crackseg."""
