//! One lock manager for every protocol: what each meets when another holds something.
//!
//! SMB comes through [`Create`](crate::server::Create), [`Lock`](crate::server::Lock) and [`Intent`](crate::Intent)s of its opens; all
//! others through the same [`Intent`](crate::Intent)s with [`Actor::Owner`](crate::Actor::Owner), through
//! [`OwnerLock`](crate::server::OwnerLock), [`Reservation`](crate::server::Reservation) and
//! [`Event::Delegate`](crate::server::Event::Delegate). Nobody goes first: requests are judged as they come, and who waits is judged
//! again in the order of arrival.
//!
//! A driver of another protocol tells of an operation **before** it carries it out, as SMB's does: `Operate`, then `Proceed`, then the
//! operation, then `Done`. In between nobody is granted what the operation would break, so that no caller goes on with stale data
//! behind it. `Interim` says that it waits: an NLM server answers with `NLM4_BLOCKED`, an NFSv4 server with `NFS4ERR_DELAY`, an NFSv3 server
//! with `NFS3ERR_JUKEBOX` or by waiting; who answers so and will not come back to it cancels.
//!
//! # Operations of others against what SMB caches
//!
//! The rows of MS-FSA 2.1.4.12 for an actor without a key, which nothing spares. Oplocks follow as if by an SMB open: LEVEL II is broken by
//! what takes R, EXCLUSIVE and BATCH by what takes W, and BATCH by what takes H. *Waits*: until the client has written back, or closed, and
//! has acknowledged; or until its deadline.
//!
//! | operation | say | R | RH | RW | RWH | waits | why |
//! |---|---|---|---|---|---|---|---|
//! | NFSv3 READ, READ of NFSv4 with the anonymous stateid, read(2) | `Read` | – | – | R | RH | yes | what is dirty at the client is what is to be read. illumos does this; Samba by default does not, and serves old data |
//! | NFSv3 WRITE, NFSv4 WRITE, write(2) | `Write` | NONE | NONE | NONE | NONE | for W | R would go on with old data. ONTAP, illumos; DittoFS tells and does not wait |
//! | COMMIT, fsync(2) | `Flush` | – | – | R | RH | yes | what is dirty elsewhere is not stable |
//! | SETATTR of size, truncate(2), ALLOCATE | `SetSize` | NONE | NONE | NONE | NONE | for W | as for WRITE |
//! | SETATTR of mode, owner, times; SETXATTR | `SetAttributes` | – | – | – | – | no | attributes are not cached under a lease of the file; that of its directory breaks, by `EntryChanged` |
//! | REMOVE, unlink(2) | `Unlink` | – | R | – | RW | for H | a client that keeps handles back closes them. Whoever has it open keeps it, as POSIX has it; ONTAP on volumes of the UNIX style |
//! | RENAME, of its source | `Rename` | – | R | – | RW | for H | a handle that is kept has the old name |
//! | RENAME, of a target that it replaces | `Unlink` | – | R | – | RW | for H | the target is removed |
//! | LINK | `Link` | – | – | – | – | for BATCH | as SMB's own; by the letter of MS-FSA H goes too: [`Profile::link_breaks_handles`](crate::server::Profile::link_breaks_handles) |
//! | CREATE, MKDIR, SYMLINK, REMOVE, RENAME, LINK in a directory | `EntryChanged` of the directory | NONE | NONE | – | – | no | MS-SMB2 3.3.4.7: a listing is told, and not waited for |
//! | GETATTR, ACCESS, LOOKUP, READDIR | nothing | – | – | – | – | no | size and times may lag behind what a client with W has; SMB has no way to ask. A server that must not lag says `Read` |
//! | OPEN of NFSv4 to read | [`Reservation`](crate::server::Reservation) | – | – | R | RH | yes | MS-SMB2 3.3.1.4: an open beyond attributes |
//! | OPEN of NFSv4 to write, or that denies reading | likewise | – | – | R | RH | yes | likewise: R goes when something is written |
//! | OPEN that truncates | likewise, `overwriting` | NONE | NONE | NONE | NONE | for W | an open that overwrites |
//! | NLM LOCK, LOCK of NFSv4, fcntl(2) | [`OwnerLock`](crate::server::OwnerLock) | NONE | NONE | NONE | NONE | for W | MS-SMB2 3.3.1.4: a byte-range lock. Locks may be cached under W, and reads under R, behind which the lock would stand |
//! | LOCKT, NLM TEST, LOCKU, NLM UNLOCK | `TestLock`, `OwnerUnlock` | – | – | – | – | no | they take nothing |
//!
//! # SMB, and others, against delegations
//!
//! A delegation is recalled as a whole, and always waited for: its client may act on it, untold, until it has returned it (RFC 8881 10.4.4);
//! after [`Config::recall_timeout`](crate::server::Config::recall_timeout) it is revoked. What its own client does recalls nothing.
//!
//! | operation, of SMB or of another client | OPEN_DELEGATE_READ | OPEN_DELEGATE_WRITE | why |
//! |---|---|---|---|
//! | open for attributes, READ_CONTROL; GETATTR | stays | stays | neither reads data. RFC 8881 has CB_GETATTR for the latter, which is the driver's |
//! | open to read that leaves reading to others; READ, COMMIT, flush | stays | recalled | the writer has data that nobody sees |
//! | open to write, or that denies reading; overwriting; WRITE; a size | recalled | recalled | the reader believes that nobody writes, and opens to read without asking |
//! | byte-range lock | stays | recalled | who may write by itself may lock by itself (RFC 8881 10.4.4) |
//! | exclusive byte-range lock of SMB | recalled | recalled | it is mandatory: nobody else may read behind it |
//! | open that what its client has open excludes | recalled | recalled | a CLOSE may be kept back, as under H |
//! | attributes, security, rename, link, removal | recalled | recalled | RFC 8881 10.4.1: what the client knows of the file is another |
//!
//! Given is one only to a client that has the file open by a [`Reservation`](crate::server::Reservation), when nothing that stands would
//! recall it, no lease has W (for writing: no lease at all), nothing waits, and nothing runs that would recall it. SMB has no W beside
//! either, and nothing beside one to write. OneFS gives none; ONTAP gives them on files that no SMB client has open.
//!
//! # Share modes against share reservations, and against those who have neither
//!
//! | who comes | meets | outcome | why |
//! |---|---|---|---|
//! | SMB open | a reservation | the table of MS-FSA 2.1.5.1.2.2, `share_deny` as what is not shared, DELETE always shared; behind the delegation of its client | both deny the same thing; STATUS_SHARING_VIOLATION |
//! | OPEN of NFSv4 | an SMB open | likewise; behind H and BATCH, which are broken first | a deferred close may cure it. NFS4ERR_SHARE_DENIED |
//! | OPEN of NFSv4 | a reservation of another owner | likewise | RFC 8881 9.7 |
//! | an owner's further OPEN, or OPEN_DOWNGRADE | its own | replaces it | RFC 8881 18.16, 18.18 |
//! | READ, WRITE, SETATTR of size without an open | an SMB open that does not share reading, or writing | refused with STATUS_SHARING_VIOLATION, behind H and BATCH | ONTAP; Samba and ksmbd do not look: [`Profile::deny_modes`](crate::server::Profile::deny_modes) |
//! | likewise | another owner's reservation that denies it | refused likewise | NFS4ERR_LOCKED (RFC 8881 9.1.2) |
//! | REMOVE, RENAME | an SMB open that does not share deletion | goes on, behind H | POSIX; ONTAP on volumes of the NTFS style refuses: the same field |
//! | a process on the server | all of these | as NFSv3 | if it asks; one that does not is not ours to stop |
//!
//! # Byte-range locks of all protocols
//!
//! Two locks conflict where they overlap, one of them is exclusive, and their owners differ, whatever they speak. SMB's own locks conflict
//! with each other as MS-FSA has it; POSIX owners convert, merge and split their own.
//!
//! | who comes | meets a lock of SMB | meets a lock of NLM, NFSv4, a process | why |
//! |---|---|---|---|
//! | a lock | waits, or is refused | waits, or is refused | one map of locks; two have lost data |
//! | a read or write of SMB | STATUS_FILE_LOCK_CONFLICT, unless it is its own | STATUS_FILE_LOCK_CONFLICT | SMB's locks are mandatory, and SMB believes so of all |
//! | a read or write of NFS, of a process | STATUS_FILE_LOCK_CONFLICT: NFS4ERR_LOCKED, EACCES | goes on | a mandatory lock that half of the clients ignore is none (ONTAP: a write of NFS fails there); among themselves they are advisory |
//! | caching of SMB | none while a lock begins below the allocation size | likewise; W never beside a lock of another | MS-FSA 2.1.5.18 |
//!
//! Locks are granted first come, first served: one that would rather wait waits behind those that came before it and would conflict, so
//! that no stream of shared locks keeps an exclusive one out. One that would rather fail is refused only for locks that are held: nothing
//! lets SMB fail it for a wish. Who was asked to come down from a lease, an oplock or a delegation passes the line: it may have to lock
//! first what it has locked by itself, and those in line may wait for it.
//!
//! A wait for locks that would never end is refused with STATUS_POSSIBLE_DEADLOCK (NLM4_DEADLCK, NFS4ERR_DEADLOCK): there is one graph of
//! all such waits, over files, shards and protocols. An SMB open is an owner of its own there, since the protocol does not say which
//! opens are one process. Waits for breaks and recalls have a deadline, and are no part of it.
//!
//! # After a restart
//!
//! Persistent handles of SMB come back by their records ([`persist`](crate::persist)); other protocols reclaim
//! ([`OwnerLock::reclaiming`](crate::server::OwnerLock::reclaiming) and its like) for as long as
//! [`Config::reclaim_grace`](crate::server::Config::reclaim_grace) says. Meanwhile nobody locks, opens or
//! reserves anew, since nobody knows yet who has what, and who opens nothing neither reads nor writes, since it may have been denied (RFC 8881
//! 8.4.2.1): STATUS_FILE_NOT_AVAILABLE, which is NFS4ERR_GRACE, NFS3ERR_JUKEBOX or NLM4_DENIED_GRACE_PERIOD. What is done to attributes and
//! names goes on, and so does who has the file open again. Nobody is allowed to cache anything new.
//! [`Profile::opens_in_grace`](crate::server::Profile::opens_in_grace) lets SMB open all the same;
//! [`Event::GraceOver`](crate::server::Event::GraceOver) ends it early. A reclaim meets what stands already as any other request does.
//!
//! Nobody is told to have what a restart would give back to another: a lock, a reservation or a delegation is answered when what persistent
//! handles of SMB gave up before it is durable.
