//! How many connections there may be at one time. Pure.

/// A client's and its backend's.
const DESCRIPTORS_EACH: u64 = 2;

/// Of what is no connection of a client: the program's own sockets and files, checks, clients that wait to be served,
/// and second attempts to connect.
const DESCRIPTORS_APART: u64 = 256;

/// How many clients are served at one time, and why not more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) connections: usize,
    /// More are wanted than there are descriptors for.
    pub(crate) by_descriptors: bool,
}

/// Connections that a process with so many descriptors can have; one at the least, however few those are.
pub(crate) fn bearable(descriptors: u64) -> usize {
    let connections = descriptors.saturating_sub(DESCRIPTORS_APART) / DESCRIPTORS_EACH;
    usize::try_from(connections).unwrap_or(usize::MAX).max(1)
}

/// The room where so many connections are wanted and so many can be borne.
pub(crate) fn room(wanted: usize, bearable: usize) -> Room {
    Room {
        connections: wanted.min(bearable),
        by_descriptors: wanted > bearable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_no_more_connections_than_descriptors_bear_nor_than_are_wanted() {
        assert_eq!(bearable(20_000), 9_872);
        let of_few = room(20_000, bearable(20_000));
        assert_eq!((of_few.connections, of_few.by_descriptors), (9_872, true));
        let of_many = room(20_000, bearable(524_288));
        assert_eq!(
            (of_many.connections, of_many.by_descriptors),
            (20_000, false)
        );
    }

    #[test]
    fn any_number_of_descriptors_bears_one_connection() {
        assert_eq!(bearable(0), 1);
        assert_eq!(bearable(257), 1);
        assert!(bearable(u64::MAX) > 1_000_000);
    }
}
