"""From a report to the files that people, spreadsheets, GIS and CAD read."""
