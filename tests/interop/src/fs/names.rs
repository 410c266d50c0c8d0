//! Names of files as clients write them: backslashes, a stream behind a colon, and no difference between cases.

use std::cmp::Ordering;

use leasehold::Status;

use super::nt;

/// A name below the root of a share, in the form in which names are compared. Without parts it is the root.
#[derive(Clone, Debug)]
pub struct Name {
    /// From the root down; the last one is the file.
    pub parts: Vec<String>,
    /// Empty for the data of the file itself.
    pub stream: String,
    /// The last part as it was written: a new file is shown so.
    pub called: String,
    /// The stream as it was written.
    pub stream_called: String,
}

/// Whether two names lead to the same, however they are written.
impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Name {}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Name {
    fn cmp(&self, other: &Self) -> Ordering {
        (&self.parts, &self.stream).cmp(&(&other.parts, &other.stream))
    }
}

impl Name {
    fn root() -> Self {
        Self { parts: Vec::new(), stream: String::new(), called: String::new(), stream_called: String::new() }
    }

    /// Reads a name of a CREATE (MS-SMB2 2.2.13, MS-FSCC 2.1.5).
    pub fn parse(text: &str) -> Result<Self, Status> {
        if text.is_empty() {
            return Ok(Self::root());
        }
        if text.starts_with('\\') {
            return Err(Status::INVALID_PARAMETER);
        }
        let (path, stream) = match text.split_once(':') {
            Some((path, stream)) => (path, parse_stream(stream).ok_or(nt::OBJECT_NAME_INVALID)?),
            None => (text, ""),
        };
        let parts: Vec<_> = path.split('\\').map(fold).collect();
        let wrong = |part: &String| {
            part.is_empty()
                || part == "."
                || part == ".."
                || part.contains(['*', '?', '<', '>', '"', '|', '/'])
                || part.contains(|c: char| c < ' ')
                || part.encode_utf16().count() > LONGEST
        };
        if parts.iter().any(wrong) {
            return Err(nt::OBJECT_NAME_INVALID);
        }
        let called = path.rsplit('\\').next().unwrap_or_default().to_owned();
        Ok(Self { parts, stream: fold(stream), called, stream_called: stream.to_owned() })
    }
}

/// What stands behind the first colon: `stream`, `stream:$DATA` or `:$DATA`.
fn parse_stream(text: &str) -> Option<&str> {
    let (stream, kind) = text.split_once(':').unwrap_or((text, "$DATA"));
    let sound = fold(kind) == "$data"
        && !stream.contains(['\\', '/', '*', '?', ':', '\0'])
        && stream.encode_utf16().count() <= LONGEST;
    let names_something = !stream.is_empty() || text.contains(':');
    (sound && names_something).then_some(stream)
}

/// UTF-16 units of a part of a name (MS-FSCC 2.1.5).
const LONGEST: usize = 255;

/// The form in which names are compared.
pub fn fold(name: &str) -> String {
    name.to_lowercase()
}

/// Whether a name is one of those that a pattern of QUERY_DIRECTORY stands for (MS-FSA 2.1.4.4). Both are folded. The
/// wildcards of DOS count as `*`, `?` and, `"`, as a dot or the end.
pub fn matches(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    // Where the last star stood, and how much of the name it has taken.
    let mut star: Option<(usize, usize)> = None;
    let (mut at, mut seen) = (0, 0);
    while seen < name.len() {
        match pattern.get(at) {
            Some('*' | '<') => {
                star = Some((at, seen));
                at += 1;
            }
            Some(one)
                if matches!(one, '?' | '>')
                    || Some(one) == name.get(seen)
                    || (*one == '"' && name.get(seen) == Some(&'.')) =>
            {
                at += 1;
                seen += 1;
            }
            Some(_) | None => match &mut star {
                Some((begin, taken)) => {
                    *taken += 1;
                    (at, seen) = (*begin + 1, *taken);
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(at).all(|left| matches!(left, '*' | '<' | '"'))
}

/// Whether a pattern stands for more than itself.
pub fn wild(pattern: &str) -> bool {
    pattern.contains(['*', '?', '<', '>', '"'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Result<(Vec<String>, String), Status> {
        Name::parse(text).map(|name| (name.parts, name.stream))
    }

    #[test]
    fn names_are_folded_and_taken_apart() {
        let parts = |parts: &[&str]| parts.iter().map(|part| (*part).to_owned()).collect::<Vec<_>>();
        assert_eq!(name(""), Ok((parts(&[]), String::new())));
        assert_eq!(name("Dir\\File.TXT"), Ok((parts(&["dir", "file.txt"]), String::new())));
        assert_eq!(name("f:Stream One:$DATA"), Ok((parts(&["f"]), "stream one".to_owned())));
        assert_eq!(name("f:s"), Ok((parts(&["f"]), "s".to_owned())));
        assert_eq!(name("f::$DATA"), Ok((parts(&["f"]), String::new())));
    }

    #[test]
    fn a_name_is_the_same_however_it_is_written() {
        let (one, other) = (Name::parse("Dir\\F:S").unwrap(), Name::parse("dir\\f:s").unwrap());
        assert_eq!(one, other);
        assert_eq!((&*one.called, &*one.stream_called), ("F", "S"));
    }

    #[test]
    fn names_that_are_none_are_refused() {
        assert_eq!(name("\\f"), Err(Status::INVALID_PARAMETER));
        for wrong in [
            "d\\",
            "d\\\\f",
            ".",
            "d\\..",
            "f*",
            "f:",
            "f:s:$INDEX",
            "f:a\\b",
            "f:s:$DATA:",
            "a\0",
            &"x".repeat(256),
        ] {
            assert_eq!(name(wrong), Err(nt::OBJECT_NAME_INVALID), "{wrong}");
        }
    }

    #[test]
    fn patterns_match_as_in_a_listing() {
        for (pattern, name, expected) in [
            ("*", "", true),
            ("*", "a.b", true),
            ("a*b*c", "a1b2b3c", true),
            ("a*b*c", "a1c", false),
            ("?.b", "a.b", true),
            ("?.b", ".b", false),
            ("a", "ab", false),
            ("", "a", false),
            ("<.b", "a.b", true),
            ("<\"*", "a.b", true),
            ("<\"*", "a", true),
            ("a\"b", "acb", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
