import logging
logging.warning("to stderr: %s", 1)
logging.getLogger("x").error("with a place %s", 2)
logging.shutdown()
