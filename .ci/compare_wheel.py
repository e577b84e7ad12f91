"""Compare a built wheel with the package's source directory: every source file must be in it, and nothing else."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path


def main(wheels: str, package: str) -> int:
    """Return 0 when the one wheel in ``wheels`` holds the files of ``package``, and a licence and typing marker."""
    (wheel,) = Path(wheels).glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if not name.endswith("/")}
    metadata = {name for name in packed if name.split("/")[0].endswith(".dist-info")}
    source = {str(path) for path in Path(package).rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    complaints = [f"missing from the wheel: {name}" for name in sorted(source - packed)]
    complaints += [f"not in the source: {name}" for name in sorted(packed - metadata - source)]
    complaints += [
        f"missing from the wheel: {wanted}"
        for wanted in ("licenses/LICENSE", "entry_points.txt")
        if not any(name.endswith(f".dist-info/{wanted}") for name in metadata)
    ]
    print(*complaints or [f"{wheel.name}: {len(packed)} files"], sep="\n")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
