"""What the collection's filter makes of what khactl preflight found. Needs nothing but Python."""

import importlib.util
import json
import pathlib
import unittest

FILTER = pathlib.Path(__file__).parent.parent / "plugins" / "filter" / "preflight.py"
_spec = importlib.util.spec_from_file_location("preflight", FILTER)
_preflight = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_preflight)

FOUND = [
    {"level": "ok", "check": "ports", "finding": "all free"},
    {"level": "warning", "check": "clock", "finding": "not in step", "cure": "start chrony", "code": "KHA1"},
    {"level": "blocking", "check": "bundle", "finding": "it is\nmissing", "cure": "import it", "code": "KHA1106"},
]


def judged(stdout, expected=(), stderr=""):
    """Of a command that printed this."""
    return _preflight.preflight_judged({"rc": 1, "stdout": stdout, "stderr": stderr}, list(expected))


class Preflight(unittest.TestCase):
    """What is wrong is seen first."""

    def test_findings_are_lines_and_what_blocks_comes_first(self):
        found = judged(json.dumps({"findings": FOUND, "blocking": 1}))
        blocks = "BLOCKS  bundle: it is | missing (KHA1106); try: import it"
        self.assertEqual(found["shown"], [blocks, "WARNING clock: not in step (KHA1); try: start chrony", "ok      ports: all free"])
        self.assertEqual(found["blocking"], [blocks])

    def test_what_the_run_itself_mends_blocks_nothing(self):
        found = judged(json.dumps({"findings": FOUND, "blocking": 1}), ["KHA1106"])
        self.assertEqual(found["blocking"], [])
        self.assertIn("mended  bundle: it is | missing (KHA1106); this run brings it", found["shown"])

    def test_an_agent_that_does_not_answer_blocks(self):
        self.assertEqual(judged("", stderr="no such program\n")["blocking"], ["no such program"])
        refusal = {"code": "KHA3000", "doing": "check this host", "wrong": "khad does not run", "advice": "start it"}
        self.assertEqual(judged("", stderr=json.dumps(refusal))["blocking"], ["khad does not run (KHA3000); try: start it"])
        self.assertEqual(judged("")["blocking"], ["khactl preflight printed nothing"])
        self.assertEqual(len(judged("[]")["blocking"]), 1)


if __name__ == "__main__":
    unittest.main()
