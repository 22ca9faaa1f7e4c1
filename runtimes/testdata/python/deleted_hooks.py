import sys
sys.stdout = None
print("to nobody")
sys.exit("message")
