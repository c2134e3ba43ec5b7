"""Look for known vulnerabilities in a lock file with pip-audit, and fail if it cannot find out.

pip-audit ends with "No known vulnerabilities found" also when the service knows none of the packages, as behind a
package mirror that has no such service. So its report is read: each package must have been looked up.

Exit codes: 0 all were looked up and none is vulnerable; 1 some are vulnerable; 2 it could not be found out.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, Final

CLEAN: Final = 0
VULNERABLE: Final = 1
NOT_DONE: Final = 2

TOOL: Final = (sys.executable, "-m", "pip_audit", "--require-hashes", "--disable-pip", "--progress-spinner=off")


def main(arguments: Sequence[str] | None = None, tool: Sequence[str] = TOOL) -> int:
    """Audit one lock file and say the result."""
    parser = argparse.ArgumentParser(description="Look for known vulnerabilities in a lock file.")
    parser.add_argument("lock", help="requirements with hashes")
    parser.add_argument("--unreachable-ok", action="store_true", help="exit with 0 if it could not be found out")
    options = parser.parse_args(arguments)
    ran = subprocess.run([*tool, "--format=json", "-r", options.lock], capture_output=True, text=True, check=False)
    try:
        packages = json.loads(ran.stdout)["dependencies"]
    except (ValueError, LookupError):
        # Its last line is the error itself; above it is a traceback.
        reason = (ran.stderr.strip() or f"pip-audit ended with {ran.returncode}").splitlines()[-1]
        code, said = NOT_DONE, [f"NOT DONE, pip-audit could not ask: {reason}"]
    else:
        code, said = verdict(packages)
    for line in said:
        print(f"audit: {line}", file=sys.stderr if code else sys.stdout)
    return CLEAN if code == NOT_DONE and options.unreachable_ok else code


def verdict(packages: Sequence[dict[str, Any]]) -> tuple[int, list[str]]:
    """What a report means: an exit code and the lines that explain it."""
    found = [
        f"{package['name']} {package['version']}: {flaw['id']}, fixed in {', '.join(flaw['fix_versions']) or 'none'}"
        for package in packages
        for flaw in package.get("vulns", ())
    ]
    skipped = [package["skip_reason"] for package in packages if "skip_reason" in package]
    if not packages:
        return NOT_DONE, ["NOT DONE, there is no package in the lock file"]
    if skipped:
        part = f"NOT DONE for {len(skipped)} of {len(packages)} packages, the first: {skipped[0]}"
        return (VULNERABLE if found else NOT_DONE), [*found, part]
    return (VULNERABLE if found else CLEAN), found or [f"no known vulnerability in {len(packages)} packages"]


if __name__ == "__main__":
    sys.exit(main())
