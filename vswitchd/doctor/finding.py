"""A finding: how bad it is, what it is, and the commands that mend it; and findings as text and as plain data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any


class Severity(Enum):
    """How much it matters: a problem keeps something that is configured from working, a note costs or may cost."""

    OK = "ok"
    NOTE = "note"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `mend`: commands or edits, to be done in this order."""

    subject: str
    severity: Severity
    text: str
    mend: tuple[str, ...] = ()
    port: str = ""


def ok(subject: str, text: str, port: str = "") -> Finding:
    """Return a finding that all is well."""
    return Finding(subject, Severity.OK, text, port=port)


def note(subject: str, text: str, *mend: str, port: str = "") -> Finding:
    """Return a finding that something could be better."""
    return Finding(subject, Severity.NOTE, text, mend, port)


def problem(subject: str, text: str, *mend: str, port: str = "") -> Finding:
    """Return a finding that something does not work."""
    return Finding(subject, Severity.PROBLEM, text, mend, port)


def needed(wanted: bool) -> Severity:
    """Return how bad it is that something is missing that is wanted, or that nobody wants."""
    return Severity.PROBLEM if wanted else Severity.NOTE


def count(findings: Iterable[Finding], severity: Severity) -> int:
    """Return how many there are of one severity."""
    return sum(finding.severity is severity for finding in findings)


def text(findings: list[Finding], head: str) -> str:
    """Return what people read: findings in the order they were made, mending below each, a summary last."""
    width = max([len(f"{f.subject} {f.port}".strip()) for f in findings], default=0)
    lines = [head]
    for finding in findings:
        where = f"{finding.subject} {finding.port}".strip()
        lines.append(f"{finding.severity.value:<8} {where:<{width}}  {finding.text}")
        lines += [f"{'':<8} {'':<{width}}    -> {command}" for command in finding.mend]
    problems, notes = count(findings, Severity.PROBLEM), count(findings, Severity.NOTE)
    lines.append(f"problems: {problems}, notes: {notes}, ok: {len(findings) - problems - notes}")
    return "\n".join(lines)


def data(findings: list[Finding]) -> dict[str, Any]:
    """Return the same for programs."""
    rows = [
        {
            "subject": f.subject,
            "severity": f.severity.value,
            "port": f.port or None,
            "text": f.text,
            "mend": list(f.mend),
        }
        for f in findings
    ]
    return {
        "problems": count(findings, Severity.PROBLEM),
        "notes": count(findings, Severity.NOTE),
        "findings": rows,
    }
