import uuid
print(uuid.WHOSE)
