//! Names for what a server counts: sessions, tree connects, handles (`tests/traces/README.md`).

use std::collections::{HashMap, HashSet};

use leasehold::FileId;

/// The names of one server.
#[derive(Debug, Default)]
pub(super) struct Labels {
    sessions: HashMap<u64, String>,
    trees: HashMap<(u64, u32), Tree>,
    trees_named: usize,
    handles: HashMap<FileId, String>,
    handles_named: usize,
    /// By the half that stays the same when a handle is given back: the open, and its last handle.
    opens: HashMap<u64, (String, String)>,
    opens_named: usize,
    closed: HashSet<FileId>,
}

/// A tree connect.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    pub(super) label: String,
    /// The share; empty if the TREE_CONNECT was not captured.
    pub(super) path: String,
    /// Whether it is one of pipes or printers, which hold no files.
    pub(super) no_files: bool,
}

impl Labels {
    /// A session. 0 is none.
    pub(super) fn session(&mut self, id: u64) -> Option<String> {
        let next = self.sessions.len() + 1;
        (id != 0).then(|| self.sessions.entry(id).or_insert_with(|| format!("s{next}")).clone())
    }

    /// A tree connect. 0 is none.
    pub(super) fn tree(&mut self, session: u64, id: u32) -> Option<Tree> {
        if id == 0 {
            return None;
        }
        match self.trees.get(&(session, id)) {
            Some(tree) => Some(tree.clone()),
            None => Some(self.connected(session, id, String::new(), false)),
        }
    }

    /// A TREE_CONNECT was answered.
    pub(super) fn connected(&mut self, session: u64, id: u32, path: String, no_files: bool) -> Tree {
        self.trees_named += 1;
        let tree = Tree { label: format!("t{}", self.trees_named), path, no_files };
        self.trees.insert((session, id), tree.clone());
        tree
    }

    /// A handle that a client names: by both halves, else by the one that stays the same.
    pub(super) fn handle(&self, file: FileId) -> Option<String> {
        let open = || self.opens.get(&file.persistent).map(|(_, handle)| handle);
        self.handles.get(&file).or_else(open).cloned()
    }

    /// The names of a handle that was granted, and of its open.
    pub(super) fn granted(&mut self, file: FileId) -> (String, String) {
        if self.closed.remove(&file) {
            self.handles.remove(&file);
            self.opens.remove(&file.persistent);
        }
        let handle = self.handles.entry(file).or_insert_with(|| {
            self.handles_named += 1;
            format!("h{}", self.handles_named)
        });
        let (open, last) = self.opens.entry(file.persistent).or_insert_with(|| {
            self.opens_named += 1;
            (format!("o{}", self.opens_named), String::new())
        });
        last.clone_from(handle);
        (handle.clone(), open.clone())
    }

    /// A handle was closed: its number may name another.
    pub(super) fn closed(&mut self, file: FileId) {
        self.closed.insert(file);
    }
}
