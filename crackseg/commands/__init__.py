"""The commands of the command line, by what they are about; `crackseg.cli` puts them together."""
