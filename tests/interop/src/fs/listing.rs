//! Listings of directories, which go on where they stopped (MS-FSA 2.1.5.6.3).

use std::ops::Bound;

use leasehold::Status;

use super::names::{fold, matches, wild};
use super::{Facts, Handle, Kind, LinkId, MemFs, nt};

/// A name in a directory, and what it leads to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    pub name: String,
    pub facts: Facts,
}

/// How far the listing of a handle is.
#[derive(Clone, Debug)]
pub(super) struct Listing {
    /// Folded.
    pattern: String,
    next: Next,
}

/// What comes next.
#[derive(Clone, Debug)]
enum Next {
    /// The directory itself.
    Itself,
    /// The one in which it stands.
    Above,
    /// The entry behind this name.
    Behind(String),
}

impl MemFs {
    /// Gives the entries that come next to `take`, in the order of their names, until there are no more or it says that
    /// one does not fit: that one comes first the next time. Returns how many fitted.
    ///
    /// A pattern counts when a listing begins or begins anew; an empty one stands for that from before, or all.
    ///
    /// # Errors
    ///
    /// STATUS_NO_SUCH_FILE if a listing begins and nothing matches, STATUS_NO_MORE_FILES at its end.
    pub fn list(
        &mut self,
        handle: Handle,
        pattern: &str,
        restart: bool,
        single: bool,
        mut take: impl FnMut(&Entry) -> bool,
    ) -> Result<usize, Status> {
        self.watchable(handle)?;
        let open = self.handles.get_mut(&handle).ok_or(Status::FILE_CLOSED)?;
        let link = open.link;
        let begins = restart || open.listing.is_none();
        let mut listing = match open.listing.take() {
            Some(listing) if !restart => listing,
            before => {
                let pattern = match (pattern, before) {
                    ("", Some(before)) => before.pattern,
                    ("", None) => "*".to_owned(),
                    (pattern, _) => fold(pattern),
                };
                Listing { pattern, next: Next::Itself }
            }
        };
        let (mut taken, mut full) = (0, false);
        while !(full || single && taken > 0) {
            let Some((entry, behind)) = self.next_entry(link, &listing) else { break };
            full = !take(&entry);
            if !full {
                taken += 1;
                listing.next = behind;
            }
        }
        if let Some(open) = self.handles.get_mut(&handle) {
            open.listing = Some(listing);
        }
        match (taken, full) {
            (0, false) if begins => Err(nt::NO_SUCH_FILE),
            (0, false) => Err(nt::NO_MORE_FILES),
            (_, _) => Ok(taken),
        }
    }

    /// The next entry of a listing, and what comes behind it.
    fn next_entry(&self, directory: LinkId, listing: &Listing) -> Option<(Entry, Next)> {
        let entry = |name: &str, link: LinkId| {
            let facts = self.node_of(link)?.facts("");
            Some(Entry { name: name.to_owned(), facts })
        };
        let (mut next, pattern) = (listing.next.clone(), &listing.pattern);
        if let Next::Itself = next {
            next = Next::Above;
            if matches(pattern, ".") {
                return entry(".", directory).map(|entry| (entry, next));
            }
        }
        if let Next::Above = next {
            next = Next::Behind(String::new());
            if matches(pattern, "..") {
                let above = self.parent_of(directory).unwrap_or(directory);
                return entry("..", above).map(|entry| (entry, next));
            }
        }
        let Next::Behind(last) = next else { return None };
        let Some(Kind::Directory { children, .. }) = self.node_of(directory).map(|node| &node.kind) else {
            return None;
        };
        let found = if wild(pattern) {
            let mut left = children.range::<str, _>((Bound::Excluded(last.as_str()), Bound::Unbounded));
            left.find(|(name, _)| matches(pattern, name))
        } else {
            children.get_key_value(pattern).filter(|(name, _)| **name > last)
        };
        let (name, link) = found?;
        let called = &self.links.get(*link)?.called;
        entry(called, *link).map(|entry| (entry, Next::Behind(name.clone())))
    }
}

impl MemFs {
    /// The names that come next.
    pub fn list_names(
        &mut self,
        handle: Handle,
        pattern: &str,
        restart: bool,
        single: bool,
    ) -> Result<Vec<String>, Status> {
        let mut names = Vec::new();
        self.list(handle, pattern, restart, single, |entry| {
            names.push(entry.name.clone());
            true
        })?;
        Ok(names)
    }
}
