//! What an application asks for when it opens a file.

use super::FileRef;
use super::policy::WRITING;
use crate::locks::share::Claim;
use crate::server::ShareFlags;
use crate::state::{Access, CreateOptions, Disposition, LeaseState, OplockLevel, ShareMode};
use crate::types::{CreateGuid, LeaseKey, RequestId};

/// An application's request for a file. Answered by `Ready` or `Failed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[non_exhaustive]
pub struct Opening {
    /// The request.
    pub request: RequestId,
    /// The name that it wants.
    pub file: FileRef,
    /// A new lease key, random; used if the name has none yet. The machine has no entropy of its own.
    pub key: LeaseKey,
    /// What the cache would like.
    pub want: Want,
    /// What the name may lead to.
    pub object: Object,
    /// The directory, and a new lease key for it; `None` for the root of a share.
    pub parent: Option<(FileRef, LeaseKey)>,
    /// DesiredAccess. Without any, no kept handle serves the request.
    pub access: Access,
    /// ShareAccess
    pub sharing: ShareMode,
    /// CreateDisposition
    pub disposition: Disposition,
    /// CreateOptions
    pub options: CreateOptions,
    /// What the share is.
    pub share: ShareFlags,
    /// A new CreateGuid, random, if the open shall outlive a connection.
    pub durable: Option<CreateGuid>,
}

/// What a cache would like to do with a file (MS-SMB2 3.2.4.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[non_exhaustive]
pub enum Want {
    /// What the [`Policy`](super::Policy) of the client says.
    #[default]
    Usual,
    /// This much: by a lease, or by the nearest oplock where there are no leases.
    State(LeaseState),
    /// An oplock of this level, whatever the server can do. But a lease that the name has already goes along: an open without it
    /// would break it.
    Level(OplockLevel),
}

/// What a name may lead to, as far as it decides what can be cached (MS-SMB2 3.2.4.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[non_exhaustive]
pub enum Object {
    /// A file, or not known.
    #[default]
    File,
    /// A name with a stream suffix: no oplock, and no H.
    NamedStream,
}

impl Opening {
    /// A request that leaves all to the defaults: `OPEN`, nothing shared, no access said.
    pub const fn new(request: RequestId, file: FileRef, key: LeaseKey) -> Self {
        Self {
            request,
            file,
            key,
            want: Want::Usual,
            object: Object::File,
            parent: None,
            access: Access::empty(),
            sharing: ShareMode::empty(),
            disposition: Disposition::Open,
            options: CreateOptions::empty(),
            share: ShareFlags::empty(),
            durable: None,
        }
    }

    /// With what the cache would like.
    #[must_use]
    pub const fn want(mut self, want: Want) -> Self {
        self.want = want;
        self
    }

    /// As the application says.
    #[must_use]
    pub const fn access(mut self, access: Access, sharing: ShareMode) -> Self {
        (self.access, self.sharing) = (access, sharing);
        self
    }

    /// As the application says. FILE_DIRECTORY_FILE tells that the name leads to a directory.
    #[must_use]
    pub const fn disposition(mut self, disposition: Disposition, options: CreateOptions) -> Self {
        (self.disposition, self.options) = (disposition, options);
        self
    }

    /// With what the name may lead to.
    #[must_use]
    pub const fn object(mut self, object: Object) -> Self {
        self.object = object;
        self
    }

    /// In this directory. `key` is new and random, and used if the directory has none yet.
    #[must_use]
    pub const fn parent(mut self, directory: FileRef, key: LeaseKey) -> Self {
        self.parent = Some((directory, key));
        self
    }

    /// On such a share.
    #[must_use]
    pub const fn share(mut self, share: ShareFlags) -> Self {
        self.share = share;
        self
    }

    /// An open that outlives its connection if the server allows it. `create_guid` is new and random.
    #[must_use]
    pub const fn durable(mut self, create_guid: CreateGuid) -> Self {
        self.durable = Some(create_guid);
        self
    }

    pub(super) fn names_directory(&self) -> bool {
        self.options.contains(CreateOptions::DIRECTORY_FILE)
    }

    /// Whether the handle of an earlier open does as well: to the application, and to everybody else who meets it at the server.
    pub(super) fn served_by(&self, kept: &Self) -> bool {
        let claim = |of: &Self| Claim::new(of.access, of.sharing, Disposition::Open);
        let opens = matches!(self.disposition, Disposition::Open | Disposition::OpenIf);
        let lasts = self.durable.is_none() || kept.durable.is_some();
        let same = self.options == kept.options && claim(self) == claim(kept) && lasts;
        opens && same && !self.access.is_empty() && kept.access.contains(self.access)
    }

    /// Whether a handle that is kept would be in the way of this at the server: nobody breaks it for an open of its own key. A file
    /// goes away, or gets another name, only without it.
    pub(super) fn excludes(&self, kept: &Self) -> bool {
        let mine = Claim::new(self.access, self.sharing, self.disposition);
        let deletes = mine.deletes() || self.options.contains(CreateOptions::DELETE_ON_CLOSE);
        deletes || !mine.fits(Claim::new(kept.access, kept.sharing, Disposition::Open))
    }

    /// Whether data can be written through it: as far as is known.
    pub(super) fn may_write(&self) -> bool {
        self.access.is_empty() || self.access.intersects(WRITING)
    }

    /// A handle that deletes its file when it closes has to close when the application says so.
    pub(super) fn may_be_kept(&self) -> bool {
        !self.options.contains(CreateOptions::DELETE_ON_CLOSE)
    }
}
