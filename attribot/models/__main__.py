"""`python -m attribot.models prepare`: converts the bundled model once and prints where it is."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from attribot.errors import ModelNotFoundError
from attribot.models.bundled import prepare_bundled


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0, or 1 where the package with the model is not installed."""
    parser = argparse.ArgumentParser(prog="python -m attribot.models", description=__doc__)
    parser.add_argument("command", choices=["prepare"])
    parser.parse_args(arguments)
    try:
        print(prepare_bundled())
    except ModelNotFoundError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
