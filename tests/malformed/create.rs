//! CREATE requests and responses whose name or contexts lie where they cannot.

use leasehold::wire::{CreateRequest, CreateResponse};

/// A request with these four fields, and as many octets behind the fixed part.
fn create_request(name: (u16, u16), contexts: (u32, u32), behind: usize) -> Vec<u8> {
    let mut message = vec![0; 120 + behind];
    message[64] = 57;
    message[108..110].copy_from_slice(&name.0.to_le_bytes());
    message[110..112].copy_from_slice(&name.1.to_le_bytes());
    message[112..116].copy_from_slice(&contexts.0.to_le_bytes());
    message[116..120].copy_from_slice(&contexts.1.to_le_bytes());
    for (at, octet) in message.iter_mut().enumerate().skip(120) {
        *octet = at as u8;
    }
    message
}

/// A response with these two fields, and as many octets behind the fixed part.
fn create_response(contexts: (u32, u32), behind: usize) -> Vec<u8> {
    let mut message = vec![0; 152 + behind];
    message[64] = 89;
    message[144..148].copy_from_slice(&contexts.0.to_le_bytes());
    message[148..152].copy_from_slice(&contexts.1.to_le_bytes());
    for (at, octet) in message.iter_mut().enumerate().skip(152) {
        *octet = at as u8;
    }
    message
}

#[track_caller]
fn request_refused(message: &[u8], words: &str) {
    assert_eq!(CreateRequest::decode(message).unwrap_err().to_string(), words);
}

#[track_caller]
fn response_refused(message: &[u8], words: &str) {
    assert_eq!(CreateResponse::decode(message).unwrap_err().to_string(), words);
}

#[test]
fn create_request_borrows_name_and_contexts() {
    let message = create_request((120, 10), (136, 8), 24);
    let view = CreateRequest::decode(&message).unwrap();
    assert_eq!((view.name, view.contexts), (&message[120..130], &message[136..144]));
    // Windows' own trace: a name of 20 octets, contexts at 144. Neither has to touch the other or the end.
    let message = create_request((120, 20), (144, 8), 64);
    let view = CreateRequest::decode(&message).unwrap();
    assert_eq!((view.name, view.contexts), (&message[120..140], &message[144..152]));
    let message = create_request((126, 2), (128, 0x20), 40);
    let view = CreateRequest::decode(&message).unwrap();
    assert_eq!((view.name, view.contexts), (&message[126..128], &message[128..160]));
}

#[test]
fn create_request_with_a_name_of_odd_length_is_refused() {
    let words = "CREATE Request: NameLength 9 is odd (offset 110)";
    request_refused(&create_request((120, 9), (0, 0), 16), words);
}

#[test]
fn create_request_with_a_name_before_its_place_is_refused() {
    for at in [0, 64, 112, 118, 119] {
        let words = format!("CREATE Request: NameOffset {at}, at least 120 (offset 108)");
        request_refused(&create_request((at, 8), (0, 0), 16), &words);
    }
}

#[test]
fn create_request_with_a_name_past_the_end_is_refused() {
    let words = "CREATE Request: NameLength 18 leads past the end (offset 110)";
    request_refused(&create_request((120, 18), (0, 0), 16), words);
    let words = "CREATE Request: NameLength 2 leads past the end (offset 110)";
    request_refused(&create_request((136, 2), (0, 0), 16), words);
    request_refused(&create_request((0xfffe, 2), (0, 0), 16), words);
    let words = "CREATE Request: NameLength 65534 leads past the end (offset 110)";
    request_refused(&create_request((0xfffe, 0xfffe), (0, 0), 16), words);
    assert_eq!(CreateRequest::decode(&create_request((120, 16), (0, 0), 16)).unwrap().name.len(), 16);
}

#[test]
fn create_request_with_contexts_that_are_not_aligned_is_refused() {
    for at in [121, 124, 132, 0xffff_ffff_u32] {
        let words = format!("CREATE Request: CreateContextsOffset {at} is not a multiple of 8 (offset 112)");
        request_refused(&create_request((120, 0), (at, 8), 32), &words);
    }
}

#[test]
fn create_request_with_contexts_over_its_name_is_refused() {
    for at in [0, 64, 112, 120, 128] {
        let words = format!("CREATE Request: CreateContextsOffset {at}, at least 130 (offset 112)");
        request_refused(&create_request((120, 10), (at, 8), 32), &words);
    }
    let words = "CREATE Request: CreateContextsOffset 112, at least 120 (offset 112)";
    request_refused(&create_request((120, 0), (112, 8), 32), words);
}

#[test]
fn create_request_with_contexts_past_the_end_is_refused() {
    let words = "CREATE Request: CreateContextsLength 17 leads past the end (offset 116)";
    request_refused(&create_request((120, 10), (136, 17), 32), words);
    let words = "CREATE Request: CreateContextsLength 1 leads past the end (offset 116)";
    request_refused(&create_request((120, 10), (152, 1), 32), words);
    request_refused(&create_request((120, 10), (0xffff_fff8, 1), 32), words);
    let words = "CREATE Request: CreateContextsLength 4294967295 leads past the end (offset 116)";
    request_refused(&create_request((120, 10), (136, u32::MAX), 32), words);
    // 136 + 4294967160 is 0 in 32 bits.
    let words = "CREATE Request: CreateContextsLength 4294967160 leads past the end (offset 116)";
    request_refused(&create_request((120, 10), (136, 4_294_967_160), 32), words);
    let message = create_request((120, 10), (136, 16), 32);
    assert_eq!(CreateRequest::decode(&message).unwrap().contexts.len(), 16);
}

#[test]
fn contexts_offset_means_nothing_without_contexts() {
    for at in [0, 1, 64, 120, 130, 0xffff_ffff] {
        let message = create_request((120, 10), (at, 0), 16);
        assert_eq!(CreateRequest::decode(&message).unwrap().contexts, b"");
        assert_eq!(CreateResponse::decode(&create_response((at, 0), 0)).unwrap().contexts, b"");
    }
}

#[test]
fn create_request_of_another_size_is_refused() {
    let mut message = create_request((120, 0), (0, 0), 1);
    message[64] = 56;
    request_refused(&message, "CREATE Request: StructureSize 56, expected 57 (offset 64)");
}

#[test]
fn create_request_without_name_may_lack_the_octet_that_structure_size_counts() {
    for behind in [0, 1] {
        let message = create_request((120, 0), (0, 0), behind);
        let view = CreateRequest::decode(&message).unwrap();
        assert_eq!((view.name, view.contexts), (&b""[..], &b""[..]));
    }
}

#[test]
fn create_request_is_refused_when_cut_short() {
    let message = create_request((120, 10), (136, 24), 40);
    assert!(CreateRequest::decode(&message).is_ok());
    for len in 0..160 {
        let words = match len {
            0..120 => format!("CREATE Request: length {len}, expected 120 (offset 0)"),
            120..130 => "CREATE Request: NameLength 10 leads past the end (offset 110)".to_owned(),
            _ => "CREATE Request: CreateContextsLength 24 leads past the end (offset 116)".to_owned(),
        };
        request_refused(&message[..len], &words);
    }
}

#[test]
fn create_response_borrows_its_contexts() {
    let message = create_response((152, 24), 24);
    assert_eq!(CreateResponse::decode(&message).unwrap().contexts, &message[152..]);
    let message = create_response((160, 8), 24);
    assert_eq!(CreateResponse::decode(&message).unwrap().contexts, &message[160..168]);
}

#[test]
fn create_response_without_contexts_may_have_88_or_89_octets() {
    for behind in [0, 1] {
        assert_eq!(CreateResponse::decode(&create_response((0, 0), behind)).unwrap().contexts, b"");
    }
}

#[test]
fn create_response_with_contexts_that_are_not_aligned_is_refused() {
    let words = "CREATE Response: CreateContextsOffset 153 is not a multiple of 8 (offset 144)";
    response_refused(&create_response((153, 8), 24), words);
}

#[test]
fn create_response_with_contexts_over_its_fixed_part_is_refused() {
    for at in [0, 64, 144] {
        let words = format!("CREATE Response: CreateContextsOffset {at}, at least 152 (offset 144)");
        response_refused(&create_response((at, 8), 24), &words);
    }
}

#[test]
fn create_response_with_contexts_past_the_end_is_refused() {
    let words = "CREATE Response: CreateContextsLength 25 leads past the end (offset 148)";
    response_refused(&create_response((152, 25), 24), words);
    let words = "CREATE Response: CreateContextsLength 1 leads past the end (offset 148)";
    response_refused(&create_response((176, 1), 24), words);
    response_refused(&create_response((0xffff_fff8, 1), 24), words);
    let words = "CREATE Response: CreateContextsLength 4294967144 leads past the end (offset 148)";
    response_refused(&create_response((152, 4_294_967_144), 24), words);
}

#[test]
fn create_response_of_another_size_is_refused() {
    let mut message = create_response((0, 0), 1);
    message[64] = 88;
    response_refused(&message, "CREATE Response: StructureSize 88, expected 89 (offset 64)");
}

#[test]
fn create_response_is_refused_when_cut_short() {
    let message = create_response((152, 24), 24);
    assert!(CreateResponse::decode(&message).is_ok());
    for len in 0..176 {
        let words = match len {
            0..152 => format!("CREATE Response: length {len}, expected 152 (offset 0)"),
            _ => "CREATE Response: CreateContextsLength 24 leads past the end (offset 148)".to_owned(),
        };
        response_refused(&message[..len], &words);
    }
}
