#!/bin/bash
# Greets somebody: parameters come on stdin, the result goes to stdout.
set -euo pipefail

name=$(jq -r .name)

echo "greeting $name" >&2 # stderr is the log

# jq writes the JSON, so that no name can break it.
jq -n --arg name "$name" --arg bash "$BASH_VERSION" '{greeting: "Hello, \($name)!", bash: $bash}'
