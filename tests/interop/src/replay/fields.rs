//! The fields of one JSON object, each read as the type that it has to have.
//!
//! A field that is `null` counts as missing. Errors name the field.

use serde_json::{Map, Value};

/// One JSON object.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a>(&'a Map<String, Value>);

impl<'a> Fields<'a> {
    pub(super) fn of(value: &'a Value) -> Result<Self, String> {
        value.as_object().map(Self).ok_or_else(|| format!("not an object: {}", brief(value)))
    }

    pub(super) fn value(self, key: &str) -> Option<&'a Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    pub(super) fn object(self, key: &str) -> Result<Option<Fields<'a>>, String> {
        let read = |value| Fields::of(value).map_err(|why| format!("`{key}`: {why}"));
        self.value(key).map(read).transpose()
    }

    pub(super) fn objects(self, key: &str) -> Result<Option<Vec<Fields<'a>>>, String> {
        self.list(key, |value| Fields::of(value).ok())
    }

    pub(super) fn list<T>(
        self,
        key: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<Vec<T>>, String> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let entries = value.as_array().and_then(|list| list.iter().map(read).collect());
        entries.map(Some).ok_or_else(|| wrong(key, value))
    }

    pub(super) fn pairs<T>(
        self,
        key: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Vec<(String, T)>, String> {
        let Some(value) = self.value(key) else { return Ok(Vec::new()) };
        let pair = |(name, value): (&String, &'a Value)| Some((name.clone(), read(value)?));
        let pairs = value.as_object().and_then(|object| object.iter().map(pair).collect());
        pairs.ok_or_else(|| wrong(key, value))
    }

    pub(super) fn text(self, key: &str) -> Result<Option<&'a str>, String> {
        self.read(key, Value::as_str)
    }

    /// A label, owned.
    pub(super) fn label(self, key: &str) -> Result<Option<String>, String> {
        Ok(self.text(key)?.map(str::to_owned))
    }

    /// A flag that is written only when it is set; whatever stands there is yes, but for `false`.
    pub(super) fn flag(self, key: &str) -> bool {
        self.value(key).is_some_and(|value| value.as_bool() != Some(false))
    }

    /// Yes or no, or a number that is not 0 or is.
    pub(super) fn truth(self, key: &str) -> Result<Option<bool>, String> {
        self.read(key, |value| value.as_bool().or(value.as_u64().map(|number| number != 0)))
    }

    pub(super) fn number<T: TryFrom<u64>>(self, key: &str) -> Result<Option<T>, String> {
        self.read(key, |value| T::try_from(value.as_u64()?).ok())
    }

    /// Octets in hexadecimal.
    pub(super) fn octets(self, key: &str) -> Result<Option<Vec<u8>>, String> {
        self.read(key, |value| from_hex(value.as_str()?))
    }

    /// That many octets in hexadecimal.
    pub(super) fn array<const N: usize>(self, key: &str) -> Result<Option<[u8; N]>, String> {
        self.read(key, |value| from_hex(value.as_str()?)?.try_into().ok())
    }

    fn read<T>(self, key: &str, read: impl Fn(&'a Value) -> Option<T>) -> Result<Option<T>, String> {
        let Some(value) = self.value(key) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| wrong(key, value))
    }
}

/// A field that has to be there.
pub(super) fn need<T>(key: &str, field: Result<Option<T>, String>) -> Result<T, String> {
    field?.ok_or_else(|| format!("no `{key}`"))
}

pub(super) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    let octet = |pair: &[u8]| match pair {
        [high, low] => Some((high << 4) | low),
        _ => None,
    };
    digits?.chunks(2).map(octet).collect()
}

fn wrong(key: &str, value: &Value) -> String {
    format!("`{key}` is {}", brief(value))
}

/// So much of a value that one recognises it.
fn brief(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text,
    }
}
