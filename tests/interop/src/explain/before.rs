//! Files that were there before the capture: what was opened and not created. A trace begins with an empty share, so a
//! client that nobody saw makes them first.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::replay::story::NOBODY;

/// What is known of the names on the shares of a server.
#[derive(Debug, Default)]
pub(super) struct Before {
    /// Share and name, folded: of these it is known since when they are there, or that they are not.
    known: BTreeSet<(String, String)>,
    /// Directories that have another name now: what is below them has, too.
    moved: BTreeSet<(String, String)>,
    there: Vec<There>,
}

/// Something that was there.
#[derive(Debug)]
struct There {
    share: String,
    name: String,
    attributes: u32,
    size: u64,
}

/// FILE_ATTRIBUTE_DIRECTORY
const DIRECTORY: u32 = 0x10;
/// FILE_CREATED, the CreateAction
const CREATED: u32 = 2;

impl Before {
    /// A CREATE was answered: `action` is its CreateAction.
    pub(super) fn opened(&mut self, share: &str, name: &str, action: u32, attributes: u32, size: u64) {
        let mut above = name;
        while let Some((directory, _)) = above.rsplit_once('\\') {
            self.was_there(share, directory, DIRECTORY, 0);
            above = directory;
        }
        // Of a file with streams only the stream is opened.
        let file = name.split_once(':').map_or(name, |(file, _)| file);
        if action == CREATED {
            self.learn(share, name);
            self.learn(share, file);
        } else {
            self.was_there(share, name, attributes, size);
            self.learn(share, file);
        }
    }

    /// A CREATE was refused because there is a file of that name.
    pub(super) fn collided(&mut self, share: &str, name: &str) {
        self.was_there(share, name, 0, 0);
    }

    /// There is no file of that name.
    pub(super) fn missing(&mut self, share: &str, name: &str) {
        self.learn(share, name);
    }

    /// A file has another name, or one more.
    pub(super) fn renamed(&mut self, share: &str, name: &str) {
        self.learn(share, name);
        self.moved.insert((fold(share), fold(name)));
    }

    /// The first lines of the trace, without `seq`.
    pub(super) fn lines(&self) -> Vec<Value> {
        if self.there.is_empty() {
            return Vec::new();
        }
        let request = |command: &str| json!({ "ev": "req", "cmd": command, "conn": NOBODY, "client": "g0", "session": "s0" });
        let answer = json!({ "ev": "rsp", "req": Value::Null, "status": 0 });
        let with = |mut line: Value, more: Value| {
            if let (Some(line), Value::Object(more)) = (line.as_object_mut(), more) {
                line.extend(more);
            }
            line
        };
        let mut lines = vec![
            json!({ "ev": "connect", "conn": NOBODY }),
            with(request("NEGOTIATE"), json!({ "dialects": ["0311"], "client_guid": "00".repeat(16) })),
            with(answer.clone(), json!({ "dialect": "0311" })),
            request("SESSION_SETUP"),
            with(answer.clone(), json!({ "session": "s0" })),
        ];
        // The ones above first.
        let mut there: Vec<&There> = self.there.iter().collect();
        there.sort_by_key(|there| (fold(&there.share), there.name.split('\\').count()));
        let mut share = None;
        for (number, There { share: path, name, attributes, size }) in (1..).zip(there) {
            if share != Some(fold(path)) {
                lines.push(with(request("TREE_CONNECT"), json!({ "path": path })));
                lines.push(with(answer.clone(), json!({ "tree": format!("t0-{path}") })));
                share = Some(fold(path));
            }
            let directory = attributes & DIRECTORY != 0;
            let of_it = json!({ "tree": format!("t0-{path}"), "h": format!("h0-{number}") });
            // FILE_OPEN_IF, and FILE_DIRECTORY_FILE or not
            let create = json!({
                "tree": format!("t0-{path}"), "name": name, "oplock": 0, "access": 0x0012_019f, "attrs": 0, "share": 7,
                "disposition": 3, "options": u32::from(directory),
            });
            lines.push(with(request("CREATE"), create));
            lines.push(with(answer.clone(), json!({ "h": format!("h0-{number}") })));
            if *size > 0 && !directory {
                lines.push(with(
                    with(request("WRITE"), of_it.clone()),
                    json!({ "offset": 0, "length": size }),
                ));
            }
            if !directory && *attributes != 0 {
                let basic = json!({ "basic": { "attrs": attributes } });
                lines.push(with(with(request("SET_INFO"), of_it.clone()), basic));
            }
            lines.push(with(request("CLOSE"), of_it));
        }
        lines.push(json!({ "ev": "disconnect", "conn": NOBODY }));
        lines
    }

    fn was_there(&mut self, share: &str, name: &str, attributes: u32, size: u64) {
        if !name.is_empty() && self.learn(share, name) && !self.has_moved(share, name) {
            let (share, name) = (share.to_owned(), name.to_owned());
            self.there.push(There { share, name, attributes, size });
        }
    }

    /// Whether nothing was known of the name.
    fn learn(&mut self, share: &str, name: &str) -> bool {
        self.known.insert((fold(share), fold(name)))
    }

    /// Whether the name is one of those that came with the new name of a directory.
    fn has_moved(&self, share: &str, name: &str) -> bool {
        let (share, name) = (fold(share), fold(name));
        let mut above = name.as_str();
        while let Some((directory, _)) = above.rsplit_once('\\') {
            if self.moved.contains(&(share.clone(), directory.to_owned())) {
                return true;
            }
            above = directory;
        }
        false
    }
}

/// The form in which names are compared: the data of a file has no name of its own.
fn fold(name: &str) -> String {
    let name = name.to_lowercase();
    let name = name.strip_suffix(":$data").unwrap_or(&name);
    name.strip_suffix(':').unwrap_or(name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names that are made first.
    fn made(before: &Before) -> Vec<String> {
        let lines = before.lines();
        let creates = lines.iter().filter(|line| line.get("cmd").is_some_and(|command| command == "CREATE"));
        creates.filter_map(|line| Some(line.get("name")?.as_str()?.to_owned())).collect()
    }

    #[test]
    fn what_is_opened_and_was_not_made_was_there() {
        let mut before = Before::default();
        before.opened("s", "d\\e\\f", 1, 0x20, 5);
        before.opened("s", "D\\E\\F::$DATA", 1, 0x20, 5);
        before.opened("s", "d\\made", CREATED, 0x20, 0);
        before.opened("s", "d\\made", 1, 0x20, 0);
        assert_eq!(made(&before), ["d", "d\\e", "d\\e\\f"]);
    }

    #[test]
    fn what_was_not_there_or_had_another_name_was_not() {
        let mut before = Before::default();
        before.missing("s", "f");
        before.opened("s", "f", 1, 0x20, 0);
        before.renamed("s", "d");
        before.opened("s", "d\\g", 1, 0x20, 0);
        assert_eq!(made(&before), [""; 0]);
        assert_eq!(before.lines(), [Value::Null; 0]);
    }
}
