//! Virtual time: the queue of events.
//!
//! Events come out in order of time, those of one instant in the order in which they were
//! scheduled, so a run never depends on how the heap breaks ties. Whether a tick is a millisecond
//! or a microsecond is the simulation's choice.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// Events still to come, and the time of the latest that was taken.
#[derive(Debug)]
pub(crate) struct Queue<E> {
    heap: BinaryHeap<Scheduled<E>>,
    next: u64,
    pub(crate) now: u64,
}

#[derive(Debug)]
struct Scheduled<E> {
    at: u64,
    number: u64,
    event: E,
}

impl<E> Queue<E> {
    /// An empty queue at time zero.
    pub(crate) const fn new() -> Self {
        Self {
            heap: BinaryHeap::new(),
            next: 0,
            now: 0,
        }
    }

    /// Schedules `event` in `after` ticks.
    pub(crate) fn after(&mut self, after: u64, event: E) {
        self.at(self.now.saturating_add(after), event);
    }

    /// Schedules `event` at `at`, now if that has passed.
    pub(crate) fn at(&mut self, at: u64, event: E) {
        let (at, number) = (at.max(self.now), self.next);
        self.heap.push(Scheduled { at, number, event });
        self.next += 1;
    }

    /// Advances to the next event.
    pub(crate) fn pop(&mut self) -> Option<E> {
        let next = self.heap.pop()?;
        self.now = next.at;
        Some(next.event)
    }
}

impl<E> PartialEq for Scheduled<E> {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl<E> Eq for Scheduled<E> {}

impl<E> PartialOrd for Scheduled<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The earliest is the greatest: the heap is a maximum heap.
impl<E> Ord for Scheduled<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_in_order_of_time_and_then_of_scheduling() {
        let mut queue = Queue::new();
        for (at, name) in [(5, "c"), (1, "a"), (5, "d"), (1, "b")] {
            queue.at(at, name);
        }
        let mut seen = Vec::new();
        while let Some(name) = queue.pop() {
            seen.push((queue.now, name));
            if name == "c" {
                queue.at(0, "late"); // the past is now, after what was planned for now
            }
        }
        let expected = [(1, "a"), (1, "b"), (5, "c"), (5, "d"), (5, "late")];
        assert_eq!(seen, expected);
    }
}
