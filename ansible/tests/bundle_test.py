"""What the collection's filters say of bundles, good and bad. Needs nothing but Python."""

import gzip
import hashlib
import importlib.util
import io
import json
import pathlib
import tarfile
import tempfile
import unittest

FILTER = pathlib.Path(__file__).parent.parent / "plugins" / "filter" / "bundle.py"
_spec = importlib.util.spec_from_file_location("bundle", FILTER)
_bundle = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_bundle)

TEXT = json.dumps({"kubernetes": "v1.20.2", "etcd": "3.4.13", "arch": "amd64", "programs": {}}).encode()
DIGEST = hashlib.sha256(TEXT).hexdigest()
OTHER = "0" * 64


def hosts(**changes):
    """Three hosts that have no bundle yet; `changes` are of the last one."""
    made = [{"inventory_name": "cp%d" % at, "arch": "amd64", "manifest": ""} for at in (1, 2, 3)]
    made[-1].update(changes)
    return made


class Bundle(unittest.TestCase):
    """Each bad input is named; good ones are not."""

    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = pathlib.Path(scratch.name)

    def packed(self, *files):
        """A bundle's file with these names and bytes."""
        path = self.folder / "bundle.tar.gz"
        with tarfile.open(path, "w:gz") as archive:
            for name, text in files:
                member = tarfile.TarInfo(name)
                member.size = len(text)
                archive.addfile(member, io.BytesIO(text))
        return path

    def judged(self, told, inventory=None, kubernetes="v1.20.2", digest=""):
        return _bundle.bundle_problems(inventory or hosts(), told, kubernetes, digest)

    def only(self, problems, words):
        """There is one problem, and it says so."""
        self.assertEqual(len(problems), 1, problems)
        self.assertIn(words, problems[0])

    def test_a_file_and_a_folder_say_the_same_of_themselves(self):
        file = _bundle.bundle_facts(self.packed(("manifest.json", TEXT), ("etcd", b"x" * 100000)))
        (self.folder / "manifest.json").write_bytes(TEXT)
        folder = _bundle.bundle_facts(self.folder)
        expected = {"problem": "", "digest": DIGEST, "kubernetes": "v1.20.2", "etcd": "3.4.13", "arch": "amd64"}
        self.assertEqual(file, {**expected, "folder": False})
        self.assertEqual(folder, {**expected, "folder": True})
        self.assertEqual(self.judged(file), [])
        self.assertEqual(self.judged(file, digest=DIGEST.upper()), [])

    def test_what_is_no_bundle_is_told(self):
        for path, words in [
            (self.folder / "nowhere", "there is no"),
            (self.folder, "there is no"),
            (self.packed(("etcd", b"x"), ("manifest.json", TEXT)), "does not begin with manifest.json"),
        ]:
            self.only(self.judged(_bundle.bundle_facts(path)), words)
        for text in (b"", b"{", b"[]", b'{"kubernetes": "v1.20.2"}'):
            told = _bundle.bundle_facts(self.packed(("manifest.json", text)))
            self.assertEqual(len(self.judged(told)), 1, text)
        for spoilt in (b"", b"no archive", gzip.compress(b"no archive"), self.packed(("manifest.json", TEXT * 50)).read_bytes()[:40]):
            path = self.folder / "spoilt.tar.gz"
            path.write_bytes(spoilt)
            self.assertEqual(len(self.judged(_bundle.bundle_facts(path))), 1, spoilt)

    def test_a_wrong_digest_or_version_is_refused(self):
        told = _bundle.bundle_facts(self.packed(("manifest.json", TEXT)))
        self.only(self.judged(told, digest=OTHER), "its digest is %s" % DIGEST)
        self.only(self.judged(told, kubernetes="v1.21.0"), "asks for v1.21.0")
        self.only(self.judged(told, kubernetes=""), "asks for none")
        self.only(self.judged({}, digest="abc"), "no SHA-256")

    def test_a_host_that_it_does_not_fit_is_named(self):
        told = _bundle.bundle_facts(self.packed(("manifest.json", TEXT)))
        self.only(self.judged(told, hosts(arch="arm64")), "cp3 has a processor arm64")
        self.only(self.judged(told, hosts(manifest=OTHER)), "cp3 has another bundle")
        self.only(self.judged({}, hosts(manifest=OTHER), digest=DIGEST), "cp3 has another bundle")
        self.assertEqual(self.judged(told, hosts(manifest=DIGEST)), [])
        self.assertEqual(self.judged({}, hosts(manifest=OTHER)), [])


if __name__ == "__main__":
    unittest.main()
