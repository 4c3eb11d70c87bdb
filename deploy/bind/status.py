"""vs-bind status: every device, who has it, and what would be in the way, as text or JSON."""

from __future__ import annotations

from . import inuse, iommu
from .devices import Device, group_members, is_vfio, model_name
from .host import Host

PCI_IDS = ("/usr/share/misc/pci.ids", "/usr/share/hwdata/pci.ids")
Row = dict[str, object]


def _row(host: Host, device: Device, names: str) -> Row:
    members = group_members(host, device)
    node = host.node(device.node) if device.group and is_vfio(device.driver) else None
    return {
        "address": device.address,
        "id": f"{device.vendor}:{device.model}",
        "name": model_name(names, device),
        "class": f"{device.kind:04x}",
        "driver": device.driver or None,
        "driver_override": device.override or None,
        "interfaces": device.interfaces,
        "numa_node": device.numa,
        "group": device.group or None,
        "group_viable": all(member.harmless for member in members) if device.group else None,
        "group_others": [str(member) for member in members],
        "vfs": device.vfs,
        "physfn": device.physfn or None,
        "vfio_node": device.node if node else None,
        "vfio_mode": " ".join(node) if node else None,
        "in_the_way": inuse.obstacles(host, device),
        "perhaps_elsewhere": inuse.other_namespace(device),
    }


def facts(host: Host, devices: list[Device]) -> Row:
    """Return what `status -f json` prints."""
    names = next((text for path in PCI_IDS if (text := host.read(path))), "")
    return {
        "iommu": iommu.units(host),
        "iommu_advice": iommu.advice(host),
        "vfio_pci_loaded": host.exists("/sys/bus/pci/drivers/vfio-pci"),
        "devices": [_row(host, device, names) for device in devices],
    }


def _words(value: object) -> list[str]:
    return [str(word) for word in value] if isinstance(value, list) else []


def _notes(row: Row) -> list[str]:
    lines = [f"- {reason}" for reason in _words(row["in_the_way"])]
    if row["perhaps_elsewhere"]:
        lines.append("- no interface is seen here: it may be in another network namespace (a container's)")
    if row["group_others"]:
        state = "usable" if row["group_viable"] else "not viable: all of it must be bound"
        lines.append(f"- group {row['group']} is shared ({state}): {', '.join(_words(row['group_others']))}")
    if row["physfn"]:
        lines.append(f"- VF of {row['physfn']}")
    if row["vfio_mode"]:
        lines.append(f"- {row['vfio_node']}: {row['vfio_mode']}")
    if row["driver_override"] and row["driver_override"] != row["driver"]:
        lines.append(f"- driver_override is {row['driver_override']}, which has not taken it")
    return lines


def text(found: Row) -> str:
    """Return what `status` prints of facts()."""
    rows = (
        [row for row in found["devices"] if isinstance(row, dict)]
        if isinstance(found["devices"], list)
        else []
    )
    table = [["ADDRESS", "ID", "DRIVER", "GROUP", "NUMA", "INTERFACE", "DEVICE"]]
    for row in rows:
        numa = str(row["numa_node"]) if row["numa_node"] != -1 else "-"
        interfaces = ",".join(_words(row["interfaces"])) or "-"
        name = str(row["name"] or f"class {row['class']}")
        table.append(
            [
                str(row["address"]),
                str(row["id"]),
                str(row["driver"] or "-"),
                str(row["group"] or "-"),
                numa,
                interfaces,
                name,
            ]
        )
    widths = [max(len(line[i]) for line in table) for i in range(6)]
    lines = []
    for number, line in enumerate(table):
        cells = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=False))
        lines.append(f"{cells}  {line[6]}".rstrip())
        if number:
            lines += [f"  {note}" for note in _notes(rows[number - 1])]
    if not rows:
        lines.append("(no network device on the PCI bus)")
    loaded = "loaded" if found["vfio_pci_loaded"] else "not loaded (bind loads it)"
    units = _words(found["iommu"])
    lines += ["", f"IOMMU: {', '.join(units) or 'none'}; vfio-pci: {loaded}"]
    lines += [f"  {line}" for line in _words(found["iommu_advice"])]
    return "\n".join(lines)
