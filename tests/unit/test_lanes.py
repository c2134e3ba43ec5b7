"""Which lane a tenant has."""

from __future__ import annotations

from collections import Counter

from stream.contract.lanes import lane_names, lane_of


def test_a_tenant_has_the_same_lane_in_every_process_and_release() -> None:
    assert [lane_of(tenant, lane_names(8)) for tenant in ("acme", "globex", "Zürich", "\udcff")] == [
        "whatsapp-lane-6",
        "whatsapp-lane-2",
        "whatsapp-lane-6",
        "whatsapp-lane-0",
    ]


def test_a_tenant_has_a_lane_of_its_shard() -> None:
    assert lane_of("acme", lane_names(8, "outbound-a")) == "whatsapp-lane-outbound-a-6"


def test_tenants_are_spread_over_all_lanes() -> None:
    lanes = Counter(lane_of(f"tenant-{number}", lane_names(8)) for number in range(800))
    assert set(lanes) == set(lane_names(8))
    assert max(lanes.values()) < 150
