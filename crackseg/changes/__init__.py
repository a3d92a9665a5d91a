"""Two maps of one face become what changed between them: new, gone, longer by, wider by."""
