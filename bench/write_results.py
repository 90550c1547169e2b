"""Puts sections ("## title" and what follows) into RESULTS.md, in place of those with the same title."""
import re
import sys


def sections(text):
    parts = re.split(r'^(?=## )', text, flags=re.M)
    return parts[0], {part.splitlines()[0]: part for part in parts[1:]}


with open(sys.argv[1]) as file:
    _, new = sections(file.read())
with open(sys.argv[2]) as file:
    preface, old = sections(file.read())
with open(sys.argv[2], 'w') as file:
    file.write(preface + '\n'.join(part.strip() + '\n' for part in {**old, **new}.values()))
