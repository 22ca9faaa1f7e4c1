#!/bin/bash
# Measures a secret. get_secret works in functions, subshells and pipes; what a
# script prints of a secret is masked.
set -euo pipefail

length() { get_secret token | wc -m; }
printf '{"length": %d}\n' "$(length)"
