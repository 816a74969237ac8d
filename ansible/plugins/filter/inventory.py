"""What is wrong with an inventory, before any host is touched."""

from __future__ import annotations

import ipaddress
import re

DOCUMENTATION = r"""
name: inventory_problems
author: The khactl developers
version_added: "1.0.0"
short_description: What is wrong with the hosts of a cluster and its floating address
description:
  - Judges names, addresses and numbers, and asks nobody.
options:
  _input:
    description: One dictionary per host with name, address and role.
    type: list
    elements: dict
    required: true
  vip_addresses:
    description: The floating addresses with their prefix lengths.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Judge an inventory
  ansible.builtin.set_fact:
    judged: "{{ hosts | khactl.cluster.inventory_problems(['10.77.0.100/24']) }}"
"""

RETURN = r"""
_value:
  description: The lists C(problems), which forbid a roll-out, and C(warnings), which do not.
  type: dict
"""

# The most hosts that a cluster of khactl takes.
HOSTS_MAX = 9
LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def _twice(hosts, field):
    """Each value that several hosts have, with their names."""
    by_value = {}
    for host in hosts:
        by_value.setdefault(str(host[field]), []).append(host["inventory_name"])
    return {value: names for value, names in by_value.items() if len(names) > 1}


def _addresses(hosts, problems):
    """The hosts' addresses that are addresses."""
    found = {}
    for host in hosts:
        try:
            found[host["inventory_name"]] = ipaddress.ip_address(str(host["address"]))
        except ValueError:
            problems.append(
                "%s: its address %r is no IP address: set khactl_address, or ansible_host"
                % (host["inventory_name"], host["address"])
            )
    return found


def _judge_vip(text, addresses, problems):
    try:
        vip = ipaddress.ip_interface(str(text))
    except ValueError:
        problems.append("khactl_vip_addresses: %r is no address with a prefix length" % text)
        return
    if "/" not in str(text):
        problems.append("khactl_vip_addresses: %s lacks its network's prefix length, such as /24" % text)
        return
    for name, address in sorted(addresses.items()):
        if address.version != vip.version:
            continue
        if address == vip.ip:
            problems.append("khactl_vip_addresses: %s is the own address of %s: use a free one" % (vip.ip, name))
        elif address not in vip.network:
            problems.append(
                "khactl_vip_addresses: %s is not in the network of %s, whose address is %s: the VIP moves within one network"
                % (text, name, address)
            )


def inventory_problems(hosts, vip_addresses):
    """Problems and warnings as texts for people."""
    problems, warnings = [], []
    if not hosts:
        problems.append("the play has no host")
    if len(hosts) > HOSTS_MAX:
        problems.append("%d hosts, and a cluster takes %d at the most" % (len(hosts), HOSTS_MAX))
    for host in hosts:
        if not LABEL.fullmatch(str(host["name"])):
            problems.append(
                "%s: %r cannot be a host's name: lower-case letters, digits and hyphens; set khactl_host_name"
                % (host["inventory_name"], host["name"])
            )
    for name, of in _twice(hosts, "name").items():
        problems.append("%s have the same name %s: names must differ" % (" and ".join(of), name))
    for address, of in _twice(hosts, "address").items():
        problems.append("%s have the same address %s: addresses must differ" % (" and ".join(of), address))
    if hosts and all(host["role"] == "witness" for host in hosts):
        problems.append("every host is a witness: at least one must run the control plane")
    addresses = _addresses(hosts, problems)
    if not vip_addresses:
        problems.append("khactl_vip_addresses: there must be a floating address")
    for vip in vip_addresses:
        _judge_vip(vip, addresses, problems)

    if len(hosts) == 1:
        warnings.append("ONE HOST: there is no failover")
    elif hosts and len(hosts) % 2 == 0:
        bears = (len(hosts) - 1) // 2
        warnings.append(
            "%d HOSTS BEAR THE LOSS OF %s, as %d would: an even number adds no safety, and each host more is one more that "
            "can fail; a witness (khactl_role) makes it odd" % (len(hosts), bears or "NONE", len(hosts) - 1)
        )
    return {"problems": problems, "warnings": warnings}


class FilterModule:
    """The collection's filters."""

    def filters(self):
        """By name."""
        return {"inventory_problems": inventory_problems}
