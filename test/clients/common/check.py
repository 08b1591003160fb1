"""What the checks in Python share: to say what was seen to be right, and to fail where it was not."""
import importlib.metadata
import sys


def equal(seen, expected, what):
    """Fail unless the two values are equal."""
    if seen != expected:
        sys.exit(f"not ok: {what}\n  seen:     {seen!r}\n  expected: {expected!r}")
    print(f"ok: {what}")


def ok(condition, what, seen=None):
    """Fail unless the condition is true; then show what was seen instead."""
    if not condition:
        sys.exit(f"not ok: {what}\n  seen: {seen}")
    print(f"ok: {what}")


def version(*packages):
    """Print the versions of packages that the check uses."""
    for package in packages:
        print(f"version: {package} {importlib.metadata.version(package)}")
