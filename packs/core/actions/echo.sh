#!/bin/bash
set -euo pipefail

jq -r .message
