//! What is to happen, in the order of time. Places are used again, so that a long run allocates nothing.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::world::Event;

/// How many bits of a key name the place; the rest keep the order of events of the same time.
const PLACE_BITS: u32 = 16;

#[derive(Default)]
pub(super) struct Queue {
    heap: BinaryHeap<Reverse<(u64, u64)>>,
    events: Vec<Event>,
    free: Vec<usize>,
    order: u64,
}

impl Queue {
    pub(super) fn push(&mut self, at: u64, event: Event) {
        let place = if let Some(place) = self.free.pop() {
            self.events[place] = event;
            place
        } else {
            self.events.push(event);
            self.events.len() - 1
        };
        assert!(
            place < 1 << PLACE_BITS,
            "the simulation floods its own network"
        );
        self.order += 1;
        let key = (self.order << PLACE_BITS) | place as u64;
        self.heap.push(Reverse((at, key)));
    }

    /// When the next event is; `u64::MAX` if there is none.
    pub(super) fn next_at(&self) -> u64 {
        self.heap.peek().map_or(u64::MAX, |Reverse((at, _))| *at)
    }

    pub(super) fn pop(&mut self) -> Option<Event> {
        let Reverse((_, key)) = self.heap.pop()?;
        let place = usize::try_from(key & ((1 << PLACE_BITS) - 1)).ok()?;
        self.free.push(place);
        Some(self.events[place])
    }
}
