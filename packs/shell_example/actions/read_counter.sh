#!/bin/bash
# With parameter_format dotenv every parameter is an assignment, quoted so that
# no value can do more than be one.
set -euo pipefail

source /dev/stdin

echo "counter is $counter, says $source"
