"""What the collection's filter says of inventories, good and bad. Needs nothing but Python."""

import importlib.util
import pathlib
import unittest

FILTER = pathlib.Path(__file__).parent.parent / "plugins" / "filter" / "inventory.py"
_spec = importlib.util.spec_from_file_location("inventory", FILTER)
_inventory = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_inventory)


def hosts(count, **changes):
    """That many good hosts; `changes` are of the last one."""
    made = [
        {"inventory_name": "cp%d" % at, "name": "cp%d" % at, "address": "10.77.0.%d" % (10 + at), "role": "control-plane"}
        for at in range(1, count + 1)
    ]
    made[-1].update(changes)
    return made


def judged(inventory, vip=("10.77.0.100/24",)):
    """Problems and warnings."""
    found = _inventory.inventory_problems(inventory, list(vip))
    return found["problems"], found["warnings"]


class Inventory(unittest.TestCase):
    """Each bad input is named; good ones are not."""

    def only(self, problems, words):
        """There is one problem, and it says so."""
        self.assertEqual(len(problems), 1, problems)
        self.assertIn(words, problems[0])

    def test_odd_numbers_are_fine(self):
        for count in (3, 5, 7, 9):
            self.assertEqual(judged(hosts(count)), ([], []))

    def test_even_numbers_and_one_are_warned_about(self):
        self.assertIn("BEAR THE LOSS OF NONE", judged(hosts(2))[1][0])
        self.assertIn("4 HOSTS BEAR THE LOSS OF 1", judged(hosts(4))[1][0])
        self.assertIn("no failover", judged(hosts(1))[1][0])

    def test_duplicates_are_named_with_both_hosts(self):
        self.only(judged(hosts(3, address="10.77.0.11"))[0], "cp1 and cp3 have the same address 10.77.0.11")
        self.only(judged(hosts(3, name="cp1"))[0], "cp1 and cp3 have the same name cp1")

    def test_a_vip_outside_the_network_or_on_a_host_is_refused(self):
        self.only(judged(hosts(3, address="10.99.0.13"))[0], "not in the network of cp3")
        self.only(judged(hosts(3, address="10.77.0.100"))[0], "own address of cp3")

    def test_a_vip_must_be_one(self):
        self.only(judged(hosts(3), ["10.77.0.100"])[0], "lacks its network's prefix length")
        self.only(judged(hosts(3), ["nonsense/24"])[0], "no address")
        self.only(judged(hosts(3), [])[0], "there must be")

    def test_names_and_addresses_must_be_such(self):
        self.only(judged(hosts(3, name="CP_3"))[0], "cannot be a host's name")
        self.only(judged(hosts(3, address="cp3.example"))[0], "is no IP address")

    def test_someone_must_run_the_control_plane(self):
        self.only(judged(hosts(1, role="witness"))[0], "every host is a witness")

    def test_ten_hosts_are_too_many(self):
        self.assertIn("9 at the most", judged(hosts(10))[0][0])


if __name__ == "__main__":
    unittest.main()
