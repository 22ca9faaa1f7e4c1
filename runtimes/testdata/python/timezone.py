import datetime, time
print(time.tzname, datetime.datetime.fromtimestamp(0).isoformat())
