"""`python -m runark`: the same as the command `runark`."""

from __future__ import annotations

from runark.cli.main import main

if __name__ == "__main__":
    main(prog_name="runark")
