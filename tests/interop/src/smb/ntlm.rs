//! Authentication by NTLMv2 (MS-NLMP) inside SPNEGO or without: the server's side is [`Acceptor`], the client's [`Initiator`].
//! Neither draws random numbers nor looks at a clock.

mod keys;
mod message;
#[cfg(test)]
pub(super) mod sample;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::mem;

use hmac::Mac;
use leasehold::Status;

use self::keys::Sender;
use self::message::{AV_FLAG_MIC, Authenticate, AvId, Challenge, Flags, Negotiate};
use super::spnego::{self, NTLMSSP, NegState, NegTokenInit, NegTokenResp, Token};

/// Who may sign in.
#[derive(Clone, Default)]
pub struct Accounts {
    /// By the name in upper case.
    by_name: BTreeMap<String, Account>,
}

#[derive(Clone)]
struct Account {
    name: String,
    nt_hash: [u8; 16],
}

impl Accounts {
    /// Nobody but those who stay anonymous.
    pub const fn new() -> Self {
        Self { by_name: BTreeMap::new() }
    }

    /// Adds an account, or gives it another password. Case does not matter in names.
    pub fn add(&mut self, name: &str, password: &str) {
        let account = Account { name: name.to_owned(), nt_hash: keys::nt_hash(password) };
        self.by_name.insert(keys::upper(name), account);
    }
}

/// What a server says of itself in CHALLENGE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    computer: String,
    domain: String,
    dns_computer: String,
    dns_domain: String,
    time: u64,
}

impl Target {
    /// A server that is in no domain. `time` is a FILETIME.
    pub fn standalone(name: &str, time: u64) -> Self {
        let computer: String = keys::upper(name).chars().take(15).collect();
        Self {
            domain: computer.clone(),
            computer,
            dns_computer: name.chars().take(255).collect(),
            dns_domain: String::new(),
            time,
        }
    }

    /// TargetInfo, MS-NLMP 2.2.2.1.
    fn info(&self) -> Vec<u8> {
        message::av_list(&[
            (AvId::NB_DOMAIN_NAME, &message::utf16(&self.domain)),
            (AvId::NB_COMPUTER_NAME, &message::utf16(&self.computer)),
            (AvId::DNS_DOMAIN_NAME, &message::utf16(&self.dns_domain)),
            (AvId::DNS_COMPUTER_NAME, &message::utf16(&self.dns_computer)),
            (AvId::TIMESTAMP, &self.time.to_le_bytes()),
        ])
    }
}

/// Who has signed in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Identity {
    Anonymous,
    /// The name is spelled as in [`Accounts`], the domain as the client had it.
    User {
        name: String,
        domain: String,
    },
}

/// What a token led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// STATUS_MORE_PROCESSING_REQUIRED with this token.
    Continue(Vec<u8>),
    /// The client has signed in; the token goes with the answer and is empty if there was no SPNEGO.
    Done {
        token: Vec<u8>,
        identity: Identity,
        /// `None` for [`Identity::Anonymous`].
        session_key: Option<[u8; 16]>,
    },
}

/// The server's side of one sign-in.
///
/// ```text
/// Fresh ── NTLMSSP is not what the client has prepared ──▶ Agreed
///   └────────────── NEGOTIATE ──────────────▶ Challenged ◀───┘ NEGOTIATE
///                                                 └── AUTHENTICATE ──▶ Over
/// ```
///
/// A token that is refused ends it as well.
#[derive(Debug)]
pub struct Acceptor {
    challenge: [u8; 8],
    target: Target,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    Fresh,
    Agreed(Offer),
    Challenged {
        envelope: Envelope,
        /// What was asked for and is on offer.
        flags: Flags,
        /// Both messages, which a MIC covers.
        negotiate: Vec<u8>,
        challenge: Vec<u8>,
    },
    Over,
}

/// How the messages of NTLMSSP travel.
#[derive(Debug)]
enum Envelope {
    Bare,
    Spnego(Offer),
}

/// What the client offered by SPNEGO.
#[derive(Debug)]
struct Offer {
    mech_types: Vec<u8>,
    mic: MechListMic,
}

/// RFC 4178 5: the list of mechanisms must be protected unless the client got the one it likes best.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MechListMic {
    Optional,
    Required,
}

impl Acceptor {
    /// `challenge` must be random.
    pub const fn new(challenge: [u8; 8], target: Target) -> Self {
        Self { challenge, target, phase: Phase::Fresh }
    }

    /// Takes the token of a SESSION_SETUP request.
    ///
    /// # Errors
    ///
    /// STATUS_LOGON_FAILURE for an unknown account and a wrong password, STATUS_INVALID_PARAMETER for all that is malformed, out of turn
    /// or not vouched for by its MIC.
    pub fn step(&mut self, token: &[u8], accounts: &Accounts) -> Result<Step, Status> {
        let token = Token::read(token);
        match (mem::replace(&mut self.phase, Phase::Over), token.ok_or(Status::INVALID_PARAMETER)?) {
            (Phase::Fresh, Token::Raw(message)) => self.negotiate(message, Envelope::Bare, None),
            (Phase::Fresh, Token::Init(init)) => self.offered(init),
            (Phase::Agreed(offer), Token::Resp(resp)) => {
                let message = resp.response_token.ok_or(Status::INVALID_PARAMETER)?;
                self.negotiate(message, Envelope::Spnego(offer), None)
            }
            (Phase::Challenged { envelope, flags, negotiate, challenge }, token) => {
                let (message, mic) = match (&envelope, token) {
                    (Envelope::Bare, Token::Raw(message)) => (message, None),
                    (Envelope::Spnego(_), Token::Resp(resp)) => {
                        (resp.response_token.ok_or(Status::INVALID_PARAMETER)?, resp.mech_list_mic)
                    }
                    _ => return Err(Status::INVALID_PARAMETER),
                };
                let proven = self.authenticate(accounts, flags, [&negotiate, &challenge, message])?;
                let token = match &envelope {
                    Envelope::Bare => Vec::new(),
                    Envelope::Spnego(offer) => offer.complete(&proven, mic)?,
                };
                let session_key = proven.security.map(|security| security.key);
                Ok(Step::Done { token, identity: proven.identity, session_key })
            }
            _ => Err(Status::INVALID_PARAMETER),
        }
    }

    /// RFC 4178 4.2.1 and 5: picks NTLMSSP. A token for any other mechanism is not looked at.
    fn offered(&mut self, init: NegTokenInit<'_>) -> Result<Step, Status> {
        let mic = match init.mechanisms().position(|mechanism| mechanism == NTLMSSP) {
            Some(0) => MechListMic::Optional,
            Some(_) => MechListMic::Required,
            None => return Err(Status::INVALID_PARAMETER),
        };
        let offer = Offer { mech_types: init.mech_types.to_vec(), mic };
        match (mic, init.mech_token) {
            (MechListMic::Optional, Some(message)) => {
                self.negotiate(message, Envelope::Spnego(offer), Some(NTLMSSP))
            }
            (MechListMic::Optional, None) | (MechListMic::Required, _) => {
                let state = match mic {
                    MechListMic::Optional => NegState::AcceptIncomplete,
                    MechListMic::Required => NegState::RequestMic,
                };
                self.phase = Phase::Agreed(offer);
                Ok(Step::Continue(
                    NegTokenResp {
                        state: Some(state),
                        supported_mech: Some(NTLMSSP),
                        ..NegTokenResp::default()
                    }
                    .write(),
                ))
            }
        }
    }

    /// Answers NEGOTIATE by CHALLENGE, MS-NLMP 3.2.5.1.1. `supported_mech` is for the first answer alone.
    fn negotiate(
        &mut self,
        message: &[u8],
        envelope: Envelope,
        supported_mech: Option<&[u8]>,
    ) -> Result<Step, Status> {
        let asked = Negotiate::read(message).ok_or(Status::INVALID_PARAMETER)?.flags;
        if !asked.has(Flags::UNICODE) {
            return Err(Status::INVALID_PARAMETER);
        }
        let flags = asked.and(NEGOTIABLE).with(Flags::NTLM).with(Flags::TARGET_INFO);
        let (flags, target_name) = if asked.has(Flags::REQUEST_TARGET) {
            (flags.with(Flags::TARGET_TYPE_SERVER), message::utf16(&self.target.computer))
        } else {
            (flags, Vec::new())
        };
        let challenge = Challenge {
            target_name: &target_name,
            flags,
            server_challenge: self.challenge,
            target_info: &self.target.info(),
        }
        .write();
        let token = match &envelope {
            Envelope::Bare => challenge.clone(),
            Envelope::Spnego(_) => NegTokenResp {
                state: Some(NegState::AcceptIncomplete),
                supported_mech,
                response_token: Some(&challenge),
                mech_list_mic: None,
            }
            .write(),
        };
        self.phase = Phase::Challenged { envelope, flags, negotiate: message.to_vec(), challenge };
        Ok(Step::Continue(token))
    }

    /// Judges AUTHENTICATE, the last of the three messages: MS-NLMP 3.2.5.1.2.
    fn authenticate(
        &self,
        accounts: &Accounts,
        offered: Flags,
        messages: [&[u8]; 3],
    ) -> Result<Proven, Status> {
        let [.., message] = messages;
        let request = Authenticate::read(message).ok_or(Status::INVALID_PARAMETER)?;
        if request.user.is_empty()
            && request.nt_response.is_empty()
            && matches!(request.lm_response, [] | [0])
        {
            return Ok(Proven { identity: Identity::Anonymous, security: None });
        }
        let name = message::from_utf16(request.user).ok_or(Status::INVALID_PARAMETER)?;
        let domain = message::from_utf16(request.domain).ok_or(Status::INVALID_PARAMETER)?;
        let account = accounts.by_name.get(&keys::upper(&name)).ok_or(LOGON_FAILURE)?;

        // What is shorter than this is LM or NTLMv1, or nothing.
        let (proof, blob) = match request.nt_response.split_first_chunk::<16>() {
            Some((proof, blob)) if blob.len() >= SHORTEST_BLOB => (proof, blob),
            _ => return Err(LOGON_FAILURE),
        };
        let response_key = keys::response_key(&account.nt_hash, &name, &domain);
        if keys::proof(&response_key, &self.challenge, blob).verify_slice(proof).is_err() {
            return Err(LOGON_FAILURE);
        }

        let base_key = keys::base_key(&response_key, proof);
        let flags = request.flags.and(offered);
        let key = match <[u8; 16]>::try_from(request.encrypted_key) {
            _ if !flags.has(Flags::KEY_EXCH) => base_key,
            Ok(encrypted) => keys::rc4k(&base_key, encrypted),
            // MS-NLMP 3.1.5.1.2: without SIGN and SEAL no key is exchanged, whatever is in the field.
            Err(_) if !flags.has(Flags::SIGN) && !flags.has(Flags::SEAL) => base_key,
            Err(_) => return Err(Status::INVALID_PARAMETER),
        };
        self.verify_mic(blob, &key, messages)?;
        let identity = Identity::User { name: account.name.clone(), domain };
        Ok(Proven { identity, security: Some(Security { key, flags }) })
    }

    fn verify_mic(&self, blob: &[u8], key: &[u8; 16], messages: [&[u8]; 3]) -> Result<(), Status> {
        let pairs = message::client_pairs(blob).ok_or(Status::INVALID_PARAMETER)?;
        let said = message::av_find(&pairs, AvId::FLAGS).and_then(|flags| flags.try_into().ok());
        if said.is_none_or(|flags| u32::from_le_bytes(flags) & AV_FLAG_MIC == 0) {
            return Ok(());
        }
        let [negotiate, challenge, message] = messages;
        let (mic, covered) = message::split_mic(message).ok_or(Status::INVALID_PARAMETER)?;
        keys::message_mic(key, [negotiate, challenge, &covered])
            .verify_slice(&mic)
            .map_err(|_| Status::INVALID_PARAMETER)
    }
}

/// What AUTHENTICATE has shown.
#[derive(Debug)]
struct Proven {
    identity: Identity,
    /// `None` for one who stays anonymous.
    security: Option<Security>,
}

/// The session security of NTLMSSP.
#[derive(Clone, Copy, Debug)]
struct Security {
    /// ExportedSessionKey.
    key: [u8; 16],
    flags: Flags,
}

impl Offer {
    /// The last token, which has a mechListMIC if the client sent one: RFC 4178 5. One who stays anonymous has no key to make it with.
    fn complete(&self, proven: &Proven, mic: Option<&[u8]>) -> Result<Vec<u8>, Status> {
        let own = match (proven.security, mic) {
            (None, _) => None,
            (Some(_), None) if self.mic == MechListMic::Required => return Err(Status::INVALID_PARAMETER),
            (Some(_), None) => None,
            (Some(Security { key, flags }), Some(mic)) => {
                if !keys::verify(flags, &key, Sender::Client, &self.mech_types, mic) {
                    return Err(Status::INVALID_PARAMETER);
                }
                keys::signature(flags, &key, Sender::Server, &self.mech_types)
            }
        };
        Ok(NegTokenResp {
            state: Some(NegState::AcceptCompleted),
            mech_list_mic: own.as_ref().map(<[u8; 16]>::as_slice),
            ..NegTokenResp::default()
        }
        .write())
    }
}

/// Who a client signs in as.
#[derive(Clone)]
pub enum Credentials {
    Anonymous,
    User { name: String, password: String, domain: String },
}

/// Why a client gives up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InitiatorError {
    #[error("malformed token, or one out of turn")]
    Malformed,
    #[error("the server wants another mechanism, or refuses")]
    Refused,
    #[error("the server does not do NTLMv2 in Unicode with extended session security")]
    Weak,
    #[error("the server has not seen the mechanisms that were offered")]
    MechListMic,
}

/// The client's side of one sign-in, by SPNEGO: [`start`](Self::start), [`step`](Self::step), [`finish`](Self::finish).
pub struct Initiator {
    credentials: Credentials,
    mech_types: Vec<u8>,
    /// NEGOTIATE, which the MIC covers.
    negotiate: Vec<u8>,
    security: Option<Security>,
}

impl Initiator {
    pub fn new(credentials: Credentials) -> Self {
        let flags = match &credentials {
            // There is no key to exchange or to sign with.
            Credentials::Anonymous => ASKED.without(Flags::SIGN).without(Flags::KEY_EXCH),
            Credentials::User { .. } => ASKED,
        };
        let negotiate = Negotiate { flags }.write();
        Self { credentials, mech_types: spnego::ntlmssp_only(), negotiate, security: None }
    }

    /// The token of the first SESSION_SETUP request.
    pub fn start(&self) -> Vec<u8> {
        NegTokenInit { mech_types: &self.mech_types, mech_token: Some(&self.negotiate) }.write()
    }

    /// Answers the token that came with STATUS_MORE_PROCESSING_REQUIRED. Both other arguments must be random; `exported_key` becomes the
    /// session key if the server exchanges keys.
    ///
    /// # Errors
    ///
    /// What the server sent is nothing to go on with.
    pub fn step(
        &mut self,
        token: &[u8],
        client_challenge: [u8; 8],
        exported_key: [u8; 16],
    ) -> Result<Vec<u8>, InitiatorError> {
        let Some(Token::Resp(resp)) = Token::read(token) else { return Err(InitiatorError::Malformed) };
        if resp.state == Some(NegState::Reject) || resp.supported_mech.is_some_and(|mech| mech != NTLMSSP) {
            return Err(InitiatorError::Refused);
        }
        let message = resp.response_token.ok_or(InitiatorError::Malformed)?;
        let challenge = Challenge::read(message).ok_or(InitiatorError::Malformed)?;
        let (message, security) = match &self.credentials {
            Credentials::Anonymous => (anonymous(challenge.flags), None),
            Credentials::User { name, password, domain } => {
                let response_key = keys::response_key(&keys::nt_hash(password), name, domain);
                let (mut request, security) =
                    respond(&challenge, &response_key, [name, domain], client_challenge, exported_key)?;
                let mic = keys::message_mic(&security.key, [&self.negotiate, message, &request]);
                message::put_mic(&mut request, keys::finish(mic));
                (request, Some(security))
            }
        };
        self.security = security;
        let mic = security.and_then(|Security { key, flags }| {
            keys::signature(flags, &key, Sender::Client, &self.mech_types)
        });
        Ok(NegTokenResp {
            response_token: Some(&message),
            mech_list_mic: mic.as_ref().map(<[u8; 16]>::as_slice),
            ..NegTokenResp::default()
        }
        .write())
    }

    /// Takes the token that came with STATUS_SUCCESS. It may be empty, and need not have a mechListMIC: one mechanism was offered, so
    /// none could be taken out of the list.
    ///
    /// # Errors
    ///
    /// The server does not end the exchange, or vouches for other mechanisms.
    pub fn finish(&self, token: &[u8]) -> Result<(), InitiatorError> {
        if token.is_empty() {
            return Ok(());
        }
        let Some(Token::Resp(resp)) = Token::read(token) else { return Err(InitiatorError::Malformed) };
        match (resp.state, resp.mech_list_mic, self.security) {
            (Some(NegState::Reject), ..) => Err(InitiatorError::Refused),
            (Some(NegState::AcceptIncomplete | NegState::RequestMic), ..) => Err(InitiatorError::Malformed),
            (Some(NegState::AcceptCompleted) | None, Some(mic), Some(Security { key, flags }))
                if !keys::verify(flags, &key, Sender::Server, &self.mech_types, mic) =>
            {
                Err(InitiatorError::MechListMic)
            }
            (Some(NegState::AcceptCompleted) | None, ..) => Ok(()),
        }
    }

    /// The session key, once [`step`](Self::step) has answered a CHALLENGE; never for [`Credentials::Anonymous`].
    pub fn session_key(&self) -> Option<[u8; 16]> {
        self.security.map(|security| security.key)
    }
}

/// AUTHENTICATE of one who stays anonymous, MS-NLMP 3.3.2.
fn anonymous(offered: Flags) -> Vec<u8> {
    let flags = offered.and(ASKED).without(Flags::SIGN).without(Flags::KEY_EXCH).with(Flags::ANONYMOUS);
    Authenticate { lm_response: &[0], nt_response: &[], domain: &[], user: &[], encrypted_key: &[], flags }
        .write()
}

/// AUTHENTICATE as yet without its MIC, MS-NLMP 3.1.5.1.2.
fn respond(
    challenge: &Challenge<'_>,
    response_key: &[u8; 16],
    [name, domain]: [&str; 2],
    client_challenge: [u8; 8],
    exported_key: [u8; 16],
) -> Result<(Vec<u8>, Security), InitiatorError> {
    let flags = challenge.flags.and(ASKED);
    if !flags.has(Flags::UNICODE.with(Flags::EXTENDED_SESSIONSECURITY)) {
        return Err(InitiatorError::Weak);
    }
    let mut pairs = message::av_pairs(challenge.target_info).ok_or(InitiatorError::Malformed)?;
    // A server without a clock gets the time that nobody checks.
    let time =
        message::av_find(&pairs, AvId::TIMESTAMP).and_then(|time| time.try_into().ok()).unwrap_or([0; 8]);
    let said = message::av_find(&pairs, AvId::FLAGS).and_then(|flags| flags.try_into().ok());
    let av_flags = (said.map_or(0, u32::from_le_bytes) | AV_FLAG_MIC).to_le_bytes();
    pairs.retain(|&(id, _)| id != AvId::FLAGS);
    pairs.push((AvId::FLAGS, &av_flags));

    let blob = message::client_challenge(time, client_challenge, &pairs);
    let proof = keys::finish(keys::proof(response_key, &challenge.server_challenge, &blob));
    let base_key = keys::base_key(response_key, &proof);
    let (key, encrypted_key) = if flags.has(Flags::KEY_EXCH) {
        (exported_key, keys::rc4k(&base_key, exported_key).to_vec())
    } else {
        (base_key, Vec::new())
    };
    let request = Authenticate {
        // MS-NLMP 3.1.5.1.2: nothing but zeros beside a time from the server.
        lm_response: &[0; 24],
        nt_response: &[&proof, blob.as_slice()].concat(),
        domain: &message::utf16(domain),
        user: &message::utf16(name),
        encrypted_key: &encrypted_key,
        flags,
    };
    Ok((request.write(), Security { key, flags }))
}

const LOGON_FAILURE: Status = Status::from_wire(0xc000_006d);

/// What a client of ours asks for.
const ASKED: Flags = Flags::UNICODE
    .with(Flags::REQUEST_TARGET)
    .with(Flags::SIGN)
    .with(Flags::NTLM)
    .with(Flags::ALWAYS_SIGN)
    .with(Flags::EXTENDED_SESSIONSECURITY)
    .with(Flags::TARGET_INFO)
    .with(Flags::KEY_128)
    .with(Flags::KEY_EXCH)
    .with(Flags::KEY_56);

/// What a client gets if it asks for it.
const NEGOTIABLE: Flags = ASKED.with(Flags::SEAL).with(Flags::VERSION);

/// A client challenge with no AV_PAIR.
const SHORTEST_BLOB: usize = 28;
