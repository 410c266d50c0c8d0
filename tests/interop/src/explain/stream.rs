//! TCP: segments into two streams of octets a connection.
//!
//! What comes twice is taken once, what comes early waits. What never comes is a gap: when the receiver says that it has
//! what lies behind, when too much waits, or at the end.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

use super::link::Segment;

/// A connection, by the order in which they were seen.
pub(super) type ConnIndex = usize;

/// Which way octets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// From the side that spoke first, or opened the connection.
    Out,
    Back,
}

/// What a segment brings.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A connection; `whole` if it began within the capture.
    Opened { conn: ConnIndex, from: SocketAddr, to: SocketAddr, whole: bool },
    /// Octets in their order.
    Data { conn: ConnIndex, way: Way, octets: Vec<u8> },
    /// So many octets are not in the capture.
    Gap { conn: ConnIndex, way: Way, octets: u32 },
    /// One side is done.
    Closed { conn: ConnIndex },
}

/// All connections.
#[derive(Default)]
pub(super) struct Streams {
    open: HashMap<(SocketAddr, SocketAddr), ConnIndex>,
    conns: Vec<Conn>,
}

struct Conn {
    from: SocketAddr,
    out: Half,
    back: Half,
    closed: bool,
}

/// One direction of a connection.
#[derive(Default)]
struct Half {
    /// The sequence number of SYN.
    began: Option<u32>,
    /// The sequence number of what comes next.
    next: Option<u32>,
    /// What came early, by its sequence number.
    early: BTreeMap<u32, Vec<u8>>,
    /// The sequence number behind the last octet, once that is known.
    end: Option<u32>,
}

/// Segments that wait in one direction before what is missing is given up.
const MOST_EARLY: usize = 1024;

impl Streams {
    /// Takes a segment.
    pub(super) fn segment(&mut self, segment: &Segment<'_>, steps: &mut Vec<Step>) {
        let Segment { from, to, number, received, syn, fin, rst, data } = *segment;
        let names = if from <= to { (from, to) } else { (to, from) };
        let known = self.open.get(&names).copied();
        let opens = syn && received.is_none();
        let again = known.and_then(|conn| self.conns.get(conn)).is_some_and(|conn| {
            let half = if conn.from == from { &conn.out } else { &conn.back };
            half.began == Some(number)
        });
        let conn = match known {
            Some(conn) if !opens || again => conn,
            Some(_) | None => {
                if !opens && data.is_empty() {
                    return;
                }
                if let Some(old) = known {
                    self.finish(old, steps);
                }
                let conn = self.conns.len();
                self.conns.push(Conn { from, out: Half::default(), back: Half::default(), closed: false });
                self.open.insert(names, conn);
                steps.push(Step::Opened { conn, from, to, whole: opens });
                conn
            }
        };
        let Some(state) = self.conns.get_mut(conn) else { return };
        let way = if state.from == from { Way::Out } else { Way::Back };
        let (half, other) = match way {
            Way::Out => (&mut state.out, &mut state.back),
            Way::Back => (&mut state.back, &mut state.out),
        };
        // SYN counts as one.
        let first = number.wrapping_add(syn.into());
        if syn {
            half.began = Some(number);
            half.next.get_or_insert(first);
        }
        if !data.is_empty() {
            half.take(first, data);
        }
        half.flow(conn, way, steps);
        if let Some(received) = received {
            let back = if way == Way::Out { Way::Back } else { Way::Out };
            if other.missed(received) {
                other.skip(conn, back, steps);
            }
        }
        if fin {
            half.end = Some(first.wrapping_add(len32(data)));
        }
        let done = half.end.is_some() && (half.end == half.next || half.next.is_none());
        if (rst || done) && !state.closed {
            state.closed = true;
            steps.push(Step::Closed { conn });
        }
    }

    /// The capture ends: what is missing never comes.
    pub(super) fn end(&mut self, steps: &mut Vec<Step>) {
        for conn in 0..self.conns.len() {
            self.finish(conn, steps);
        }
    }

    fn finish(&mut self, conn: ConnIndex, steps: &mut Vec<Step>) {
        let Some(state) = self.conns.get_mut(conn) else { return };
        state.out.skip(conn, Way::Out, steps);
        state.back.skip(conn, Way::Back, steps);
    }
}

impl Half {
    /// Keeps what is new of some octets.
    fn take(&mut self, number: u32, data: &[u8]) {
        let next = *self.next.get_or_insert(number);
        let ahead = number.wrapping_sub(next);
        // Numbers are compared within half of their range (RFC 9293, 3.4).
        let (number, data) = if ahead < 1 << 31 {
            (number, data)
        } else {
            let old = usize::try_from(next.wrapping_sub(number)).unwrap_or(usize::MAX);
            match data.get(old..) {
                Some(new) if !new.is_empty() => (next, new),
                Some(_) | None => return,
            }
        };
        let longer = self.early.get(&number).is_none_or(|there| there.len() < data.len());
        if longer {
            self.early.insert(number, data.to_vec());
        }
    }

    /// Hands on what is in order.
    fn flow(&mut self, conn: ConnIndex, way: Way, steps: &mut Vec<Step>) {
        while let Some((number, next)) = self.nearest() {
            let ahead = number.wrapping_sub(next);
            if ahead != 0 && ahead < 1 << 31 {
                if self.early.len() <= MOST_EARLY {
                    return;
                }
                steps.push(Step::Gap { conn, way, octets: ahead });
                self.next = Some(number);
                continue;
            }
            let Some(octets) = self.early.remove(&number) else { return };
            let old = usize::try_from(next.wrapping_sub(number)).unwrap_or(usize::MAX);
            let Some(new) = octets.get(old..).filter(|new| !new.is_empty()) else { continue };
            self.next = Some(next.wrapping_add(len32(new)));
            steps.push(Step::Data { conn, way, octets: new.to_vec() });
        }
    }

    /// What waits and comes first, and what should come next.
    fn nearest(&self) -> Option<(u32, u32)> {
        let next = self.next?;
        // The numbers wrap around: first those that lie behind, then those ahead.
        let behind = self.early.keys().find(|number| next.wrapping_sub(**number) < 1 << 31);
        let first = behind.or_else(|| self.early.range(next..).next().map(|(number, _)| number));
        first.or_else(|| self.early.keys().next()).map(|number| (*number, next))
    }

    /// Whether the receiver has what waits here, so that what is missing was not captured.
    fn missed(&self, received: u32) -> bool {
        let Some((number, next)) = self.nearest() else { return false };
        let ahead = received.wrapping_sub(number);
        number != next && ahead != 0 && ahead < 1 << 31
    }

    /// Gives up what is missing.
    fn skip(&mut self, conn: ConnIndex, way: Way, steps: &mut Vec<Step>) {
        while let Some((number, next)) = self.nearest() {
            let ahead = number.wrapping_sub(next);
            if ahead < 1 << 31 {
                steps.push(Step::Gap { conn, way, octets: ahead });
                self.next = Some(number);
            }
            self.flow(conn, way, steps);
        }
    }
}

/// Segments are far shorter than that.
fn len32(octets: &[u8]) -> u32 {
    u32::try_from(octets.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of segments of one direction: the number, the octets.
    fn streamed(first: u32, segments: &[(u32, &[u8])], received: Option<u32>) -> (Vec<u8>, Vec<u32>) {
        let (client, server): (SocketAddr, SocketAddr) =
            ("10.0.0.1:1000".parse().unwrap(), "10.0.0.2:445".parse().unwrap());
        let segment = |number, syn, data, from, to, received| Segment {
            from,
            to,
            number,
            received,
            syn,
            fin: false,
            rst: false,
            data,
        };
        let (mut streams, mut steps) = (Streams::default(), Vec::new());
        streams.segment(&segment(first.wrapping_sub(1), true, &[], client, server, None), &mut steps);
        for (number, data) in segments {
            let number = first.wrapping_add(*number);
            streams.segment(&segment(number, false, data, client, server, Some(0)), &mut steps);
        }
        if let Some(received) = received {
            let received = Some(first.wrapping_add(received));
            streams.segment(&segment(5, false, &[], server, client, received), &mut steps);
        } else {
            streams.end(&mut steps);
        }
        let (mut octets, mut gaps) = (Vec::new(), Vec::new());
        for step in steps {
            match step {
                Step::Data { octets: more, way: Way::Out, .. } => octets.extend(more),
                Step::Gap { octets, way: Way::Out, .. } => gaps.push(octets),
                Step::Opened { whole, .. } => assert!(whole),
                other => panic!("{other:?}"),
            }
        }
        (octets, gaps)
    }

    #[test]
    fn segments_are_put_in_order_wherever_the_numbers_wrap() {
        for first in [1, u32::MAX - 7, u32::MAX, 0, 1 << 31, (1 << 31) - 4] {
            let twice: &[(u32, &[u8])] = &[(0, b"abc"), (0, b"abc"), (1, b"bcd"), (4, b"e")];
            assert_eq!(streamed(first, twice, None), (b"abcde".to_vec(), Vec::new()));
            let early: &[(u32, &[u8])] = &[(9, b"jk"), (5, b"fghi"), (3, b"de"), (0, b"abc")];
            assert_eq!(streamed(first, early, None), (b"abcdefghijk".to_vec(), Vec::new()));
            let overlap: &[(u32, &[u8])] = &[(2, b"cdef"), (3, b"de"), (0, b"abcd")];
            assert_eq!(streamed(first, overlap, None), (b"abcdef".to_vec(), Vec::new()));
        }
    }

    #[test]
    fn what_was_not_captured_is_a_gap() {
        let missing: &[(u32, &[u8])] = &[(0, b"ab"), (5, b"fg")];
        assert_eq!(streamed(7, missing, None), (b"abfg".to_vec(), vec![3]));
        // Not yet: the receiver does not have it.
        assert_eq!(streamed(7, missing, Some(2)), (b"ab".to_vec(), Vec::new()));
        assert_eq!(streamed(7, missing, Some(7)), (b"abfg".to_vec(), vec![3]));
    }
}
