//! Packets out of a capture: pcap and pcapng.

use std::io::Read;

use pcap_parser::{Block, PcapBlockOwned, PcapError, create_reader};

/// One packet as it was captured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet<'a> {
    /// Counts the packets, from 1, as other tools do.
    pub(super) frame: u64,
    /// Microseconds since the first packet.
    pub(super) at: u64,
    /// LINKTYPE of the interface.
    pub(super) link: i32,
    /// As much of it as was kept.
    pub(super) data: &'a [u8],
}

/// Octets of the file that are looked at in one piece.
const PIECE: usize = 1 << 16;
/// No capture lasts longer, in microseconds: what says so is damaged.
const LONGEST: u64 = 1 << 50;
/// The largest block that is taken for one.
const LARGEST: usize = 16 << 20;

/// Calls `each` for every packet, in order. Returns why the file ends before its end, if it does.
///
/// # Errors
///
/// That the file is no capture.
pub(super) fn read(
    input: impl Read + Send,
    mut each: impl FnMut(Packet<'_>),
) -> Result<Option<String>, String> {
    let mut reader = create_reader(PIECE, input).map_err(|error| format!("no capture: {}", brief(&error)))?;
    let mut clock = Clock::default();
    let mut interfaces: Vec<Interface> = Vec::new();
    let (mut frame, mut room) = (0, PIECE);
    loop {
        match reader.next() {
            Ok((len, block)) => {
                let packet = match block {
                    PcapBlockOwned::LegacyHeader(header) => {
                        let per_second =
                            if header.is_nanosecond_precision() { 1_000_000_000 } else { 1_000_000 };
                        interfaces = vec![Interface { link: header.network.0, per_second }];
                        None
                    }
                    PcapBlockOwned::Legacy(packet) => interfaces.first().map(|interface| {
                        let parts = u128::from(packet.ts_sec) * u128::from(interface.per_second);
                        let time = interface.micros(parts + u128::from(packet.ts_usec));
                        (time, interface.link, packet.data)
                    }),
                    PcapBlockOwned::NG(Block::SectionHeader(_)) => {
                        interfaces.clear();
                        None
                    }
                    PcapBlockOwned::NG(Block::InterfaceDescription(interface)) => {
                        let per_second = interface.ts_resolution().unwrap_or(1_000_000);
                        interfaces.push(Interface { link: interface.linktype.0, per_second });
                        None
                    }
                    PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
                        let interface = usize::try_from(packet.if_id).ok().and_then(|id| interfaces.get(id));
                        let kept = usize::try_from(packet.caplen).ok().and_then(|len| packet.data.get(..len));
                        interface.zip(kept).map(|(interface, kept)| {
                            let parts = u128::from(packet.ts_high) << 32 | u128::from(packet.ts_low);
                            (interface.micros(parts), interface.link, kept)
                        })
                    }
                    // It has no time, so it is taken to have come with the one before.
                    PcapBlockOwned::NG(Block::SimplePacket(packet)) => {
                        interfaces.first().map(|interface| (clock.last, interface.link, packet.data))
                    }
                    PcapBlockOwned::NG(_) => None,
                };
                if let Some((time, link, data)) = packet {
                    frame += 1;
                    each(Packet { frame, at: clock.since_first(time), link, data });
                }
                reader.consume(len);
            }
            Err(PcapError::Eof) => return Ok(None),
            Err(PcapError::Incomplete(_)) => {
                if reader.refill().is_err() {
                    return Ok(Some(format!("the file cannot be read behind frame {frame}")));
                }
            }
            Err(PcapError::BufferTooSmall) if room < LARGEST => {
                room *= 2;
                let grown = reader.grow(room) && reader.refill().is_ok();
                if !grown {
                    return Ok(Some(format!("the file cannot be read behind frame {frame}")));
                }
            }
            Err(error) => {
                return Ok(Some(format!("the capture breaks off behind frame {frame}: {}", brief(&error))));
            }
        }
    }
}

#[derive(Clone, Copy)]
struct Interface {
    link: i32,
    /// Units of time in a second.
    per_second: u64,
}

impl Interface {
    /// That many units of time in microseconds.
    fn micros(self, units: u128) -> u64 {
        u64::try_from(units.saturating_mul(1_000_000) / u128::from(self.per_second.max(1)))
            .unwrap_or(u64::MAX)
    }
}

/// Time since the first packet. It never goes back: packets of different processors are not always in order.
#[derive(Default)]
struct Clock {
    first: Option<u64>,
    last: u64,
}

impl Clock {
    fn since_first(&mut self, time: u64) -> u64 {
        let first = *self.first.get_or_insert(time);
        self.last = self.last.max(time);
        self.last.saturating_sub(first).min(LONGEST)
    }
}

/// What is wrong with a file, without its octets.
fn brief(error: &PcapError<&[u8]>) -> String {
    match error {
        PcapError::Eof | PcapError::UnexpectedEof | PcapError::Incomplete(_) => "it is cut short".to_owned(),
        PcapError::BufferTooSmall => "a block is too large".to_owned(),
        PcapError::ReadError => "it cannot be read".to_owned(),
        PcapError::HeaderNotRecognized => "neither pcap nor pcapng".to_owned(),
        PcapError::NomError(..) | PcapError::OwnedNomError(..) => "a block is damaged".to_owned(),
    }
}
