//! Octets: hexadecimal, little-endian numbers, reserved fields, and where two strings of octets part.

use std::collections::BTreeSet;

use super::said::Said;

/// The names of what is not canonical in captured octets.
pub(super) type Reasons = BTreeSet<&'static str>;

/// A field that leasehold ignores on input and writes as zero.
pub(super) struct Reserved {
    /// What the other decoder calls it, if it shows it.
    pub(super) key: Option<&'static str>,
    pub(super) at: usize,
    pub(super) len: usize,
    /// What to say if it is not zero.
    pub(super) reason: &'static str,
}

impl Reserved {
    pub(super) const fn new(key: &'static str, at: usize, len: usize, reason: &'static str) -> Self {
        Self { key: Some(key), at, len, reason }
    }

    /// Says what the octets hold there: not through leasehold, which does not keep it.
    pub(super) fn say(table: &[Self], octets: &[u8], said: &mut Said) -> Result<(), String> {
        for field in table {
            if let Some(key) = field.key {
                said.raw(key, part(octets, field.at, field.len)?);
            }
        }
        Ok(())
    }

    /// Zeroes the fields, and names those that were not zero.
    pub(super) fn clear(table: &[Self], octets: &mut [u8], reasons: &mut Reasons) -> Result<(), String> {
        for field in table {
            let len = octets.len();
            let behind = octets.get_mut(field.at..).and_then(|behind| behind.get_mut(..field.len));
            let place = behind.ok_or_else(|| format!("no {} octets at {} of {len}", field.len, field.at))?;
            if place.iter().any(|octet| *octet != 0) {
                reasons.insert(field.reason);
                place.fill(0);
            }
        }
        Ok(())
    }
}

pub(super) fn from_hex(text: &str) -> Result<Vec<u8>, String> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    let digits = digits.ok_or("not hexadecimal")?;
    let mut octets = Vec::with_capacity(digits.len() / 2);
    for pair in digits.chunks(2) {
        match *pair {
            [high, low] => octets.push(high << 4 | low),
            _ => return Err("an odd number of digits".to_owned()),
        }
    }
    Ok(octets)
}

pub(super) fn to_hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// `len` octets at `at`.
pub(super) fn part(octets: &[u8], at: usize, len: usize) -> Result<&[u8], String> {
    octets
        .get(at..)
        .and_then(|behind| behind.get(..len))
        .ok_or_else(|| format!("no {len} octets at {at} of {}", octets.len()))
}

/// The little-endian number in `len` octets at `at`.
pub(super) fn number(octets: &[u8], at: usize, len: usize) -> Result<u64, String> {
    Ok(little_endian(part(octets, at, len)?))
}

/// The same, as an offset or a length.
pub(super) fn count(octets: &[u8], at: usize, len: usize) -> Result<usize, String> {
    usize::try_from(number(octets, at, len)?).map_err(|error| error.to_string())
}

pub(super) fn little_endian(octets: &[u8]) -> u64 {
    octets.iter().rev().fold(0, |value, octet| value << 8 | u64::from(*octet))
}

pub(super) fn all_zero(octets: &[u8]) -> bool {
    octets.iter().all(|octet| *octet == 0)
}

/// Where a slice begins within the octets that it was cut out of.
pub(super) fn place(whole: &[u8], cut: &[u8]) -> Result<usize, String> {
    let at = (cut.as_ptr() as usize).checked_sub(whole.as_ptr() as usize);
    at.filter(|at| part(whole, *at, cut.len()).is_ok()).ok_or_else(|| "a slice of other octets".to_owned())
}

/// Both are the same octets, or an error that says where they part.
pub(super) fn same(what: &str, found: &[u8], expected: &[u8]) -> Result<(), String> {
    if found == expected {
        return Ok(());
    }
    let at = found.iter().zip(expected).take_while(|(left, right)| left == right).count();
    Err(format!(
        "{what}: {} octets, expected {}; they part at {at}: found {}, expected {}",
        found.len(),
        expected.len(),
        excerpt(found, at),
        excerpt(expected, at),
    ))
}

/// Both values are equal, or an error that shows them.
pub(super) fn equal<T: PartialEq + std::fmt::Debug>(
    what: &str,
    found: &T,
    expected: &T,
) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{what}: found {found:?}, expected {expected:?}")) }
}

fn excerpt(octets: &[u8], at: usize) -> String {
    let behind = octets.get(at..).unwrap_or_default();
    let shown = behind.get(..8).unwrap_or(behind);
    if shown.is_empty() { "the end".to_owned() } else { to_hex(shown) }
}
