"""What is wrong with a bundle, before any host gets it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tarfile
import zlib

DOCUMENTATION = r"""
name: bundle_facts
author: The khactl developers
version_added: "1.0.0"
short_description: What a bundle on the machine that runs Ansible says of itself
description:
  - Reads the manifest and nothing else. Whether the programs are those of the manifest, the import on the host verifies.
options:
  _input:
    description: The path of a bundle's file, as C(khactl bundle create) makes it, or of a bundle's folder.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Read a bundle's manifest
  ansible.builtin.set_fact:
    told: "{{ '/srv/khactl/v1.20.2.tar.gz' | khactl.cluster.bundle_facts }}"
"""

RETURN = r"""
_value:
  description:
    - C(problem), empty unless it is no bundle; C(folder), whether it is a folder; C(digest), C(kubernetes), C(etcd) and C(arch).
  type: dict
"""

MANIFEST = "manifest.json"
# As khactl has it: a thousand times what a manifest needs.
MANIFEST_BYTES_MAX = 1 << 20
DIGEST = re.compile(r"[0-9a-fA-F]{64}")


def _manifest_of_folder(path):
    with open(os.path.join(path, MANIFEST), "rb") as manifest:
        return manifest.read(MANIFEST_BYTES_MAX + 1)


def _manifest_of_file(path):
    """It stands first, so that nothing else is unpacked."""
    with tarfile.open(path, "r|gz") as archive:
        first = archive.next()
        if first is None or first.name != MANIFEST or not first.isreg():
            raise ValueError("it does not begin with %s, as a bundle does" % MANIFEST)
        return archive.extractfile(first).read(MANIFEST_BYTES_MAX + 1)


def bundle_facts(path):
    """The manifest's words and its digest, or what is wrong with the bundle."""
    path = os.path.expanduser(str(path))
    folder = os.path.isdir(path)
    try:
        text = _manifest_of_folder(path) if folder else _manifest_of_file(path)
        if len(text) > MANIFEST_BYTES_MAX:
            raise ValueError("its manifest is too long to be one")
        manifest = json.loads(text)
        words = {field: str(manifest[field]) for field in ("kubernetes", "etcd", "arch")}
    except FileNotFoundError as error:
        return {"problem": "there is no %s on the machine that runs Ansible" % error.filename, "folder": folder}
    except (OSError, EOFError, tarfile.TarError, zlib.error, ValueError) as error:
        return {"problem": str(error) or type(error).__name__, "folder": folder}
    except (KeyError, TypeError):
        return {"problem": "its manifest does not say kubernetes, etcd and arch", "folder": folder}
    words.update(problem="", folder=folder, digest=hashlib.sha256(text).hexdigest())
    return words


def _judge_source(told, kubernetes, digest, problems):
    if told["problem"]:
        problems.append("khactl_bundle_source: %s" % told["problem"])
        return
    if digest and told["digest"] != digest:
        problems.append(
            "khactl_bundle_source: its digest is %s, and khactl_bundle_digest asks for %s: it is another bundle, or an altered one"
            % (told["digest"], digest)
        )
    if told["kubernetes"] != kubernetes:
        problems.append(
            "khactl_bundle_source: it holds Kubernetes %s, and khactl_kubernetes_version asks for %s"
            % (told["kubernetes"], kubernetes or "none")
        )


def bundle_problems(hosts, told, kubernetes, digest):
    """Problems as texts for people. `hosts`: inventory_name, arch and manifest, the digest of the bundle that is there already;
    `told`: what bundle_facts says of the source, or nothing where there is none."""
    problems = []
    digest = str(digest).lower()
    if digest and not DIGEST.fullmatch(digest):
        problems.append("khactl_bundle_digest: %r is no SHA-256 in 64 hexadecimal digits: `khactl bundle create` prints it" % digest)
        return problems
    if told:
        _judge_source(told, kubernetes, digest, problems)
        if problems:
            return problems
    wanted = digest or (told or {}).get("digest", "")
    for host in hosts:
        if told and host["arch"] != told["arch"]:
            problems.append("%s has a processor %s, and the bundle is for %s" % (host["inventory_name"], host["arch"], told["arch"]))
        if wanted and host["manifest"] and host["manifest"] != wanted:
            problems.append(
                "%s has another bundle there already, with the digest %s and not %s: give this one a folder of its own (khactl_bundle), "
                "for programs may run from that one" % (host["inventory_name"], host["manifest"], wanted)
            )
    return problems


class FilterModule:
    """The collection's filters."""

    def filters(self):
        """By name."""
        return {"bundle_facts": bundle_facts, "bundle_problems": bundle_problems}
