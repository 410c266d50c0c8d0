use super::sample::octets;
use super::*;

const SERVER_CHALLENGE: [u8; 8] = [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef];
const CLIENT_CHALLENGE: [u8; 8] = [0xaa; 8];
const RANDOM_KEY: [u8; 16] = [0x55; 16];

fn accounts() -> Accounts {
    let mut accounts = Accounts::new();
    accounts.add("User", "Password");
    accounts.add("ünïß", "Pässwörd");
    accounts
}

fn acceptor() -> Acceptor {
    Acceptor::new(SERVER_CHALLENGE, Target::standalone("server", 0x01d0_aedc_adf5_a1a1))
}

fn user(name: &str, password: &str) -> Credentials {
    Credentials::User { name: name.to_owned(), password: password.to_owned(), domain: "Domain".to_owned() }
}

fn continued(step: Result<Step, Status>) -> Vec<u8> {
    match step {
        Ok(Step::Continue(token)) => token,
        other => panic!("{other:?}"),
    }
}

fn step(acceptor: &mut Acceptor, initiator: &mut Initiator, token: &[u8]) -> Result<Step, Status> {
    let challenge = continued(acceptor.step(token, &accounts()));
    let request = initiator.step(&challenge, CLIENT_CHALLENGE, RANDOM_KEY).unwrap();
    acceptor.step(&request, &accounts())
}

fn sign_in(credentials: Credentials) -> (Initiator, Result<Step, Status>) {
    let mut initiator = Initiator::new(credentials);
    let token = initiator.start();
    let done = step(&mut acceptor(), &mut initiator, &token);
    (initiator, done)
}

/// The tokens of a client that likes Kerberos better, and has a token of it.
fn prefers_kerberos(initiator: &mut Initiator) -> Vec<u8> {
    // 1.2.840.113554.1.2.2, then NTLMSSP.
    initiator.mech_types = octets("301706092a864886f712010202060a2b06010401823702020a");
    NegTokenInit { mech_types: &initiator.mech_types, mech_token: Some(&[0x60, 0x03, 1, 2, 3]) }.write()
}

/// NEGOTIATE where it was not the first token.
fn second_token(initiator: &Initiator) -> Vec<u8> {
    NegTokenResp { response_token: Some(&initiator.negotiate), ..NegTokenResp::default() }.write()
}

#[test]
fn hashes_and_keys_are_those_of_ms_nlmp_4_2_4() {
    let response_key = keys::response_key(&keys::nt_hash("Password"), "User", "Domain");
    assert_eq!(response_key[..], octets("0c868a403bfd7a93a3001ef22ef02e3f"));

    let pairs: [(AvId, &[u8]); 2] = [
        (AvId::NB_DOMAIN_NAME, &message::utf16("Domain")),
        (AvId::NB_COMPUTER_NAME, &message::utf16("Server")),
    ];
    let blob = message::client_challenge([0; 8], CLIENT_CHALLENGE, &pairs);
    let proof = keys::finish(keys::proof(&response_key, &SERVER_CHALLENGE, &blob));
    assert_eq!(proof[..], octets("68cd0ab851e51c96aabc927bebef6a1c"));

    let base_key = keys::base_key(&response_key, &proof);
    assert_eq!(base_key[..], octets("8de40ccadbc14a82f15cb0ad0de95ca3"));
    assert_eq!(keys::rc4k(&base_key, RANDOM_KEY)[..], octets("c5dad2544fc9799094ce1ce90bc9d03e"));
}

#[test]
fn names_are_hashed_in_upper_case_of_one_character_each() {
    // With Python's hashlib: HMAC-MD5 of `ÜNÏßDomäne` by the hash of `Password`.
    assert_eq!(
        keys::response_key(&keys::nt_hash("Password"), "ünïß", "Domäne")[..],
        octets("25ffd932d38e5dd7dc34dd16ade78c88"),
    );
}

#[test]
fn signatures_are_those_of_pyspnego() {
    let text = message::utf16("Plaintext");
    for (flags, sender, expected) in [
        (0xe008_0010, Sender::Client, "0100000074d045342c4f1cd500000000"),
        (0xe008_0010, Sender::Server, "01000000e01b84f3fbde503c00000000"),
        (0xc008_0010, Sender::Client, "010000001eed1d7c7e57c36a00000000"),
        (0xc008_0010, Sender::Server, "0100000070cb6b4f70443c5b00000000"),
        (0x4008_0010, Sender::Client, "010000006c8958e0f2ff80e400000000"),
        (0x4008_0010, Sender::Server, "010000002c8588a8250fa09900000000"),
        (0x2008_0010, Sender::Client, "0100000070352851f256430900000000"),
        (0x2008_0010, Sender::Server, "01000000a6139944aa644dd500000000"),
        (0x0000_8000, Sender::Client, "01000000000000000000000000000000"),
    ] {
        let (flags, expected) = (Flags(flags), octets(expected));
        assert_eq!(keys::signature(flags, &RANDOM_KEY, sender, &text).unwrap()[..], expected);
        assert!(keys::verify(flags, &RANDOM_KEY, sender, &text, &expected));
        for at in 0..16 {
            let mut changed = expected.clone();
            changed[at] ^= 1;
            assert!(!keys::verify(flags, &RANDOM_KEY, sender, &text, &changed), "octet {at}");
        }
    }
}

#[test]
fn a_sign_in_of_windows_gives_the_published_key_and_last_token() {
    let [negotiate, challenge, request] =
        [(sample::SETUP_REQUEST_1, 88), (sample::SETUP_RESPONSE_1, 72), (sample::SETUP_REQUEST_2, 88)]
            .map(|(message, at)| octets(message)[at..].to_vec());
    let Some(Token::Init(init)) = Token::read(&negotiate) else { panic!() };
    let Some(Token::Resp(resp)) = Token::read(&challenge) else { panic!() };
    let challenge = resp.response_token.unwrap();
    let offered = Challenge::read(challenge).unwrap();

    let mut accounts = Accounts::new();
    accounts.add("Administrator", "Password01!");
    let windows = |challenge: &[u8]| Acceptor {
        challenge: offered.server_challenge,
        target: Target::standalone("SUT311", 0),
        phase: Phase::Challenged {
            envelope: Envelope::Spnego(Offer {
                mech_types: init.mech_types.to_vec(),
                mic: MechListMic::Optional,
            }),
            flags: offered.flags,
            negotiate: init.mech_token.unwrap().to_vec(),
            challenge: challenge.to_vec(),
        },
    };
    assert_eq!(
        windows(challenge).step(&request, &accounts),
        Ok(Step::Done {
            // With the mechListMIC, which is the answer to the client's.
            token: octets(sample::SETUP_RESPONSE_2)[72..].to_vec(),
            identity: Identity::User { name: "Administrator".to_owned(), domain: "SUT311".to_owned() },
            session_key: Some(octets(sample::SESSION_KEY).try_into().unwrap()),
        }),
    );

    // The MIC covers every octet of the challenge.
    for at in 0..challenge.len() {
        let mut changed = challenge.to_vec();
        changed[at] ^= 1;
        assert_eq!(windows(&changed).step(&request, &accounts), Err(Status::INVALID_PARAMETER), "octet {at}");
    }
}

#[test]
fn a_client_signs_in_and_both_have_the_same_key() {
    for (sent, password, name) in
        [("User", "Password", "User"), ("uSER", "Password", "User"), ("ÜNÏß", "Pässwörd", "ünïß")]
    {
        let (initiator, done) = sign_in(user(sent, password));
        let Ok(Step::Done { token, identity, session_key }) = done else { panic!("{done:?}") };
        assert_eq!(identity, Identity::User { name: name.to_owned(), domain: "Domain".to_owned() });
        assert_eq!(session_key, Some(RANDOM_KEY));
        assert_eq!(initiator.session_key(), session_key);
        assert_eq!(initiator.finish(&token), Ok(()));

        let Some(Token::Resp(resp)) = Token::read(&token) else { panic!() };
        assert!(resp.mech_list_mic.is_some());
        let mut changed = token.clone();
        *changed.last_mut().unwrap() ^= 1;
        assert_eq!(initiator.finish(&changed), Err(InitiatorError::MechListMic));
    }
}

#[test]
fn a_wrong_password_and_an_unknown_user_fail_alike() {
    for (name, password) in [("User", "password"), ("User", ""), ("Nobody", "Password"), ("", "Password")] {
        assert_eq!(sign_in(user(name, password)).1, Err(LOGON_FAILURE), "{name}%{password}");
    }
}

#[test]
fn one_without_a_name_stays_anonymous_and_has_no_key() {
    let (initiator, done) = sign_in(Credentials::Anonymous);
    let Ok(Step::Done { token, identity, session_key }) = done else { panic!("{done:?}") };
    assert_eq!((identity, session_key, initiator.session_key()), (Identity::Anonymous, None, None));
    assert_eq!(token, octets("a1073005a0030a0100"));
    assert_eq!(initiator.finish(&token), Ok(()));
}

#[test]
fn ntlmssp_is_understood_without_spnego() {
    let mut acceptor = acceptor();
    let initiator = Initiator::new(user("User", "Password"));
    let message = continued(acceptor.step(&initiator.negotiate, &accounts()));
    let challenge = Challenge::read(&message).unwrap();
    let response_key = keys::response_key(&keys::nt_hash("Password"), "User", "Domain");
    let (mut request, security) =
        respond(&challenge, &response_key, ["User", "Domain"], CLIENT_CHALLENGE, RANDOM_KEY).unwrap();
    let mic = keys::message_mic(&security.key, [&initiator.negotiate, &message, &request]);
    message::put_mic(&mut request, keys::finish(mic));
    let done = acceptor.step(&request, &accounts());
    assert!(matches!(done, Ok(Step::Done { token, session_key: Some(RANDOM_KEY), .. }) if token.is_empty()));
    assert_eq!(acceptor.step(&request, &accounts()), Err(Status::INVALID_PARAMETER));
}

#[test]
fn a_client_without_a_key_exchange_has_the_base_key() {
    let mut initiator = Initiator::new(user("User", "Password"));
    initiator.negotiate = Negotiate { flags: ASKED.without(Flags::KEY_EXCH) }.write();
    let token = initiator.start();
    let done = step(&mut acceptor(), &mut initiator, &token);
    let Ok(Step::Done { token, session_key: Some(key), .. }) = done else { panic!("{done:?}") };
    assert_ne!(key, RANDOM_KEY);
    assert_eq!(initiator.session_key(), Some(key));
    assert_eq!(initiator.finish(&token), Ok(()));
}

#[test]
fn one_who_prefers_kerberos_gets_ntlmssp_and_must_sign_the_list() {
    let offered = || {
        let mut initiator = Initiator::new(user("User", "Password"));
        let mut acceptor = acceptor();
        let token = prefers_kerberos(&mut initiator);
        let answer = continued(acceptor.step(&token, &accounts()));
        let Some(Token::Resp(resp)) = Token::read(&answer) else { panic!() };
        assert_eq!((resp.state, resp.supported_mech), (Some(NegState::RequestMic), Some(NTLMSSP)));
        assert_eq!((resp.response_token, resp.mech_list_mic), (None, None));
        let next = second_token(&initiator);
        (acceptor, next, initiator)
    };

    let (mut acceptor, next, mut initiator) = offered();
    let done = step(&mut acceptor, &mut initiator, &next);
    let Ok(Step::Done { token, .. }) = done else { panic!("{done:?}") };
    assert_eq!(initiator.finish(&token), Ok(()));

    // Without the signature, or with one of another list.
    let (mut acceptor, next, mut initiator) = offered();
    initiator.mech_types = spnego::ntlmssp_only();
    assert_eq!(step(&mut acceptor, &mut initiator, &next), Err(Status::INVALID_PARAMETER));

    let (mut acceptor, next, mut initiator) = offered();
    let challenge = continued(acceptor.step(&next, &accounts()));
    let request = initiator.step(&challenge, CLIENT_CHALLENGE, RANDOM_KEY).unwrap();
    let Some(Token::Resp(resp)) = Token::read(&request) else { panic!() };
    let bare = NegTokenResp { mech_list_mic: None, ..resp }.write();
    assert_eq!(acceptor.step(&bare, &accounts()), Err(Status::INVALID_PARAMETER));

    // One who stays anonymous has nothing to sign with.
    let mut initiator = Initiator::new(Credentials::Anonymous);
    let mut acceptor = self::acceptor();
    continued(acceptor.step(&prefers_kerberos(&mut initiator), &accounts()));
    let next = second_token(&initiator);
    let done = step(&mut acceptor, &mut initiator, &next);
    assert!(matches!(done, Ok(Step::Done { identity: Identity::Anonymous, .. })));
}

#[test]
fn one_without_a_prepared_token_is_asked_for_it() {
    let mut acceptor = acceptor();
    let mut initiator = Initiator::new(user("User", "Password"));
    let offer = NegTokenInit { mech_types: &initiator.mech_types, mech_token: None }.write();
    let answer = continued(acceptor.step(&offer, &accounts()));
    let Some(Token::Resp(resp)) = Token::read(&answer) else { panic!() };
    assert_eq!((resp.state, resp.supported_mech), (Some(NegState::AcceptIncomplete), Some(NTLMSSP)));
    let next = second_token(&initiator);
    assert!(matches!(step(&mut acceptor, &mut initiator, &next), Ok(Step::Done { .. })));
}

#[test]
fn without_ntlmssp_there_is_nothing_to_agree_on() {
    let kerberos = octets("300b06092a864886f712010202");
    let offer = NegTokenInit { mech_types: &kerberos, mech_token: None }.write();
    assert_eq!(acceptor().step(&offer, &accounts()), Err(Status::INVALID_PARAMETER));
    assert_eq!(acceptor().step(&[], &accounts()), Err(Status::INVALID_PARAMETER));
}

/// Every truncation, and every bit turned over.
fn damaged(token: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let cut = (0..token.len()).map(|len| token[..len].to_vec());
    let turned = (0..token.len() * 8).map(|bit| {
        let mut turned = token.to_vec();
        turned[bit / 8] ^= 1 << (bit % 8);
        turned
    });
    cut.chain(turned)
}

#[test]
fn no_damage_to_a_token_makes_another_of_its_sender_or_a_panic() {
    let mut initiator = Initiator::new(user("User", "Password"));
    let mut refused = 0;
    for token in damaged(&initiator.start()) {
        let mut acceptor = acceptor();
        if let Ok(Step::Continue(challenge)) = acceptor.step(&token, &accounts()) {
            if let Ok(request) = initiator.step(&challenge, CLIENT_CHALLENGE, RANDOM_KEY) {
                // The MIC tells that NEGOTIATE was another one, the mechListMIC that the list was.
                let _ = acceptor.step(&request, &accounts());
            }
        } else {
            refused += 1;
        }
    }
    assert!(refused > 100);

    let (challenge, request) = {
        let mut acceptor = acceptor();
        let challenge = continued(acceptor.step(&initiator.start(), &accounts()));
        let request = initiator.step(&challenge, CLIENT_CHALLENGE, RANDOM_KEY).unwrap();
        (challenge, request)
    };
    let expected = Identity::User { name: "User".to_owned(), domain: "Domain".to_owned() };
    for token in damaged(&request) {
        let mut acceptor = acceptor();
        let _ = continued(acceptor.step(&initiator.start(), &accounts()));
        if let Ok(Step::Done { identity, session_key, .. }) = acceptor.step(&token, &accounts()) {
            assert_eq!((identity, session_key), (expected.clone(), Some(RANDOM_KEY)));
        }
    }
    for token in damaged(&challenge) {
        let mut acceptor = acceptor();
        let _ = continued(acceptor.step(&initiator.start(), &accounts()));
        let mut initiator = Initiator::new(user("User", "Password"));
        if let Ok(request) = initiator.step(&token, CLIENT_CHALLENGE, RANDOM_KEY) {
            let _ = acceptor.step(&request, &accounts());
        }
        let _ = initiator.finish(&token);
    }
}
