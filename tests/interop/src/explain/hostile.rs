//! Captures that nobody made, for fuzzing: whatever can be read as a capture can be told.

use std::net::Ipv4Addr;

/// The first octet tells what the others are: 0 the file itself, 1 what two say to each other. That is put into packets: for each,
/// one octet, the length in two, and so much of what is said.
///
/// | bit | what |
/// |---|---|
/// | 0 | the server sends it |
/// | 1 | of the second of two connections |
/// | 2 | a length of NetBIOS goes before it |
/// | 3 | SYN, without anything |
/// | 4 | FIN behind it |
/// | 5 | it was not captured |
/// | 6 | a second passes before |
///
/// # Panics
///
/// If what was read cannot be told.
pub fn hostile(input: &[u8]) {
    let Some((&first, octets)) = input.split_first() else { return };
    let capture = if first & 1 == 0 { octets.to_vec() } else { conversation(octets) };
    let Ok(recordings) = super::record(&*capture) else { return };
    let explained = super::explain(&*capture);
    assert!(explained.is_ok(), "{:?}", explained.err());
    for (explained, recording) in explained.into_iter().flatten().zip(recordings) {
        let _ = explained.to_string();
        let _ = explained.departures();
        assert_eq!(explained.recording.lines, recording.lines, "read twice");
    }
}

/// The packets of what is said.
fn conversation(mut octets: &[u8]) -> Vec<u8> {
    // Microseconds, LINKTYPE_RAW.
    let mut file = [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 0xffff, 101].map(u32::to_le_bytes).concat();
    let mut numbers = [[1_u32; 2]; 2];
    let mut micros = 0_u32;
    while let Some((&[kind, low, high], rest)) = octets.split_first_chunk() {
        let len = u16::from_le_bytes([low, high]) & 0x7fff;
        let (said, rest) = rest.split_at(rest.len().min(len.into()));
        octets = rest;
        let (side, conn) = (usize::from(kind & 1), usize::from(kind >> 1 & 1));
        let mut data = Vec::new();
        let syn = kind & 8 != 0;
        if !syn {
            if kind & 4 != 0 {
                data.extend(u32::from(len).to_be_bytes());
            }
            data.extend_from_slice(said);
        }
        micros = micros.saturating_add(if kind & 64 != 0 { 1_000_000 } else { 100 });
        let number = numbers.get(conn).and_then(|sides| sides.get(side)).copied().unwrap_or(0);
        let received = numbers.get(conn).and_then(|sides| sides.get(1 - side)).copied().unwrap_or(0);
        let fin = kind & 16 != 0;
        let next = number.wrapping_add(u32::try_from(data.len()).unwrap_or(0));
        let next = next.wrapping_add(u32::from(syn) + u32::from(fin));
        if let Some(field) = numbers.get_mut(conn).and_then(|sides| sides.get_mut(side)) {
            *field = next;
        }
        if kind & 32 != 0 {
            continue;
        }
        let mut ports = [50_000 + u16::from(kind >> 1 & 1), 445];
        let mut hosts = [Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2)];
        if side == 1 {
            ports.reverse();
            hosts.reverse();
        }
        let total = u16::try_from(40 + data.len()).unwrap_or(u16::MAX);
        let mut packet = vec![0x45, 0];
        packet.extend(total.to_be_bytes());
        // TTL 64, TCP, no checksum.
        packet.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
        hosts.iter().for_each(|host| packet.extend(host.octets()));
        ports.iter().for_each(|port| packet.extend(port.to_be_bytes()));
        packet.extend(number.to_be_bytes());
        packet.extend(received.to_be_bytes());
        // ACK but of the first SYN.
        let ack = if syn && side == 0 { 0 } else { 0x10 };
        packet.extend([0x50, ack | u8::from(syn) << 1 | u8::from(fin), 0xff, 0xff, 0, 0, 0, 0]);
        packet.extend(data);
        let len = u32::try_from(packet.len()).unwrap_or(0);
        file.extend([micros / 1_000_000, micros % 1_000_000, len, len].map(u32::to_le_bytes).concat());
        file.extend(packet);
    }
    file
}
