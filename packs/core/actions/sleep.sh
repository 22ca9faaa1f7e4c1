#!/bin/bash
set -euo pipefail

seconds=$(jq -r .seconds)
sleep "$seconds"
echo "slept $seconds s"
