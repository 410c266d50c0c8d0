//! The octets that are measured and mutated, laid out by hand: no codec that is compared here has a part in them.

use crate::random::Random;

/// Example E13 of MS-SMB2 2.2.13.2: DH2Q, RqLs version 2, MxAc, QFid, as a request.
const E13: &str = "\
    3800000010000400000018002000000044483251000000000000000000000000\
    0000000000000000c4d3e2f1a6b588970123456789abcdef5000000010000400\
    000018003400000052714c73000000003c2d1e0f5a4b78698796a5b4c3d2e1f0\
    07000000040000000000000000000000443322116655887799aabbccddeeff00\
    0000000000000000180000001000040000001800000000004d78416300000000\
    000000001000040000001800000000005146696400000000";

pub(crate) const APP_INSTANCE_ID: [u8; 16] =
    [0x45, 0xbc, 0xa6, 0x6a, 0xef, 0xa7, 0xf7, 0x4a, 0x90, 0x08, 0xfa, 0x46, 0x2e, 0x14, 0x4d, 0x74];
pub(crate) const APP_INSTANCE_VERSION: [u8; 16] =
    [0xb9, 0x82, 0xd0, 0xb7, 0x3b, 0x56, 0x07, 0x4f, 0xa0, 0x7b, 0x52, 0x4a, 0x81, 0x16, 0xa0, 0x10];
/// SMB2_CREATE_OPEN_DEVICE_CONTEXT and the name that the POSIX extensions use: not ours, but defined.
pub(crate) const SVHDX: [u8; 16] =
    [0x9c, 0xcb, 0xcf, 0x9e, 0x04, 0xc1, 0xe6, 0x43, 0x98, 0x0e, 0x15, 0x8d, 0xa1, 0xf6, 0xec, 0x83];
pub(crate) const POSIX: [u8; 16] =
    [0x93, 0xad, 0x25, 0x50, 0x9c, 0xb4, 0x11, 0xe7, 0xb4, 0x23, 0x83, 0xde, 0x96, 0x8b, 0xcd, 0x7c];

const LEASE_KEY: [u8; 16] =
    [0x3c, 0x2d, 0x1e, 0x0f, 0x5a, 0x4b, 0x78, 0x69, 0x87, 0x96, 0xa5, 0xb4, 0xc3, 0xd2, 0xe1, 0xf0];
const PARENT_KEY: [u8; 16] =
    [0x44, 0x33, 0x22, 0x11, 0x66, 0x55, 0x88, 0x77, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff, 0x00];
const CREATE_GUID: [u8; 16] =
    [0xc4, 0xd3, 0xe2, 0xf1, 0xa6, 0xb5, 0x88, 0x97, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef];
const FILE_ID: [u8; 16] = [0x11, 0, 0, 0, 5, 0, 0, 0, 0xa9, 0, 0, 0, 4, 0, 0, 0];

/// How many variants of everything are cycled through, so that no branch and no constant is learned by heart.
pub(crate) const VARIANTS: usize = 16;

/// One variant of everything that is timed.
pub(crate) struct Sample {
    /// RqLs version 2, data alone.
    pub(crate) lease: Vec<u8>,
    /// DH2Q request, data alone.
    pub(crate) durable: Vec<u8>,
    /// RqLs version 2, a chain of one.
    pub(crate) lease_element: Vec<u8>,
    /// DH2Q request, a chain of one.
    pub(crate) durable_element: Vec<u8>,
    /// DH2Q, RqLs version 2.
    pub(crate) two: Vec<u8>,
    /// DH2Q, RqLs version 2, MxAc, QFid.
    pub(crate) four: Vec<u8>,
    /// Lease Break Notification.
    pub(crate) lease_break: Vec<u8>,
    /// Oplock Break Notification.
    pub(crate) oplock_break: Vec<u8>,
}

pub(crate) type Samples = &'static [Sample; VARIANTS];

/// The variants, alive for the rest of the run. The chain of four of the first is E13.
pub(crate) fn samples() -> Samples {
    let mut random = Random::new(0x1ea5_e401d);
    Box::leak(Box::new(std::array::from_fn(|variant| sample(variant, &mut random))))
}

fn sample(variant: usize, random: &mut Random) -> Sample {
    let (mut key, mut parent, mut guid, mut file_id) = (LEASE_KEY, PARENT_KEY, CREATE_GUID, FILE_ID);
    let (mut state, mut epoch, mut timeout) = (7, 0, 0);
    if variant > 0 {
        for octets in [&mut key, &mut parent, &mut guid, &mut file_id] {
            octets.fill_with(|| random.octet());
        }
        state = [0, 1, 3, 5, 7][random.below(5)];
        epoch = u16::from(random.octet());
        timeout = u32::from(random.octet()) * 1000;
    }
    // All with a parent key: one of the peers takes a version 2 with no flag set for a version 1.
    let lease = lease_v2(key, state, 4, parent, epoch);
    let durable = durable_v2(timeout, 0, guid);

    let mut lease_break = vec![44, 0];
    lease_break.extend(epoch.to_le_bytes());
    lease_break.extend([1, 0, 0, 0]);
    lease_break.extend(key);
    lease_break.extend(7_u32.to_le_bytes());
    lease_break.extend(state.to_le_bytes());
    lease_break.extend([0; 12]);
    let mut oplock_break = vec![24, 0, u8::from(variant.is_multiple_of(2)), 0, 0, 0, 0, 0];
    oplock_break.extend(file_id);

    Sample {
        lease_element: chain(&[(b"RqLs", &lease)]),
        durable_element: chain(&[(b"DH2Q", &durable)]),
        two: chain(&[(b"DH2Q", &durable), (b"RqLs", &lease)]),
        four: chain(&[(b"DH2Q", &durable), (b"RqLs", &lease), (b"MxAc", &[]), (b"QFid", &[])]),
        lease,
        durable,
        lease_break,
        oplock_break,
    }
}

/// Valid chains of a request, to be mutated.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let lease_v1 = |state: u32| [&LEASE_KEY[..], &state.to_le_bytes(), &[0; 12]].concat();
    let lease_2 = lease_v2(LEASE_KEY, 7, 4, PARENT_KEY, 1);
    let no_parent = lease_v2(LEASE_KEY, 3, 0, [0; 16], 0);
    let dh2q = durable_v2(120_000, 2, CREATE_GUID);
    let dh2c = [&FILE_ID[..], &CREATE_GUID, &[2, 0, 0, 0]].concat();
    let app_id = [&[20, 0, 0, 0][..], &PARENT_KEY].concat();
    let app_version = [&[24, 0, 0, 0, 0, 0, 0, 0][..], &FILE_ID].concat();
    vec![
        hex(E13),
        chain(&[(b"DHnQ", &[0; 16])]),
        chain(&[(b"DHnC", &FILE_ID)]),
        chain(&[(b"DH2C", &dh2c)]),
        chain(&[(b"RqLs", &lease_2)]),
        chain(&[(b"RqLs", &lease_v1(7))]),
        chain(&[(b"RqLs", &no_parent)]),
        chain(&[(b"DH2Q", &dh2q), (b"RqLs", &lease_2)]),
        chain(&[(b"DH2C", &dh2c), (b"RqLs", &lease_2)]),
        chain(&[(b"DHnC", &FILE_ID), (b"RqLs", &lease_v1(3))]),
        chain(&[(b"DHnQ", &[0; 16]), (b"RqLs", &lease_v1(5)), (b"MxAc", &[]), (b"QFid", &[])]),
        chain(&[(b"DH2Q", &dh2q), (&APP_INSTANCE_ID, &app_id), (&APP_INSTANCE_VERSION, &app_version)]),
        chain(&[(b"MxAc", &[0; 8]), (b"AlSi", &[0; 8]), (b"TWrp", &[9; 8]), (b"RqLs", &lease_2)]),
        chain(&[(b"FooOx", &[]), (b"AAPL", &[1; 24]), (b"RqLs", &lease_2), (&POSIX, &[0xa4, 1, 0, 0])]),
        chain(&[(b"RqLs", &lease_2), (b"RqLs", &lease_v1(1)), (b"DHnQ", &[0; 16]), (b"DHnQ", &[1; 16])]),
    ]
}

/// A chain with the DataOffset of the data that is not there, and nothing behind the last element: the form that
/// Windows and Samba send.
pub(crate) fn chain(contexts: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut octets = Vec::new();
    for (index, (name, data)) in contexts.iter().enumerate() {
        let data_offset = (16 + name.len()).next_multiple_of(8);
        let last = index + 1 == contexts.len();
        let next = if last { 0 } else { (data_offset + data.len()).next_multiple_of(8) };
        let end = octets.len() + if last { data_offset + data.len() } else { next };
        octets.extend(u32::try_from(next).unwrap_or(u32::MAX).to_le_bytes());
        octets.extend(16_u16.to_le_bytes());
        octets.extend(short(name.len()));
        octets.extend([0; 2]);
        octets.extend(short(data_offset));
        octets.extend(u32::try_from(data.len()).unwrap_or(u32::MAX).to_le_bytes());
        octets.extend(*name);
        octets.resize(octets.len().next_multiple_of(8), 0);
        octets.extend(*data);
        octets.resize(end, 0);
    }
    octets
}

/// The octets that hexadecimal digits stand for; anything else between them is passed over.
pub(crate) fn hex(digits: &str) -> Vec<u8> {
    let nibbles: Vec<u32> = digits.chars().filter_map(|digit| digit.to_digit(16)).collect();
    nibbles.chunks_exact(2).filter_map(|pair| u8::try_from(pair[0] * 16 + pair[1]).ok()).collect()
}

/// Hexadecimal digits, the middle left out if there are many.
pub(crate) fn digits(octets: &[u8]) -> String {
    const MOST: usize = 64;
    let all: String = octets.iter().take(MOST).map(|octet| format!("{octet:02x}")).collect();
    if octets.len() <= MOST { all } else { format!("{all}... ({} octets)", octets.len()) }
}

fn lease_v2(key: [u8; 16], state: u32, flags: u32, parent: [u8; 16], epoch: u16) -> Vec<u8> {
    let state_and_flags = [state.to_le_bytes(), flags.to_le_bytes()].concat();
    [&key[..], &state_and_flags, &[0; 8], &parent, &epoch.to_le_bytes(), &[0; 2]].concat()
}

fn durable_v2(timeout: u32, flags: u32, guid: [u8; 16]) -> Vec<u8> {
    [&timeout.to_le_bytes()[..], &flags.to_le_bytes(), &[0; 8], &guid].concat()
}

fn short(length: usize) -> [u8; 2] {
    u16::try_from(length).unwrap_or(u16::MAX).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_that_is_measured_is_example_13() {
        assert_eq!(samples()[0].four, hex(E13));
    }
}
