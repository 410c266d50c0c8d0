//! Which sections decide where a server departs from the machine. The machine does not say why it decides, so they are known
//! by what is different.

use super::super::request::{Command, Request};
use super::super::response::BreakKind;
use super::super::trace::{Event, Line};

/// What happened otherwise.
struct Row {
    /// The command, or what it is about: a CREATE that asks for a handle back goes by the name of its context.
    place: &'static str,
    /// What the difference says, in any place of it; empty for everything.
    says: &'static str,
    sections: &'static str,
}

const fn row(place: &'static str, says: &'static str, sections: &'static str) -> Row {
    Row { place, says, sections }
}

/// The first row that fits counts. An empty place is any.
const TABLE: &[Row] = &[
    row("lease break", "epoch", "MS-SMB2 3.3.4.7, 3.3.5.9.11"),
    row("lease break", "", "MS-SMB2 3.3.4.7; MS-FSA 2.1.4.12, 2.1.5.18"),
    row("oplock break", "", "MS-SMB2 3.3.4.6; MS-FSA 2.1.4.12, 2.1.5.18"),
    row("", "expected no break, came one of lease", "MS-SMB2 3.3.4.7; MS-FSA 2.1.4.12"),
    row("", "expected no break, came one of the oplock", "MS-SMB2 3.3.4.6; MS-FSA 2.1.4.12"),
    row("lease acknowledgment", "", "MS-SMB2 3.3.5.22.2"),
    row("oplock acknowledgment", "", "MS-SMB2 3.3.5.22.1; MS-FSA 2.1.5.19"),
    row("DHnC", "", "MS-SMB2 3.3.5.9.7"),
    row("DH2C", "", "MS-SMB2 3.3.5.9.12"),
    row("CREATE again", "", "MS-SMB2 3.3.5.9, 3.3.5.9.10"),
    row("CREATE", "parent lease key", "MS-SMB2 3.3.5.9.11"),
    row("CREATE", "lease epoch", "MS-SMB2 3.3.5.9.11"),
    row("CREATE", "lease", "MS-SMB2 3.3.5.9.8, 3.3.5.9.11; MS-FSA 2.1.5.18"),
    row("CREATE", "RqLs", "MS-SMB2 3.3.5.9.8, 3.3.5.9.11; MS-FSA 2.1.5.18"),
    row("CREATE", "DHnQ", "MS-SMB2 3.3.5.9.6"),
    row("CREATE", "DH2Q", "MS-SMB2 3.3.5.9.10"),
    row("CREATE", "oplock level", "MS-SMB2 3.3.5.9; MS-FSA 2.1.5.18.1, 2.1.5.18.2"),
    row("CREATE", "expected ACCESS_DENIED", "MS-FSA 2.1.5.1.2.1; who may do what is not known here"),
    row("CREATE", "SHARING_VIOLATION", "MS-FSA 2.1.5.1.2.2; MS-SMB2 3.3.5.9"),
    row("CREATE", "DELETE_PENDING", "MS-FSA 2.1.5.1.2"),
    row("CREATE", "FILE_NOT_AVAILABLE", "MS-SMB2 3.3.5.9, 3.3.5.2.10"),
    row("CREATE", "DUPLICATE_OBJECTID", "MS-SMB2 3.3.5.9.10"),
    row("CREATE", "handle", "MS-SMB2 3.3.5.9, 3.3.5.9.10"),
    row("CREATE", "open:", "MS-SMB2 3.3.5.9, 3.3.5.9.10"),
    row("CREATE", "came", "MS-SMB2 3.3.5.9; MS-FSA 2.1.5.1.2, 2.1.4.12"),
    row("LOCK", "", "MS-SMB2 3.3.5.14; MS-FSA 2.1.5.8"),
    row("READ", "", "MS-SMB2 3.3.5.12; MS-FSA 2.1.5.3"),
    row("WRITE", "", "MS-SMB2 3.3.5.13; MS-FSA 2.1.5.4"),
    row("FLUSH", "", "MS-SMB2 3.3.5.11; MS-FSA 2.1.5.7"),
    row("CLOSE", "", "MS-SMB2 3.3.5.10; MS-FSA 2.1.5.5"),
    row("SET_INFO", "", "MS-SMB2 3.3.5.21; MS-FSA 2.1.5.15, 2.1.4.12"),
    row("QUERY_INFO", "", "MS-SMB2 3.3.5.20"),
    row("QUERY_DIRECTORY", "", "MS-SMB2 3.3.5.18"),
    row("CHANGE_NOTIFY", "", "MS-SMB2 3.3.5.19"),
    row("IOCTL", "", "MS-SMB2 3.3.5.15"),
    row("LOGOFF", "", "MS-SMB2 3.3.5.6"),
    row("TREE_DISCONNECT", "", "MS-SMB2 3.3.5.8"),
    row("", "", "MS-SMB2 3.3.5.2"),
];

/// The sections that decide about a difference at a line; `asked` is the request that it is or answers.
pub(super) fn of(asked: Option<&Request>, line: &Line, what: &str) -> &'static str {
    let again = asked.is_some_and(|asked| asked.attempt.replay);
    let place = match (&line.event, asked.map(|asked| &asked.command)) {
        (Event::Break(told), _) => match told.kind {
            BreakKind::Lease { .. } => "lease break",
            BreakKind::Oplock { .. } => "oplock break",
        },
        (_, Some(Command::LeaseAck { .. })) => "lease acknowledgment",
        (_, Some(Command::OplockAck { .. })) => "oplock acknowledgment",
        (_, Some(Command::Create(create))) => match super::wanted_back(create) {
            Some(context) => &context.tag,
            None if again => "CREATE again",
            None => "CREATE",
        },
        (_, Some(command)) => command.name(),
        (_, None) => "",
    };
    let fits = |row: &&Row| (row.place.is_empty() || row.place == place) && what.contains(row.says);
    TABLE.iter().find(fits).map_or("", |row| row.sections)
}
