//! Who acted as the leader, and when: what witnesses wrote in the place of a controller-manager, read and judged.
//! Pure: the records are text.
//!
//! A witness writes a line every millisecond or two while it believes that it leads. From its first line to its last
//! it acted. Two that act at once are what leader election is there to prevent.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Where witnesses write, on their own host. The folder is made for them, and every user may write there.
const FOLDER: &str = "/etc/khactl/witness";

/// The file of the one in the place of this component.
pub fn records(component: &str) -> String {
    format!("{FOLDER}/{component}")
}

/// What a line begins with.
const WORD: &str = "acting";

/// One witness' belief that it leads, from the first line about it to the last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Term {
    /// Whose Lease it was: `HOST_RANDOM`. A process has one, and leads at most once.
    pub identity: String,
    /// The first moment, by the clock that all hosts of a lab share (CLOCK_MONOTONIC).
    pub from: Duration,
    /// The last one.
    pub to: Duration,
    /// How many lines there are.
    pub lines: usize,
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} from {:.3} s to {:.3} s",
            self.identity,
            self.from.as_secs_f64(),
            self.to.as_secs_f64()
        )
    }
}

/// A time in which one reached no API server: it believed, and nothing came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blind {
    /// Who.
    pub identity: String,
    /// When it was certainly cut from all of them.
    pub from: Duration,
    /// When it could have reached one again, at the latest.
    pub to: Duration,
}

/// The terms without what nothing came of: one that ended while it was blind acted until it became so. One that believed
/// still when it saw again is as if it had never been blind.
pub fn seeing(mut terms: Vec<Term>, blind: &[Blind]) -> Vec<Term> {
    for term in &mut terms {
        let last = term.to;
        let of_its_own = blind.iter().filter(|blind| blind.identity == term.identity);
        let until_its_end = of_its_own.filter(|blind| last <= blind.to);
        if let Some(from) = until_its_end.map(|blind| blind.from).min() {
            term.to = last.min(from.max(term.from));
        }
    }
    terms
}

/// The line of a moment.
pub fn record(at: Duration, identity: &str, pid: u32) -> String {
    format!("{WORD} {} {identity} {pid}\n", at.as_nanos())
}

/// The terms that the files of all hosts tell of, the earliest first. A line that a power cut left half written tells
/// nothing.
pub fn terms<'a>(files: impl IntoIterator<Item = &'a str>) -> Vec<Term> {
    let mut terms: BTreeMap<&str, Term> = BTreeMap::new();
    for (identity, at) in files.into_iter().flat_map(str::lines).filter_map(parse) {
        let term = terms.entry(identity).or_insert_with(|| Term {
            identity: identity.to_owned(),
            from: at,
            to: at,
            lines: 0,
        });
        term.from = term.from.min(at);
        term.to = term.to.max(at);
        term.lines += 1;
    }
    let mut terms: Vec<_> = terms.into_values().collect();
    terms.sort_by_key(|term| term.from);
    terms
}

/// Every two terms that have a moment in common, in words.
pub fn overlaps(terms: &[Term]) -> Vec<String> {
    let mut found = Vec::new();
    for (place, one) in terms.iter().enumerate() {
        for other in &terms[place + 1..] {
            let common = one.to.min(other.to).checked_sub(one.from.max(other.from));
            if let Some(common) = common {
                found.push(format!(
                    "{one} and {other}: {:.1} ms",
                    common.as_secs_f64() * 1000.0
                ));
            }
        }
    }
    found
}

fn parse(line: &str) -> Option<(&str, Duration)> {
    let mut words = line.split(' ');
    let at = (words.next()? == WORD).then(|| words.next()).flatten()?;
    let identity = words.next()?;
    words.next()?.parse::<u32>().ok()?;
    Some((identity, Duration::from_nanos(at.parse().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(identity: &str, from_ms: u64, to_ms: u64) -> String {
        (from_ms..=to_ms)
            .map(|ms| record(Duration::from_millis(ms), identity, 7))
            .collect()
    }

    #[test]
    fn one_after_the_other_is_no_overlap_on_one_host_or_on_two() {
        let one = lines("cp1_a", 10, 20) + &lines("cp1_b", 50, 60);
        let other = lines("cp2_c", 21, 49);
        let terms = terms([one.as_str(), other.as_str()]);
        let names: Vec<_> = terms.iter().map(|term| term.identity.as_str()).collect();
        assert_eq!(names, ["cp1_a", "cp2_c", "cp1_b"]);
        assert_eq!(terms[0].lines, 11);
        assert_eq!(overlaps(&terms), [""; 0]);
    }

    #[test]
    fn a_single_line_within_anothers_term_is_an_overlap() {
        let one = lines("cp1_a", 10, 20);
        let late = record(Duration::from_millis(15), "cp2_b", 9);
        let terms = terms([one.as_str(), late.as_str()]);
        assert_eq!(overlaps(&terms).len(), 1);
    }

    #[test]
    fn one_that_stood_still_and_went_on_acted_while_another_did() {
        let one = lines("cp1_a", 10, 20) + &lines("cp1_a", 90, 90);
        let other = lines("cp2_b", 50, 80);
        assert_eq!(overlaps(&terms([one.as_str(), other.as_str()])).len(), 1);
    }

    #[test]
    fn one_that_reached_nobody_acted_until_then_unless_it_went_on_after_it() {
        let other = lines("cp2_b", 30, 80);
        let found = |to_ms| {
            let one = lines("cp1_a", 10, to_ms);
            let blind = Blind {
                identity: "cp1_a".to_owned(),
                from: Duration::from_millis(20),
                to: Duration::from_millis(60),
            };
            overlaps(&seeing(terms([one.as_str(), other.as_str()]), &[blind])).len()
        };
        assert_eq!(found(15), 0);
        assert_eq!(found(60), 0);
        assert_eq!(found(61), 1);
    }

    #[test]
    fn half_a_line_tells_nothing() {
        let text = lines("cp1_a", 10, 20) + "acting 99000000 cp";
        assert_eq!(terms([text.as_str()])[0].lines, 11);
        let no_pid = "acting 99000000 cp1_a ";
        assert_eq!(terms([no_pid]), []);
    }
}
