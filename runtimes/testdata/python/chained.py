try:
    {}["missing"]
except KeyError as error:
    raise ValueError("outer") from error
