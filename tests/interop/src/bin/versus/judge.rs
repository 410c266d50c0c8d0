//! What MS-SMB2 2.2.13.2 says about a chain of create contexts in a request, read off it as plainly as possible.
//!
//! It calls none of the codecs that it judges. Its rules are those of the "Recommended decoder" (MS-SMB2 2.2.13.2,
//! 3.3.5.9) and the sizes of the contexts that concern leases and durable handles.

use std::fmt;

use crate::octets::{APP_INSTANCE_ID, APP_INSTANCE_VERSION, POSIX, SVHDX};

/// What an invalid chain has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rule {
    Header,
    NextAlignment,
    NextInsideHeader,
    NextPastEnd,
    NameOffset,
    /// The text asks for 16 in effect and leaves open any later multiple of 8. Reported when nothing else is wrong.
    NameOffsetLater,
    NameShort,
    NamePastEnd,
    DataAlignment,
    DataOverlap,
    DataPastEnd,
    Size(Known),
}

/// A context whose data has a size that every decoder has to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Known {
    Dhnq,
    Dhnc,
    Dh2q,
    Dh2c,
    Rqls,
    AppInstanceId,
    AppInstanceVersion,
}

/// One element, as it lies in the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Element<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) data: &'a [u8],
}

/// What is to be said about a chain: the first fault of the framing, and the first context of a wrong size.
#[derive(Clone, Debug, Default)]
pub(crate) struct Judgment<'a> {
    /// Every element up to the first fault in the framing.
    pub(crate) elements: Vec<Element<'a>>,
    framing: Option<Rule>,
    /// Among the five that concern leases and durable handles, and among the two others.
    size: Option<Known>,
    size_app_instance: Option<Known>,
    either: bool,
}

/// How much of a chain a subject looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Name and data of every element.
    Framing,
    /// And the sizes of DHnQ, DHnC, DH2Q, DH2C and RqLs.
    Durable,
    /// And those of AppInstanceId and AppInstanceVersion.
    Full,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Valid,
    Invalid(Rule),
    /// The text leaves it open.
    Either,
}

impl Judgment<'_> {
    /// What a decoder that reaches so far has to answer.
    pub(crate) fn verdict(&self, reach: Reach) -> Verdict {
        let size = match reach {
            Reach::Framing => None,
            Reach::Durable => self.size,
            Reach::Full => self.size.or(self.size_app_instance),
        };
        match (self.framing, size) {
            (Some(Rule::NameOffsetLater), Some(known)) => Verdict::Invalid(Rule::Size(known)),
            (Some(rule), _) => Verdict::Invalid(rule),
            (None, Some(known)) => Verdict::Invalid(Rule::Size(known)),
            (None, None) if self.either => Verdict::Either,
            (None, None) => Verdict::Valid,
        }
    }
}

/// More elements than this may be refused: how far a decoder walks is its own affair.
const MANY: usize = 64;

pub(crate) fn judge(chain: &[u8]) -> Judgment<'_> {
    let mut judgment = Judgment { either: chain.is_empty(), ..Judgment::default() };
    let mut rest = chain;
    while !rest.is_empty() {
        match element(rest) {
            Err(rule) => {
                judgment.framing = Some(rule);
                break;
            }
            Ok(found) => {
                if found.later_name {
                    judgment.framing = Some(Rule::NameOffsetLater);
                }
                weigh(&mut judgment, found.element);
                judgment.elements.push(found.element);
                rest = if found.next == 0 { &[] } else { &rest[found.next..] };
            }
        }
    }
    judgment.either |= judgment.elements.len() > MANY;
    judgment
}

struct Found<'a> {
    element: Element<'a>,
    next: usize,
    later_name: bool,
}

/// The rules of MS-SMB2 2.2.13.2, in the order of the fields. Every number is 64 bits wide, so that no sum can overflow.
fn element(rest: &[u8]) -> Result<Found<'_>, Rule> {
    let remaining = rest.len() as u64;
    if remaining < 16 {
        return Err(Rule::Header);
    }
    let next = u64::from(long(rest, 0));
    let name_offset = u64::from(short(rest, 4));
    let name_length = u64::from(short(rest, 6));
    let data_offset = u64::from(short(rest, 10));
    let data_length = u64::from(long(rest, 12));

    if next % 8 != 0 {
        return Err(Rule::NextAlignment);
    }
    if next != 0 && next < 16 {
        return Err(Rule::NextInsideHeader);
    }
    if next != 0 && next > remaining - 16 {
        return Err(Rule::NextPastEnd);
    }
    let bound = if next == 0 { remaining } else { next };

    if name_offset < 16 || name_offset % 8 != 0 {
        return Err(Rule::NameOffset);
    }
    if name_length < 4 {
        return Err(Rule::NameShort);
    }
    let name_end = name_offset + name_length;
    if name_end > bound {
        return Err(Rule::NamePastEnd);
    }

    let data = if data_length == 0 {
        &[][..]
    } else {
        if data_offset % 8 != 0 {
            return Err(Rule::DataAlignment);
        }
        if data_offset < name_end {
            return Err(Rule::DataOverlap);
        }
        if data_offset + data_length > bound {
            return Err(Rule::DataPastEnd);
        }
        between(rest, data_offset, data_offset + data_length)
    };
    Ok(Found {
        element: Element { name: between(rest, name_offset, name_end), data },
        next: usize::try_from(next).unwrap_or(usize::MAX),
        later_name: name_offset != 16,
    })
}

/// Looks at the size of the data, if the name says what it has to be.
fn weigh(judgment: &mut Judgment<'_>, element: Element<'_>) {
    let size = element.data.len();
    let known = match element.name {
        b"DHnQ" => Some((Known::Dhnq, size == 16)),
        b"DHnC" => Some((Known::Dhnc, size == 16)),
        b"DH2Q" => Some((Known::Dh2q, size == 32)),
        b"DH2C" => Some((Known::Dh2c, size == 36)),
        b"RqLs" => Some((Known::Rqls, size == 32 || size == 52)),
        name if name == APP_INSTANCE_ID => Some((Known::AppInstanceId, size == 20)),
        name if name == APP_INSTANCE_VERSION => Some((Known::AppInstanceVersion, size == 24)),
        _ => None,
    };
    match known {
        Some((Known::AppInstanceId | Known::AppInstanceVersion, true)) => {
            // MS-SMB2 3.3.5.9.13, 3.3.5.9.15: a server MAY look at StructureSize.
            judgment.either |= usize::from(short(element.data, 0)) != size;
        }
        Some((known @ (Known::AppInstanceId | Known::AppInstanceVersion), false)) => {
            judgment.size_app_instance.get_or_insert(known);
        }
        Some((_, true)) => {}
        Some((known, false)) => {
            judgment.size.get_or_insert(known);
        }
        // Contexts that concern neither leases nor handles: who knows them may look into them, and nobody has to.
        None => {
            judgment.either |= match element.name {
                b"MxAc" => size != 0 && size != 8,
                b"QFid" => size != 0,
                b"AlSi" | b"TWrp" => size != 8,
                b"ExtA" | b"SecD" => true,
                b"AAPL" => size != 24,
                name => name == SVHDX || name == POSIX && size != 4,
            };
        }
    }
}

fn between(octets: &[u8], start: u64, end: u64) -> &[u8] {
    let index = |at| usize::try_from(at).unwrap_or(usize::MAX);
    &octets[index(start)..index(end)]
}

fn short(octets: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([octets[at], octets[at + 1]])
}

fn long(octets: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([octets[at], octets[at + 1], octets[at + 2], octets[at + 3]])
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Header => "fewer than 16 octets for a header",
            Self::NextAlignment => "Next is not a multiple of 8",
            Self::NextInsideHeader => "Next leads into its own header",
            Self::NextPastEnd => "Next leads past the last place for a header",
            Self::NameOffset => "NameOffset is below 16 or not a multiple of 8",
            Self::NameOffsetLater => "NameOffset is a later multiple of 8 than 16, which the text lets pass",
            Self::NameShort => "NameLength is below 4",
            Self::NamePastEnd => "the name leads out of its element",
            Self::DataAlignment => "DataOffset is not a multiple of 8",
            Self::DataOverlap => "the data overlaps header or name",
            Self::DataPastEnd => "the data leads out of its element",
            Self::Size(known) => return write!(f, "{known} of a wrong size"),
        })
    }
}

impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dhnq => "DHnQ",
            Self::Dhnc => "DHnC",
            Self::Dh2q => "DH2Q",
            Self::Dh2c => "DH2C",
            Self::Rqls => "RqLs",
            Self::AppInstanceId => "AppInstanceId",
            Self::AppInstanceVersion => "AppInstanceVersion",
        })
    }
}

/// The malformed chains of MS-SMB2 2.2.13.2, and whether it recommends to accept them.
pub(crate) const SHEET: [(&str, &str, bool); 21] = [
    ("M1", "000000001000040000001800000000", false),
    ("M2", "000000001000030000001800000000004d78410000000000", false),
    ("M3", "000000001000040000000000000000004d78", false),
    ("M4", "0000000018000400000000000000000000000000000000004d784163", false),
    ("M5", "000000001000040000001400040000005146696400000000", false),
    ("M6", "0000000010000400000010001000000044486e51000000000000000000000000", false),
    ("M7", "0000000010000400000018001100000044486e510000000000000000000000000000000000000000", false),
    (
        "M8",
        "1c0000001000040000001800000000004d784163000000000000000000000000\
         1000040000001800000000005146696400000000",
        false,
    ),
    ("M9", "400000001000040000001800000000004d78416300000000", false),
    ("M10", "180000001000040000001800000000004d78416300000000", false),
    ("M11", "080000001000040000001800000000004d78416300000000", false),
    ("M12", "000000001000040000000000000000004d784163", true),
    ("M13", "0000000010000400000000001000000044486e510000000000000000000000000000000000000000", false),
    (
        "M14",
        "1800000010000400000018001000000044486e5100000000\
         00000000100004000000180000000000\
         5146696400000000",
        false,
    ),
    ("M15", "000000001000040000001800000000004d78416300000000ffffffffffff", true),
    ("M16", "0000000010000400ffff1800000000004d78416300000000", true),
    ("M17", "0000000010000400000018000800000044486e51000000000000000000000000", false),
    (
        "M18",
        "0000000010000400000018002400000052714c7300000000\
         000000000000000000000000000000000000000000000000000000000000000000000000",
        false,
    ),
    (
        "M19",
        "000000001000040000001800200000004448324300000000\
         0000000000000000000000000000000000000000000000000000000000000000",
        false,
    ),
    ("M20", "00000000100005000000000000000000466f6f4f78000000", true),
    ("M21", "000000001000040000001800f8ffffff4d78416300000000", false),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::octets::{hex, seeds};

    #[test]
    fn the_judge_says_what_the_sheet_says() {
        for (row, digits, accept) in SHEET {
            let octets = hex(digits);
            let verdict = judge(&octets).verdict(Reach::Full);
            assert_eq!(verdict == Verdict::Valid, accept, "{row}: {verdict:?}");
            assert_eq!(matches!(verdict, Verdict::Invalid(_)), !accept, "{row}: {verdict:?}");
        }
    }

    #[test]
    fn every_seed_is_valid() {
        for seed in seeds() {
            assert_eq!(judge(&seed).verdict(Reach::Full), Verdict::Valid, "{}", crate::octets::digits(&seed));
        }
    }
}
