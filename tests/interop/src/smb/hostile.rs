//! Whatever a peer may send instead of messages, for fuzzing: nothing that reads them may panic, and what was read is read again
//! as the same.

use leasehold::Status;
use leasehold::wire::{Fixed as _, Header};

use super::info;
use super::ntlm::{Acceptor, Accounts, Credentials, Initiator, Target};
use super::request::{Command, Request};
use super::response::Response;
use super::spnego::Token;
use crate::fs::MemFs;

/// Takes the first octet for what the others are: the body of a request or response, tokens of those who sign in, or what
/// SET_INFO carries.
///
/// # Panics
///
/// If a law is broken.
pub fn hostile(input: &[u8]) {
    let Some((&first, octets)) = input.split_first() else { return };
    match first % 4 {
        0 => requests(octets),
        1 => responses(octets),
        2 => tokens(octets),
        _ => set_info(octets),
    }
}

/// Every command, with this body.
fn requests(body: &[u8]) {
    let message = [&[0; Header::LEN][..], body].concat();
    for request in commands().filter_map(|command| Request::decode(command, &message).ok()) {
        let mut again = vec![0; Header::LEN];
        // What is longer than its length field can say was not read either; a name of odd length may have been.
        match request.encode(&mut again) {
            Ok(()) => assert_eq!(Request::decode(request.command(), &again).as_ref(), Ok(&request)),
            Err(status) => assert!(matches!(request, Request::Create(_)), "{status}: {request:?}"),
        }
    }
}

/// Every command that is answered with this, with success and otherwise.
fn responses(body: &[u8]) {
    let message = [&[0; Header::LEN][..], body].concat();
    for (command, status) in commands().flat_map(|command| STATUSES.map(|status| (command, status))) {
        let Ok(response) = Response::decode(command, &message, status) else { continue };
        let mut again = vec![0; Header::LEN];
        assert_eq!(response.encode(&mut again), Ok(()), "{response:?}");
        assert_eq!(Response::decode(command, &again, status).as_ref(), Ok(&response));
    }
}

/// What two who sign in say to each other: each token has its length in two octets before it.
fn tokens(mut octets: &[u8]) {
    let mut accounts = Accounts::new();
    accounts.add("user", "password");
    let acceptor = || Acceptor::new([1; 8], Target::standalone("server", 2));
    let mut initiators = [credentials(), Credentials::Anonymous].map(Initiator::new);
    let [mut fresh, mut challenged] = [acceptor(), acceptor()];
    assert!(challenged.step(&initiators[0].start(), &accounts).is_ok(), "what our own client begins with");
    while let Some((&[low, high], rest)) = octets.split_first_chunk() {
        let len = usize::from(u16::from_le_bytes([low, high])).min(rest.len());
        let (token, rest) = rest.split_at(len);
        octets = rest;
        read_again(token);
        let _ = fresh.step(token, &accounts);
        let _ = challenged.step(token, &accounts);
        for initiator in &mut initiators {
            let _ = initiator.finish(token);
            // One that goes on with this has said something that can be read.
            if let Ok(answer) = initiator.step(token, [3; 8], [4; 16]) {
                assert!(Token::read(&answer).is_some());
                let _ = challenged.step(&answer, &accounts);
            }
        }
    }
}

fn read_again(token: &[u8]) {
    let written = match Token::read(token) {
        Some(Token::Init(init)) => {
            let _ = init.mechanisms().count();
            init.write()
        }
        Some(Token::Resp(resp)) => resp.write(),
        Some(Token::Raw(_)) | None => return,
    };
    assert_eq!(Token::read(&written), Token::read(token));
}

fn set_info(octets: &[u8]) {
    let Some((&class, buffer)) = octets.split_first() else { return };
    let mut fs = MemFs::with_limit(0);
    let volume = fs.volume("");
    let _ = info::parse_set_file(volume, class, buffer);
}

fn credentials() -> Credentials {
    Credentials::User { name: "user".to_owned(), password: "password".to_owned(), domain: String::new() }
}

fn commands() -> impl Iterator<Item = Command> {
    (0..19).filter_map(Command::from_wire)
}

/// STATUS_MORE_PROCESSING_REQUIRED, STATUS_BUFFER_OVERFLOW
const STATUSES: [Status; 6] = [
    Status::SUCCESS,
    Status::PENDING,
    Status::INVALID_PARAMETER,
    Status::ACCESS_DENIED,
    Status::from_wire(0xc000_0016),
    Status::from_wire(0x8000_0005),
];
