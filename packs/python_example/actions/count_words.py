"""Counts words in a handler: what stands outside of main is done once."""
import collections
import itertools
import re

WORD = re.compile(r"\w+")
served = itertools.count(1)


def main(params, context):
    words = collections.Counter(WORD.findall(params["text"].lower()))
    context.logger.info("%d words, %.0f s left", words.total(), context.remaining())
    return {"words": words, "served": next(served)}
