//! Every truncation of every context and of every body.

use leasehold::wire::{
    AppInstanceId, AppInstanceVersion, DurableHandleReconnect, DurableHandleReconnectV2,
    DurableHandleRequest, DurableHandleRequestV2, DurableHandleResponse, DurableHandleResponseV2, Fixed,
    Header, Lease, LeaseAck, LeaseBreak, LeaseV1, LeaseV2, OplockBreak, ResiliencyRequest,
};

use super::{accepted, hex, walk};

/// One element of a chain: where it starts, how long its name is, where its data lies in it and how much that is.
type Place = (usize, usize, usize, usize);

/// What has to be said about a chain of these elements when only `len` octets of it are left.
fn missing(places: &[Place], len: usize) -> Option<String> {
    if len == 0 {
        return None;
    }
    let words = |problem: String, at: usize| Some(format!("Create Context: {problem} (offset {at})"));
    if len < 16 {
        return words(format!("length {len}, expected 16"), 0);
    }
    for (place, following) in places.iter().zip(&places[1..]) {
        if len < following.0 + 16 {
            return words(format!("Next {} leads past the end", following.0 - place.0), place.0);
        }
    }
    let (start, name_len, data_at, data_len) = *places.last().unwrap();
    if len < start + 16 + name_len {
        return words(format!("NameLength {name_len} leads past the end"), start + 6);
    }
    if len < start + data_at + data_len && data_len != 0 {
        return words(format!("DataLength {data_len} leads past the end"), start + 12);
    }
    None
}

macro_rules! cut_short {
    ($($name:ident: [$($place:expr),*], $octets:literal;)*) => {$(
        #[test]
        fn $name() {
            let (chain, places) = (hex($octets), [$($place),*]);
            assert_eq!(accepted(&chain).len(), places.len());
            for len in 0..chain.len() {
                let words = walk(&chain[..len]).err().map(|error| error.to_string());
                assert_eq!(words, missing(&places, len), "{len} octets");
            }
        }
    )*};
}

// The names are those of MS-SMB2 2.2.13.2 and 2.2.14.2.
cut_short! {
    durable_request_is_refused_when_cut_short: [(0, 4, 24, 16)],
        "0000000010000400000018001000000044486e51000000000000000000000000
         0000000000000000";
    durable_response_is_refused_when_cut_short: [(0, 4, 24, 8)],
        "0000000010000400000018000800000044486e51000000000000000000000000";
    durable_reconnect_is_refused_when_cut_short: [(0, 4, 24, 16)],
        "0000000010000400000018001000000044486e43000000001100000005000000
         a900000004000000";
    durable_request_v2_is_refused_when_cut_short: [(0, 4, 24, 32)],
        "000000001000040000001800200000004448325100000000c0d4010002000000
         0000000000000000c4d3e2f1a6b588970123456789abcdef";
    durable_response_v2_is_refused_when_cut_short: [(0, 4, 24, 8)],
        "00000000100004000000180008000000444832510000000060ea000000000000";
    durable_reconnect_v2_is_refused_when_cut_short: [(0, 4, 24, 36)],
        "0000000010000400000018002400000044483243000000001100000005000000
         a900000004000000c4d3e2f1a6b588970123456789abcdef02000000";
    lease_v1_is_refused_when_cut_short: [(0, 4, 24, 32)],
        "0000000010000400000018002000000052714c73000000003c2d1e0f5a4b7869
         8796a5b4c3d2e1f007000000000000000000000000000000";
    lease_v2_is_refused_when_cut_short: [(0, 4, 24, 52)],
        "0000000010000400000018003400000052714c73000000003c2d1e0f5a4b7869
         8796a5b4c3d2e1f0070000000400000000000000000000004433221166558877
         99aabbccddeeff0000000000";
    app_instance_id_is_refused_when_cut_short: [(0, 16, 32, 20)],
        "0000000010001000000020001400000045bca66aefa7f74a9008fa462e144d74
         140000005e3c1a7d4f2b6d4a8c9e0f1a2b3c4d5e";
    app_instance_version_is_refused_when_cut_short: [(0, 16, 32, 24)],
        "00000000100010000000200018000000b982d0b73b56074fa07b524a8116a010
         180000000000000002000000000000000700000000000010";
    request_chain_is_refused_when_cut_short:
        [(0, 4, 24, 32), (0x38, 4, 24, 52), (0x88, 4, 24, 0), (0xa0, 4, 24, 0)],
        "3800000010000400000018002000000044483251000000000000000000000000
         0000000000000000c4d3e2f1a6b588970123456789abcdef5000000010000400
         000018003400000052714c73000000003c2d1e0f5a4b78698796a5b4c3d2e1f0
         07000000040000000000000000000000443322116655887799aabbccddeeff00
         0000000000000000180000001000040000001800000000004d78416300000000
         000000001000040000001800000000005146696400000000";
    response_chain_is_refused_when_cut_short:
        [(0, 4, 24, 8), (0x20, 4, 24, 52), (0x70, 4, 24, 8), (0x90, 4, 24, 32)],
        "200000001000040000001800080000004d7841630000000000000000ff011f00
         5000000010000400000018003400000052714c73000000003c2d1e0f5a4b7869
         8796a5b4c3d2e1f0070000000400000000000000000000004433221166558877
         99aabbccddeeff00010000000000000020000000100004000000180008000000
         444832510000000060ea00000000000000000000100004000000180020000000
         51466964000000002c0a000000000100efbeadde000000000000000000000000
         0000000000000000";
    reconnect_chain_is_refused_when_cut_short: [(0, 4, 24, 36), (0x40, 4, 24, 52)],
        "4000000010000400000018002400000044483243000000001100000005000000
         a900000004000000c4d3e2f1a6b588970123456789abcdef0000000000000000
         0000000010000400000018003400000052714c73000000003c2d1e0f5a4b7869
         8796a5b4c3d2e1f0070000000400000000000000000000004433221166558877
         99aabbccddeeff0001000000";
    app_instance_chain_is_refused_when_cut_short: [(0, 4, 24, 32), (0x38, 16, 32, 20), (0x70, 16, 32, 24)],
        "380000001000040000001800200000004448325100000000c0d4010002000000
         0000000000000000c4d3e2f1a6b588970123456789abcdef3800000010001000
         000020001400000045bca66aefa7f74a9008fa462e144d74140000005e3c1a7d
         4f2b6d4a8c9e0f1a2b3c4d5e0000000000000000100010000000200018000000
         b982d0b73b56074fa07b524a8116a01018000000000000000200000000000000
         0700000000000010";
}

/// Every proper prefix, and one octet more than there should be.
#[track_caller]
fn other_lengths_are_refused<T: Fixed + std::fmt::Debug>(octets: &str, structure: &str) {
    let mut octets = hex(octets);
    let size = octets.len();
    assert!(T::decode(&octets).is_ok());
    octets.push(0);
    for len in (0..size).chain([size + 1]) {
        let words = format!("{structure}: length {len}, expected {size} (offset 0)");
        assert_eq!(T::decode(&octets[..len]).unwrap_err().to_string(), words);
    }
}

macro_rules! other_lengths {
    ($($name:ident: $body:ty, $structure:literal, $octets:literal;)*) => {$(
        #[test]
        fn $name() {
            other_lengths_are_refused::<$body>($octets, $structure);
        }
    )*};
}

other_lengths! {
    durable_handle_request_has_16_octets: DurableHandleRequest, "Durable Handle Request",
        "00000000000000000000000000000000";
    durable_handle_response_has_8_octets: DurableHandleResponse, "Durable Handle Response",
        "0000000000000000";
    durable_handle_reconnect_has_16_octets: DurableHandleReconnect, "Durable Handle Reconnect",
        "1100000005000000a900000004000000";
    durable_handle_request_v2_has_32_octets: DurableHandleRequestV2, "Durable Handle Request V2",
        "c0d40100020000000000000000000000c4d3e2f1a6b588970123456789abcdef";
    durable_handle_response_v2_has_8_octets: DurableHandleResponseV2, "Durable Handle Response V2",
        "60ea000000000000";
    durable_handle_reconnect_v2_has_36_octets: DurableHandleReconnectV2, "Durable Handle Reconnect V2",
        "1100000005000000a900000004000000c4d3e2f1a6b588970123456789abcdef02000000";
    lease_v1_has_32_octets: LeaseV1, "Lease Context V1",
        "3c2d1e0f5a4b78698796a5b4c3d2e1f007000000000000000000000000000000";
    lease_v2_has_52_octets: LeaseV2, "Lease Context V2",
        "3c2d1e0f5a4b78698796a5b4c3d2e1f007000000040000000000000000000000
         443322116655887799aabbccddeeff0000000000";
    app_instance_id_has_20_octets: AppInstanceId, "App Instance Id",
        "140000005e3c1a7d4f2b6d4a8c9e0f1a2b3c4d5e";
    app_instance_version_has_24_octets: AppInstanceVersion, "App Instance Version",
        "180000000000000002000000000000000700000000000010";
    oplock_break_has_24_octets: OplockBreak, "Oplock Break",
        "18000100000000001100000005000000a900000004000000";
    lease_break_has_44_octets: LeaseBreak, "Lease Break Notification",
        "2c000200010000003c2d1e0f5a4b78698796a5b4c3d2e1f00700000003000000
         000000000000000000000000";
    lease_ack_has_36_octets: LeaseAck, "Lease Break Acknowledgment",
        "24000000000000003c2d1e0f5a4b78698796a5b4c3d2e1f0030000000000000000000000";
    resiliency_request_has_8_octets: ResiliencyRequest, "Network Resiliency Request",
        "c0d4010000000000";
    header_has_64_octets: Header, "SMB2 Header",
        "fe534d424000000000000000120000000100000000000000ffffffffffffffff
         0000000000000000190000000004000000000000000000000000000000000000";
}

#[test]
fn lease_of_any_other_length_is_refused() {
    for len in (0..100).filter(|len| *len != 32 && *len != 52) {
        let words = format!("Lease Context: length {len}, expected 32 or 52 (offset 0)");
        assert_eq!(Lease::decode(&vec![0; len]).unwrap_err().to_string(), words);
    }
}
