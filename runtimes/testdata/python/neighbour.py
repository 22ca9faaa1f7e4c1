VALUE = "from the file beside"
