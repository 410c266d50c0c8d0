//! What leasehold says about octets, under the names that the other decoder uses, and the comparison of the two.

use std::fmt::{Debug, Display};

use leasehold::wire::{HeaderFlags, LeaseFlags};
use leasehold::{Access, CreateAction, CreateOptions, Disposition, LeaseState, OplockLevel, ShareMode};
use serde_json::{Map, Value};

use super::octets::{from_hex, little_endian, to_hex};

/// Fields in the order of the wire. One that occurs more than once is a list in the other decode.
#[derive(Debug, Default)]
pub(super) struct Said(Vec<Field>);

#[derive(Debug)]
struct Field {
    key: &'static str,
    what: What,
    presence: Presence,
}

#[derive(Debug, PartialEq, Eq)]
enum Presence {
    Required,
    /// The other decoder does not always show it.
    Optional,
}

#[derive(Debug)]
enum What {
    Number(u64),
    /// Hexadecimal in the other decode.
    Octets(Vec<u8>),
    /// Hexadecimal, or a little-endian number: octets that leasehold does not interpret.
    Raw(Vec<u8>),
    /// The text of a GUID; hexadecimal octets of the wire in the other decode.
    Guid(String),
    /// FILETIME; date and time in the other decode.
    Time(u64),
    /// The name of a create context: its text if it has one, else hexadecimal or the name that MS-SMB2 gives it.
    Name(Vec<u8>),
    Text(String),
}

/// Why a key of the other decode is not compared.
#[derive(Clone, Copy, Debug)]
enum Ignored {
    /// A heading, which has to be without a value.
    Heading,
    /// Made by the decoder, not found in the octets.
    Generated,
    /// Inside data that leasehold hands through untouched: compared as octets.
    HandedThrough,
}

/// A key that ends in a dot stands for all that begin with it.
const IGNORED: &[(&str, Ignored)] = &[
    // Around the contexts of a CREATE, and around one context's data.
    ("smb2.create.extrainfo", Ignored::Heading),
    ("smb2.create.chain_data", Ignored::Heading),
    // SecD and ExtA.
    ("smb2.sec_info_00", Ignored::Heading),
    ("smb2.file_full_ea_info", Ignored::Heading),
    ("nt.", Ignored::HandedThrough),
    ("smb2.ea.", Ignored::HandedThrough),
    ("smb2.next_offset", Ignored::HandedThrough),
    // QFid in a response.
    ("smb2.qfid_fid", Ignored::HandedThrough),
    // The number of the frame in which a file was opened.
    ("dcerpc.nt.open_frame", Ignored::Generated),
];

impl Said {
    pub(super) fn number(&mut self, key: &'static str, value: impl Into<u64>) {
        self.field(key, What::Number(value.into()));
    }

    /// A length or an offset.
    pub(super) fn count(&mut self, key: &'static str, value: usize) {
        self.field(key, What::Number(value as u64));
    }

    pub(super) fn octets(&mut self, key: &'static str, value: &[u8]) {
        self.field(key, What::Octets(value.to_vec()));
    }

    pub(super) fn raw(&mut self, key: &'static str, value: &[u8]) {
        self.field(key, What::Raw(value.to_vec()));
    }

    pub(super) fn guid(&mut self, key: &'static str, value: impl Display) {
        self.field(key, What::Guid(value.to_string()));
    }

    pub(super) fn time(&mut self, key: &'static str, value: u64) {
        self.field(key, What::Time(value));
    }

    pub(super) fn name(&mut self, key: &'static str, value: &[u8]) {
        self.field(key, What::Name(value.to_vec()));
    }

    pub(super) fn optional_text(&mut self, key: &'static str, value: String) {
        self.0.push(Field { key, what: What::Text(value), presence: Presence::Optional });
    }

    /// The size that a structure begins with: half of it is the fixed part, an odd one announces a variable part.
    pub(super) fn structure_size(&mut self, size: u16) {
        self.number("smb2.buffer_code", size);
        self.number("smb2.buffer_code.length", size >> 1);
        self.number("smb2.buffer_code.dynamic", size & 1);
    }

    pub(super) fn header_flags(&mut self, flags: HeaderFlags, asynchronous: bool) {
        let asynchronous = if asynchronous { HeaderFlags::ASYNC_COMMAND } else { HeaderFlags::empty() };
        let all = flags.union(asynchronous);
        self.number("smb2.flags", all.bits());
        for (key, flag) in HEADER_FLAGS {
            self.number(key, all.contains(*flag));
        }
        self.number("smb2.flags.priority_mask", all.intersection(HeaderFlags::PRIORITY_MASK).bits() >> 4);
    }

    /// The octet of every level, spelled out here.
    pub(super) fn level(&mut self, level: OplockLevel) {
        let octet: u64 = match level {
            OplockLevel::None => 0x00,
            OplockLevel::II => 0x01,
            OplockLevel::Exclusive => 0x08,
            OplockLevel::Batch => 0x09,
            OplockLevel::Lease => 0xff,
            OplockLevel::Undefined(octet) if matches!(octet.get(), 0x00 | 0x01 | 0x08 | 0x09 | 0xff) => {
                UNNAMED
            }
            OplockLevel::Undefined(octet) => octet.get().into(),
        };
        self.number("smb2.create.oplock", octet);
    }

    pub(super) fn disposition(&mut self, value: u32) {
        let named = match Disposition::from_wire(value) {
            Some(Disposition::Supersede) => 0,
            Some(Disposition::Open) => 1,
            Some(Disposition::Create) => 2,
            Some(Disposition::OpenIf) => 3,
            Some(Disposition::Overwrite) => 4,
            Some(Disposition::OverwriteIf) => 5,
            None if value <= 5 => UNNAMED,
            None => value.into(),
        };
        self.number("smb2.create.disposition", named);
    }

    pub(super) fn action(&mut self, value: u32) {
        let named = match CreateAction::from_wire(value) {
            Some(CreateAction::Superseded) => 0,
            Some(CreateAction::Opened) => 1,
            Some(CreateAction::Created) => 2,
            Some(CreateAction::Overwritten) => 3,
            None if value <= 3 => UNNAMED,
            None => value.into(),
        };
        self.number("smb2.create.action", named);
    }

    pub(super) fn access(&mut self, access: Access) {
        self.number("smb.access_mask", access.bits());
        for (key, flag) in ACCESS {
            self.number(key, access.contains(*flag));
        }
    }

    pub(super) fn attributes(&mut self, attributes: u32) {
        self.number("smb2.file_attribute", attributes);
        for (key, flag) in ATTRIBUTES {
            self.number(key, attributes & flag != 0);
        }
    }

    pub(super) fn sharing(&mut self, sharing: ShareMode) {
        self.number("smb.share_access", sharing.bits());
        self.number("smb.share.access.read", sharing.contains(ShareMode::READ));
        self.number("smb.share.access.write", sharing.contains(ShareMode::WRITE));
        self.number("smb.share.access.delete", sharing.contains(ShareMode::DELETE));
    }

    pub(super) fn options(&mut self, options: CreateOptions) {
        self.number("smb.create_options", options.bits());
        for (key, flag) in OPTIONS {
            self.number(key, options.contains(*flag));
        }
    }

    pub(super) fn lease_state(&mut self, state: LeaseState) {
        self.number("smb2.lease.lease_state", state.bits());
        self.number("smb2.lease.lease_state.read_caching", state.contains(LeaseState::READ));
        self.number("smb2.lease.lease_state.handle_caching", state.contains(LeaseState::HANDLE));
        self.number("smb2.lease.lease_state.write_caching", state.contains(LeaseState::WRITE));
    }

    /// The flags of a lease context, and of the messages of a break: one field to the other decoder.
    pub(super) fn lease_flags(&mut self, flags: LeaseFlags) {
        self.number("smb2.lease.lease_flags", flags.bits());
        self.lease_flag_bits(flags, flags.bits() & 0x1 != 0);
    }

    /// The bits alone, where the field itself is said already.
    pub(super) fn lease_flag_bits(&mut self, flags: LeaseFlags, ack_required: bool) {
        self.number("smb2.lease.lease_state.break_ack_required", ack_required);
        let breaking = flags.contains(LeaseFlags::BREAK_IN_PROGRESS);
        self.number("smb2.lease.lease_state.break_in_progress", breaking);
        let parent = flags.contains(LeaseFlags::PARENT_LEASE_KEY_SET);
        self.number("smb2.lease.lease_state.parent_lease_key_set", parent);
    }

    /// Compares with the other decode, both ways: what it has and we do not say is as wrong as what it lacks.
    pub(super) fn compare(&self, decoded: &Map<String, Value>) -> Result<(), String> {
        for (key, theirs) in decoded {
            let ours: Vec<&What> =
                self.0.iter().filter(|field| field.key == key).map(|field| &field.what).collect();
            let theirs = match theirs {
                Value::Array(list) => list.as_slice(),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
                    std::slice::from_ref(theirs)
                }
            };
            if ours.is_empty() {
                ignore(key, theirs)?;
                continue;
            }
            if ours.len() != theirs.len() {
                return Err(format!("{key}: {} values, expected {}", ours.len(), theirs.len()));
            }
            for (ours, theirs) in ours.into_iter().zip(theirs) {
                ours.compare(theirs).map_err(|error| format!("{key}: {error}"))?;
            }
        }
        let lacking =
            |field: &&Field| field.presence == Presence::Required && !decoded.contains_key(field.key);
        match self.0.iter().find(lacking) {
            Some(field) => Err(format!("{}: not in `decoded`", field.key)),
            None => Ok(()),
        }
    }

    fn field(&mut self, key: &'static str, what: What) {
        self.0.push(Field { key, what, presence: Presence::Required });
    }
}

impl What {
    fn compare(&self, theirs: &Value) -> Result<(), String> {
        match self {
            Self::Number(ours) => equal(ours, &number(theirs)?),
            Self::Octets(ours) => equal(&to_hex(ours), &to_hex(&from_hex(string(theirs)?)?)),
            Self::Raw(ours) if theirs.is_string() => {
                equal(&to_hex(ours), &to_hex(&from_hex(string(theirs)?)?))
            }
            Self::Raw(ours) if ours.len() <= 8 => equal(&little_endian(ours), &number(theirs)?),
            Self::Raw(_) => Err(format!("{theirs} for more than eight octets")),
            Self::Guid(ours) => equal(ours, &guid_text(&from_hex(string(theirs)?)?)?),
            Self::Time(ours) => equal(ours, &filetime(string(theirs)?)?),
            Self::Text(ours) => equal(ours, &string(theirs)?.to_owned()),
            Self::Name(ours) => {
                let theirs = string(theirs)?;
                let given = NAMES.iter().find(|(_, octets)| *octets == to_hex(ours)).map(|(name, _)| *name);
                if ours == theirs.as_bytes() || to_hex(ours) == theirs || given == Some(theirs) {
                    Ok(())
                } else {
                    Err(format!("found {}, expected {theirs}", to_hex(ours)))
                }
            }
        }
    }
}

fn equal<T: PartialEq + Debug>(ours: &T, theirs: &T) -> Result<(), String> {
    if ours == theirs { Ok(()) } else { Err(format!("found {ours:?}, expected {theirs:?}")) }
}

fn ignore(key: &str, values: &[Value]) -> Result<(), String> {
    let found = IGNORED.iter().find(
        |(name, _)| {
            if name.ends_with('.') { key.starts_with(name) } else { key == *name }
        },
    );
    match found {
        Some((_, Ignored::Generated | Ignored::HandedThrough)) => Ok(()),
        Some((_, Ignored::Heading)) if values.iter().all(|value| value == "") => Ok(()),
        Some((_, Ignored::Heading)) => Err(format!("{key}: a heading with a value")),
        None => Err(format!("{key}: a field that is neither compared nor ignored")),
    }
}

fn number(value: &Value) -> Result<u64, String> {
    value.as_u64().ok_or_else(|| format!("expected {value}, which is no number"))
}

fn string(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| format!("expected {value}, which is no string"))
}

/// MS-DTYP 2.3.4.2: the first three fields are little-endian, the last eight octets are as they are.
fn guid_text(wire: &[u8]) -> Result<String, String> {
    let [a, b, c, d, e, f, g, h, i, j, rest @ ..] = wire else {
        return Err("a GUID that is too short".to_owned());
    };
    let text = |octets: &[&u8]| octets.iter().map(|octet| format!("{octet:02x}")).collect::<String>();
    Ok(format!(
        "{}-{}-{}-{}-{}",
        text(&[d, c, b, a]),
        text(&[f, e]),
        text(&[h, g]),
        text(&[i, j]),
        to_hex(rest)
    ))
}

/// MS-DTYP 2.3.3: steps of 100 ns since 1601-01-01, from a time like `2026-11-21T02:04:43.697788700+0000`.
fn filetime(text: &str) -> Result<u64, String> {
    if text == "No time specified (0)" {
        return Ok(0);
    }
    let wrong = || format!("expected {text}, which is no time");
    let fields = text.strip_suffix("+0000").ok_or_else(wrong)?;
    let numbers: Result<Vec<u64>, _> = fields.split(['-', 'T', ':', '.']).map(str::parse).collect();
    let [year, month, day, hour, minute, second, nanosecond] = *numbers.map_err(|_| wrong())? else {
        return Err(wrong());
    };
    let date = (1601..10_000).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !date || hour > 23 || minute > 59 || second > 60 {
        return Err(wrong());
    }
    // Years begin in March here, so that a leap day is the last one of its year.
    let (year, month) = if month < 3 { (year - 1, month + 9) } else { (year, month - 3) };
    let days_of_years = year * 365 + year / 4 - year / 100 + year / 400;
    let days = days_of_years + (month * 153 + 2) / 5 + day - DAYS_BEFORE_1601;
    Ok((((days * 24 + hour) * 60 + minute) * 60 + second) * 10_000_000 + nanosecond / 100)
}

/// 584,694 from the first of March of the year 0 to 1601-01-01, and one more because a month begins with day 1.
const DAYS_BEFORE_1601: u64 = 584_695;

/// Said of a lawful value that leasehold has no name for. No decode of one field has it.
const UNNAMED: u64 = u64::MAX;

/// Names of contexts that are GUIDs (MS-SMB2 2.2.13.2).
const NAMES: &[(&str, &str)] = &[
    ("AppInstanceId", "45bca66aefa7f74a9008fa462e144d74"),
    ("AppInstanceVersion", "b982d0b73b56074fa07b524a8116a010"),
];

const HEADER_FLAGS: &[(&str, HeaderFlags)] = &[
    ("smb2.flags.response", HeaderFlags::SERVER_TO_REDIR),
    ("smb2.flags.async", HeaderFlags::ASYNC_COMMAND),
    ("smb2.flags.chained", HeaderFlags::RELATED_OPERATIONS),
    ("smb2.flags.signature", HeaderFlags::SIGNED),
    ("smb2.flags.dfs", HeaderFlags::DFS_OPERATIONS),
    ("smb2.flags.replay", HeaderFlags::REPLAY_OPERATION),
];

const ACCESS: &[(&str, Access)] = &[
    ("smb.access.read", Access::READ_DATA),
    ("smb.access.write", Access::WRITE_DATA),
    ("smb.access.append", Access::APPEND_DATA),
    ("smb.access.read_ea", Access::READ_EA),
    ("smb.access.write_ea", Access::WRITE_EA),
    ("smb.access.execute", Access::EXECUTE),
    ("smb.access.delete_child", Access::DELETE_CHILD),
    ("smb.access.read_attributes", Access::READ_ATTRIBUTES),
    ("smb.access.write_attributes", Access::WRITE_ATTRIBUTES),
    ("smb.access.delete", Access::DELETE),
    ("smb.access.read_control", Access::READ_CONTROL),
    ("smb.access.write_dac", Access::WRITE_DAC),
    ("smb.access.write_owner", Access::WRITE_OWNER),
    ("smb.access.synchronize", Access::SYNCHRONIZE),
    ("smb.access.system_security", Access::ACCESS_SYSTEM_SECURITY),
    ("smb.access.maximum_allowed", Access::MAXIMUM_ALLOWED),
    ("smb.access.generic_all", Access::GENERIC_ALL),
    ("smb.access.generic_execute", Access::GENERIC_EXECUTE),
    ("smb.access.generic_write", Access::GENERIC_WRITE),
    ("smb.access.generic_read", Access::GENERIC_READ),
];

/// MS-FSCC 2.6. leasehold keeps the field as a number.
const ATTRIBUTES: &[(&str, u32)] = &[
    ("smb2.file_attribute.read_only", 0x1),
    ("smb2.file_attribute.hidden", 0x2),
    ("smb2.file_attribute.system", 0x4),
    ("smb2.file_attribute.directory", 0x10),
    ("smb2.file_attribute.archive", 0x20),
    ("smb2.file_attribute.normal", 0x80),
    ("smb2.file_attribute.temporary", 0x100),
    ("smb2.file_attribute.sparse", 0x200),
    ("smb2.file_attribute.reparse", 0x400),
    ("smb2.file_attribute.compressed", 0x800),
    ("smb2.file_attribute.offline", 0x1000),
    ("smb2.file_attribute.not_content_indexed", 0x2000),
    ("smb2.file_attribute.encrypted", 0x4000),
    ("smb2.file_attribute.integrity_stream", 0x8000),
    ("smb2.file_attribute.no_scrub_data", 0x2_0000),
    ("smb2.file_attribute.recall_on_open", 0x4_0000),
    ("smb2.file_attribute.pinned", 0x8_0000),
    ("smb2.file_attribute.unpinned", 0x10_0000),
    ("smb2.file_attribute.recall_on_data_access", 0x40_0000),
];

/// MS-SMB2 2.2.13. Those that have no name in leasehold are numbers.
const OPTIONS: &[(&str, CreateOptions)] = &[
    ("smb.nt.create_options.directory", CreateOptions::DIRECTORY_FILE),
    ("smb.nt.create_options.write_through", CreateOptions::WRITE_THROUGH),
    ("smb.nt.create_options.sequential_only", CreateOptions::from_bits_retain(0x4)),
    ("smb.nt.create_options.intermediate_buffering", CreateOptions::from_bits_retain(0x8)),
    ("smb.nt.create_options.sync_io_alert", CreateOptions::from_bits_retain(0x10)),
    ("smb.nt.create_options.sync_io_nonalert", CreateOptions::from_bits_retain(0x20)),
    ("smb.nt.create_options.non_directory", CreateOptions::NON_DIRECTORY_FILE),
    ("smb.nt.create_options.create_tree_connection", CreateOptions::from_bits_retain(0x80)),
    ("smb.nt.create_options.complete_if_oplocked", CreateOptions::COMPLETE_IF_OPLOCKED),
    ("smb.nt.create_options.no_ea_knowledge", CreateOptions::from_bits_retain(0x200)),
    ("smb.nt.create_options.file_open_for_recovery", CreateOptions::from_bits_retain(0x400)),
    ("smb.nt.create_options.random_access", CreateOptions::from_bits_retain(0x800)),
    ("smb.nt.create_options.delete_on_close", CreateOptions::DELETE_ON_CLOSE),
    ("smb.nt.create_options.open_by_fileid", CreateOptions::from_bits_retain(0x2000)),
    ("smb.nt.create_options.backup_intent", CreateOptions::from_bits_retain(0x4000)),
    ("smb.nt.create_options.no_compression", CreateOptions::from_bits_retain(0x8000)),
    ("smb.nt.create_options.reserve_opfilter", CreateOptions::RESERVE_OPFILTER),
    ("smb.nt.create_options.open_reparse_point", CreateOptions::from_bits_retain(0x20_0000)),
    ("smb.nt.create_options.open_no_recall", CreateOptions::from_bits_retain(0x40_0000)),
    ("smb.nt.create_options.open_for_free_space_query", CreateOptions::from_bits_retain(0x80_0000)),
];
