"""Computes with NumPy, a package with compiled code."""

import json
import sys

import numpy as np

numbers = np.array(json.load(sys.stdin)["numbers"], dtype=float)

print(
    json.dumps(
        {
            "count": int(numbers.size),
            "mean": float(numbers.mean()),
            "deviation": float(numbers.std()),
            "percentiles": {f"p{q}": float(np.percentile(numbers, q)) for q in (5, 50, 95)},
        }
    )
)
