"""What `khactl preflight` found on a host, for people."""

from __future__ import annotations

import json

DOCUMENTATION = r"""
name: preflight_judged
author: The khactl developers
version_added: "1.0.0"
short_description: The findings of khactl preflight as lines, and which of them forbid to go on
description:
  - Takes the result of C(khactl -o json preflight), and asks nobody.
options:
  _input:
    description: The registered result, with C(stdout) and C(stderr).
    type: dict
    required: true
  expected:
    description: Codes of findings that the roll-out itself mends, such as a bundle that is on its way.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Judge what was found
  ansible.builtin.set_fact:
    judged: "{{ found | khactl.cluster.preflight_judged([]) }}"
"""

RETURN = r"""
_value:
  description: The lists C(shown), one line for each finding, what is wrong first, and C(blocking), the lines that forbid to go on.
  type: dict
"""

# What is wrong comes first; a screen full of what is well would hide it.
WORDS = {"blocking": "BLOCKS", "warning": "WARNING", "expected": "mended", "info": "info", "ok": "ok"}
ORDER = list(WORDS)


def _line(level, finding):
    text = "%s: %s" % (finding["check"], finding["finding"])
    if finding.get("code"):
        text += " (%s)" % finding["code"]
    if level == "expected":
        text += "; this run brings it"
    elif finding.get("cure"):
        text += "; try: %s" % finding["cure"]
    return "%-7s %s" % (WORDS[level], " | ".join(text.splitlines()))


def _refusal(result):
    """Why there are no findings."""
    lines = str(result.get("stderr") or result.get("msg") or "khactl preflight printed nothing").strip().splitlines()
    try:
        told = json.loads(lines[-1])
        return ["%s (%s); try: %s" % (told["wrong"], told["code"], told["advice"])]
    except (IndexError, ValueError, KeyError, TypeError):
        return lines


def preflight_judged(result, expected):
    """Every finding as a line, what is wrong first."""
    try:
        findings = json.loads(result.get("stdout") or "")["findings"]
    except (ValueError, KeyError, TypeError):
        return {"shown": [], "blocking": _refusal(result)}
    lines = {level: [] for level in ORDER}
    for finding in findings:
        level = finding["level"]
        if level == "blocking" and finding.get("code") in expected:
            level = "expected"
        lines[level].append(_line(level, finding))
    return {"shown": [line for level in ORDER for line in lines[level]], "blocking": lines["blocking"]}


class FilterModule:
    """The collection's filters."""

    def filters(self):
        """By name."""
        return {"preflight_judged": preflight_judged}
