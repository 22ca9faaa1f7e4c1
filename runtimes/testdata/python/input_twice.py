print(input("? "))
print(input("? "))
