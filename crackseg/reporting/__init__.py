"""A folder of results becomes one report of a survey and files for engineers."""
