WHOSE = "the file beside"
