"""Write the alerts as a PrometheusRule, for Prometheus Operator, from the file that a plain Prometheus reads."""

from __future__ import annotations

from pathlib import Path
from textwrap import indent
from typing import Final

DEPLOY: Final = Path(__file__).parents[1] / "deploy"
RULES: Final = DEPLOY / "prometheus" / "rules.yml"
OBJECT: Final = DEPLOY / "kubernetes" / "monitoring" / "prometheusrule.yaml"

HEAD: Final = """\
# Made from deploy/prometheus/rules.yml by `make alerts`: change the alerts there.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: whatsapp-stream
  labels:
    app.kubernetes.io/name: whatsapp-stream
spec:
"""


def as_object(rules: str) -> str:
    """The same alerts, comments and all, under an object's `spec`."""
    return HEAD + indent(rules[rules.index("groups:") :], "  ")


if __name__ == "__main__":
    OBJECT.write_text(as_object(RULES.read_text(encoding="utf-8")), encoding="utf-8")
