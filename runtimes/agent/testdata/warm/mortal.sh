#!/bin/sh
# A stocked process that leaves a line in the file of its argument, and ends.
echo "$$" >> "$1"
exit 1
