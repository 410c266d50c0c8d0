//! Captures of a server, told. What is expected was read from the packets with another dissector.

use std::fs;
use std::path::Path;

use leasehold_interop::explain::{explain, record};

/// A lease that is broken, acknowledged a second later, and who waited for that.
const BREAK: &str = r#"c1: 127.0.0.1:54422 to 127.0.0.1:4704
      0.000 ms      1  c1: connected
      5.986 ms      8  c1 g1 labuser: logged in, session s1
     10.472 ms     14  c1 g1 labuser: CREATE "lease_breaking1.dat", lease 0df0dde0fe0fdcbaf20f221f01f02345 RWH: granted h1, lease RWH
     10.805 ms     16  c1 g1: break of lease 0df0dde0fe0fdcbaf20f221f01f02345 "lease_breaking1.dat" RWH to RH, to be acknowledged, by the CREATE "lease_breaking1.dat" of c1
     11.045 ms     18  c1 g1 labuser: CREATE "lease_breaking1.dat", lease 0df0dde0fe0fdcbaf20f221f01f02345 RWH: granted h2, lease RWH, which is being broken
     11.121 ms     20  c1 g1 labuser: closed h2 "lease_breaking1.dat"
     12.329 ms     21  c1: CREATE "lease_breaking1.dat" waits
   1011.679 ms     23  c1 g1 labuser: acknowledged lease 0df0dde0fe0fdcbaf20f221f01f02345 "lease_breaking1.dat" down to RH
   1012.013 ms     24  c1 g1 labuser: CREATE "lease_breaking1.dat", after 1001.433 ms: granted h3, NONE
no departures
"#;

/// A handle with an oplock that is kept while its client is away.
const RECONNECT: &str = r#"c1: 127.0.0.1:40070 to 127.0.0.1:4704
c2: 127.0.0.1:40074 to 127.0.0.1:4704
      0.000 ms      1  c1: connected
     25.958 ms      8  c1 g1 labuser: logged in, session s1
     34.544 ms     14  c1 g1 labuser: CREATE "durable_open_reopen2_Osr2WfP6.dat", oplock BATCH, DHnQ: granted h1, BATCH, durable (DHnQ)
     34.584 ms     15  c1: disconnected, leaving h1 "durable_open_reopen2_Osr2WfP6.dat" (DHnQ)
     34.679 ms     17  c2: connected
     49.023 ms     24  c2 g1 labuser: logged in, session s2, in place of s1
     64.184 ms     27  c2 g1 labuser: asks for h1 "durable_open_reopen2_Osr2WfP6.dat" back by DHnC
     69.399 ms     28  c2 g1 labuser: CREATE "durable_open_reopen2_Osr2WfP6.dat", DHnC: granted h2 in place of h1 "durable_open_reopen2_Osr2WfP6.dat", BATCH
     73.341 ms     30  c2 g1 labuser: closed h2 "durable_open_reopen2_Osr2WfP6.dat"
no departures
"#;

fn capture(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("captures");
    fs::read(folder.join(name).with_extension("pcap")).unwrap()
}

fn told(capture: &[u8]) -> String {
    explain(capture).unwrap().iter().map(ToString::to_string).collect()
}

/// The packets of a capture with their times, in microseconds.
fn packets(capture: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let word = |octets: &[u8], at: usize| u32::from_le_bytes(octets[at..at + 4].try_into().unwrap());
    let mut rest = &capture[24..];
    let mut packets = Vec::new();
    while !rest.is_empty() {
        let len = word(rest, 8) as usize;
        packets.push((
            u64::from(word(rest, 0)) * 1_000_000 + u64::from(word(rest, 4)),
            rest[16..16 + len].to_vec(),
        ));
        rest = &rest[16 + len..];
    }
    packets
}

/// A capture of these packets: pcap of that link type.
fn pcap(link: u32, packets: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let mut octets = [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 0x0004_0000, link].map(u32::to_le_bytes).concat();
    for (at, data) in packets {
        let len = data.len() as u32;
        let head = [(at / 1_000_000) as u32, (at % 1_000_000) as u32, len, len];
        octets.extend(head.map(u32::to_le_bytes).concat());
        octets.extend(data);
    }
    octets
}

/// A capture of these packets: pcapng.
fn pcapng(packets: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut block = |kind: u32, body: &[u8]| {
        let padded = body.len().next_multiple_of(4);
        let len = (padded as u32 + 12).to_le_bytes();
        octets.extend([&kind.to_le_bytes()[..], &len, body, &vec![0; padded - body.len()], &len].concat());
    };
    block(0x0a0d_0d0a, &[&0x1a2b_3c4d_u32.to_le_bytes()[..], &[1, 0, 0, 0], &[0xff; 8]].concat());
    block(1, &[1, 0, 0, 0, 0, 0, 4, 0]);
    for (at, data) in packets {
        let len = data.len() as u32;
        let head = [0, (at >> 32) as u32, *at as u32, len, len].map(u32::to_le_bytes).concat();
        block(6, &[&head[..], data].concat());
    }
    octets
}

#[test]
fn a_break_is_told() {
    assert_eq!(told(&capture("break")), BREAK);
}

#[test]
fn a_handle_that_is_given_back_is_told() {
    assert_eq!(told(&capture("reconnect")), RECONNECT);
}

#[test]
fn the_story_is_the_same_in_every_kind_of_capture() {
    let packets = packets(&capture("break"));
    assert_eq!(told(&pcapng(&packets)), BREAK);
    let behind = |head: &[u8]| -> Vec<(u64, Vec<u8>)> {
        packets.iter().map(|(at, data)| (*at, [head, &data[14..]].concat())).collect()
    };
    let cooked = [&[0; 14][..], &[8, 0]].concat();
    let cooked2 = [&[8, 0][..], &[0; 18]].concat();
    for (link, head) in [(0, &[2, 0, 0, 0][..]), (101, &[]), (113, &cooked), (276, &cooked2)] {
        assert_eq!(told(&pcap(link, &behind(head))), BREAK, "link type {link}");
    }
}

#[test]
fn segments_that_come_twice_or_early_change_nothing() {
    let packets = packets(&capture("break"));
    let mut twice: Vec<_> = packets.iter().flat_map(|packet| [packet.clone(), packet.clone()]).collect();
    let without_numbers = |story: String| -> Vec<String> {
        story.lines().map(|line| line.get(26..).unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(without_numbers(told(&pcap(1, &twice))), without_numbers(BREAK.to_owned()));
    // The negotiation of one side, in two segments that overlap and come in the wrong order.
    let split = |from: usize, to: usize| {
        let (at, data) = &packets[2];
        let (head, body) = data.split_at(66);
        let mut head = head.to_vec();
        let number = u32::from_be_bytes(head[38..42].try_into().unwrap()) + from as u32;
        head[38..42].copy_from_slice(&number.to_be_bytes());
        let len = (52 + to - from) as u16;
        head[16..18].copy_from_slice(&len.to_be_bytes());
        (*at, [&head[..], &body[from..to]].concat())
    };
    twice.clear();
    twice.extend(packets[..2].iter().cloned());
    twice.extend([split(90, 230), split(0, 100)]);
    twice.extend(packets[3..].iter().cloned());
    assert_eq!(without_numbers(told(&pcap(1, &twice))), without_numbers(BREAK.to_owned()));
}

#[test]
fn a_server_that_grants_otherwise_departs() {
    // LeaseState in the answer to the first CREATE: RWH becomes RH.
    let mut packets = packets(&capture("break"));
    let (_, data) = &mut packets[13];
    let key = data.windows(4).position(|octets| octets == b"RqLs").unwrap() + 8;
    assert_eq!(data[key + 16], 7);
    data[key + 16] = 3;
    let story = told(&pcap(1, &packets));
    let departure = "     10.472 ms     14    DEPARTS CREATE of frame 13: lease state: expected RH, came RWH \
                     [MS-SMB2 3.3.5.9.8, 3.3.5.9.11; MS-FSA 2.1.5.18]\n";
    assert!(story.contains(departure), "{story}");
    assert!(story.ends_with("1 departure\n"), "{story}");
}

#[test]
fn what_was_not_captured_is_said_and_nothing_behind_it_is_judged() {
    let packets = packets(&capture("break"));
    let without = |gone: &[usize]| {
        let left = packets.iter().enumerate().filter(|(index, _)| !gone.contains(index));
        told(&pcap(1, &left.map(|(_, packet)| packet.clone()).collect::<Vec<_>>()))
    };
    // The notification.
    let story = without(&[15]);
    assert!(story.contains("note: c1: 112 octets of the server were not captured"), "{story}");
    assert!(story.contains("  not judged from here on"), "{story}");
    assert!(story.contains("acknowledged lease"), "{story}");
    assert!(story.ends_with("no departures\n"), "{story}");
    // The beginning of the connection.
    let story = without(&[0, 1, 2, 3, 4]);
    assert!(story.contains("note: c1: this connection began before the capture"), "{story}");
    assert!(story.contains("c1 labuser: CREATE \"lease_breaking1.dat\""), "{story}");
    assert!(story.ends_with("no departures\n"), "{story}");
}

#[test]
fn encrypted_messages_are_left_out_and_it_is_said_once() {
    let mut packets = packets(&capture("reconnect"));
    for (_, data) in packets.iter_mut().skip(10).take(4) {
        assert_eq!(data[70..74], *b"\xfeSMB");
        data[70] = 0xfd;
    }
    let story = told(&pcap(1, &packets));
    assert_eq!(story.matches("note: c1: encrypted messages, left out").count(), 1, "{story}");
    assert!(!story.contains("DEPARTS"), "{story}");
    assert!(story.contains("c2 g1 labuser: asks for a handle that is not known back by DHnC"), "{story}");
}

#[test]
fn what_is_no_capture_is_refused() {
    assert_eq!(
        explain(&b"{\"ev\":\"meta\"}"[..]).err().as_deref(),
        Some("no capture: neither pcap nor pcapng")
    );
    assert!(explain(&b""[..]).is_err());
}

#[test]
fn a_recording_of_a_capture_is_a_trace() {
    let recordings = record(&capture("reconnect")[..]).unwrap();
    let [recording] = recordings.as_slice() else { panic!("one server") };
    let report = leasehold_interop::replay::replay("smb2.durable-open/reconnect", &recording.lines);
    assert!(report.passed(), "{report}");
}

/// Damages the octets of a capture, one after the other, and cuts it short.
fn damage(whole: &[u8], step: usize) {
    let told = |octets: &[u8]| explain(octets).map(|stories| stories.iter().map(ToString::to_string).count());
    for at in (0..whole.len()).step_by(step) {
        let mut damaged = whole.to_vec();
        damaged[at] ^= if at % 2 == 0 { 0xff } else { 0x11 };
        let _ = told(&damaged);
    }
    for end in (0..whole.len()).step_by(step * 5) {
        let _ = told(&whole[..end]);
    }
}

#[test]
fn a_damaged_capture_is_told_as_far_as_it_goes() {
    damage(&capture("break"), 1);
}

#[test]
fn so_is_one_with_a_reconnect() {
    damage(&capture("reconnect"), 3);
}

#[test]
fn so_is_one_in_the_other_format() {
    damage(&pcapng(&packets(&capture("break"))), 3);
}
