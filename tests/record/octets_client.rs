//! The octets of `golden_client.rs`.

/// No more than a record has to have.
pub(crate) const MINIMAL: &str = "
f5 4c 48 45                                      # 0    Magic
00 01                                            # 4    Version 1.0
84 00                                            # 6    FixedLength 132
88 00 00 00                                      # 8    Length 136
00 00 00 00                                      # 12   Timeout 0
88 77 66 55 44 33 22 11                          # 16   Id 0x1122334455667788
01 02 03 04 05 06 07 08                          # 24   File 0x0807060504030201
00 00 00 00 00 00 00 00                          # 32   Directory
00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  # 40   its LeaseKey
4c 45 41 53 45 20 4b 45 59 20 4f 46 20 49 54 2e  # 56   LeaseKey LEASE KEY OF IT.
10 11 12 13 14 15 16 17 18 19 1a 1b 1c 1d 1e 1f  # 72   FileId 0x1716151413121110:0x1f1e1d1c1b1a1918
00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  # 88   CreateGuid
00 00 00 00                                      # 104  LeaseState
00 00 00 00                                      # 108  DesiredAccess
00 00 00 00                                      # 112  ShareAccess
00 00 00 00                                      # 116  CreateOptions
00 00 00 00                                      # 120  Share nothing
00 00                                            # 124  Epoch
01                                               # 126  CreateDisposition FILE_OPEN
00                                               # 127  OplockLevel NONE
01                                               # 128  Promise DHnQ
00                                               # 129  Need application
00                                               # 130  Present nothing
00                                               # 131  Due nothing
bb 42 87 08                                      # 132  Checksum 0x088742bb
";

/// Whatever can be there is.
pub(crate) const EVERYTHING: &str = "
f5 4c 48 45                                      # 0    Magic
00 01                                            # 4    Version 1.0
84 00                                            # 6    FixedLength 132
88 00 00 00                                      # 8    Length 136
e0 93 04 00                                      # 12   Timeout 300000
fe ff ff ff ff ff ff ff                          # 16   Id 0xfffffffffffffffe
80 90 a0 b0 c0 d0 e0 f0                          # 24   File 0xf0e0d0c0b0a09080
48 47 46 45 44 43 42 41                          # 32   Directory 0x4142434445464748
54 48 45 20 44 49 52 45 43 54 4f 52 59 27 53 2e  # 40   its LeaseKey THE DIRECTORY'S.
4c 45 41 53 45 20 4b 45 59 20 4f 46 20 49 54 2e  # 56   LeaseKey LEASE KEY OF IT.
28 27 26 25 24 23 22 21 38 37 36 35 34 33 32 31  # 72   FileId 0x2122232425262728:0x3132333435363738
04 03 02 01 06 05 08 07 09 0a 0b 0c 0d 0e 0f 10  # 88   CreateGuid 01020304-0506-0708-090a-0b0c0d0e0f10
07 00 00 00                                      # 104  LeaseState RWH
9f 01 12 00                                      # 108  DesiredAccess 0x0012019f
07 00 00 00                                      # 112  ShareAccess all
42 10 20 00                                      # 116  CreateOptions 0x00201042
04 00 00 00                                      # 120  Share continuously available
fe ff                                            # 124  Epoch 0xfffe
05                                               # 126  CreateDisposition FILE_OVERWRITE_IF
ff                                               # 127  OplockLevel LEASE
03                                               # 128  Promise persistent
01                                               # 129  Need write-back
07                                               # 130  Present directory, CreateGuid, epoch
03                                               # 131  Due flush, purge
15 86 33 0d                                      # 132  Checksum 0x0d338615
";

/// A lease of version 1: it has no epoch.
pub(crate) const LEASE_V1: &str = "
f5 4c 48 45                                      # 0    Magic
00 01                                            # 4    Version 1.0
84 00                                            # 6    FixedLength 132
88 00 00 00                                      # 8    Length 136
00 a6 0e 00                                      # 12   Timeout 960000
02 00 00 00 00 00 00 00                          # 16   Id 2
01 02 03 04 05 06 07 08                          # 24   File 0x0807060504030201
00 00 00 00 00 00 00 00                          # 32   Directory 0, which is there
00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  # 40   its LeaseKey, which is there and zero
4c 45 41 53 45 20 4b 45 59 20 4f 46 20 49 54 2e  # 56   LeaseKey LEASE KEY OF IT.
10 11 12 13 14 15 16 17 18 19 1a 1b 1c 1d 1e 1f  # 72   FileId 0x1716151413121110:0x1f1e1d1c1b1a1918
00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  # 88   CreateGuid
03 00 00 00                                      # 104  LeaseState RH
89 00 12 00                                      # 108  DesiredAccess 0x00120089
01 00 00 00                                      # 112  ShareAccess FILE_SHARE_READ
40 00 00 00                                      # 116  CreateOptions FILE_NON_DIRECTORY_FILE
01 00 00 00                                      # 120  Share forces level II
00 00                                            # 124  Epoch
03                                               # 126  CreateDisposition FILE_OPEN_IF
ff                                               # 127  OplockLevel LEASE
01                                               # 128  Promise DHnQ
00                                               # 129  Need application
01                                               # 130  Present directory
02                                               # 131  Due purge
57 23 a1 3f                                      # 132  Checksum 0x3fa12357
";

/// An oplock, of an open that nobody needs any more.
pub(crate) const OPLOCK: &str = "
f5 4c 48 45                                      # 0    Magic
00 01                                            # 4    Version 1.0
84 00                                            # 6    FixedLength 132
88 00 00 00                                      # 8    Length 136
60 ea 00 00                                      # 12   Timeout 60000
03 00 00 00 00 00 00 00                          # 16   Id 3
01 02 03 04 05 06 07 08                          # 24   File 0x0807060504030201
00 00 00 00 00 00 00 00                          # 32   Directory
00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  # 40   its LeaseKey
4c 45 41 53 45 20 4b 45 59 20 4f 46 20 49 54 2e  # 56   LeaseKey LEASE KEY OF IT.
10 11 12 13 14 15 16 17 18 19 1a 1b 1c 1d 1e 1f  # 72   FileId 0x1716151413121110:0x1f1e1d1c1b1a1918
33 22 11 00 55 44 77 66 88 99 aa bb cc dd ee ff  # 88   CreateGuid 00112233-4455-6677-8899-aabbccddeeff
00 00 00 00                                      # 104  LeaseState
9f 01 12 00                                      # 108  DesiredAccess 0x0012019f
00 00 00 00                                      # 112  ShareAccess
40 00 00 00                                      # 116  CreateOptions FILE_NON_DIRECTORY_FILE
02 00 00 00                                      # 120  Share scale-out
00 00                                            # 124  Epoch
02                                               # 126  CreateDisposition FILE_CREATE
09                                               # 127  OplockLevel BATCH
02                                               # 128  Promise DH2Q
02                                               # 129  Need nobody
02                                               # 130  Present CreateGuid
01                                               # 131  Due flush
12 ec 34 51                                      # 132  Checksum 0x5134ec12
";

/// A resilient open that had no CreateGuid.
pub(crate) const RESILIENT: &str = "
f5 4c 48 45                                      # 0    Magic
00 01                                            # 4    Version 1.0
84 00                                            # 6    FixedLength 132
88 00 00 00                                      # 8    Length 136
ff ff ff ff                                      # 12   Timeout 0xffffffff
04 00 00 00 00 00 00 00                          # 16   Id 4
01 02 03 04 05 06 07 08                          # 24   File 0x0807060504030201
00 00 00 00 00 00 00 00                          # 32   Directory
00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  # 40   its LeaseKey
4c 45 41 53 45 20 4b 45 59 20 4f 46 20 49 54 2e  # 56   LeaseKey LEASE KEY OF IT.
10 11 12 13 14 15 16 17 18 19 1a 1b 1c 1d 1e 1f  # 72   FileId 0x1716151413121110:0x1f1e1d1c1b1a1918
00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  # 88   CreateGuid
00 00 00 00                                      # 104  LeaseState
89 00 12 00                                      # 108  DesiredAccess 0x00120089
01 00 00 00                                      # 112  ShareAccess FILE_SHARE_READ
00 00 00 00                                      # 116  CreateOptions
00 00 00 00                                      # 120  Share nothing
00 00                                            # 124  Epoch
01                                               # 126  CreateDisposition FILE_OPEN
01                                               # 127  OplockLevel II
04                                               # 128  Promise resilient
00                                               # 129  Need application
00                                               # 130  Present nothing
00                                               # 131  Due nothing
0d 15 7c b9                                      # 132  Checksum 0xb97c150d
";

/// One that had, whose lease has nothing left.
pub(crate) const RESILIENT_GUID: &str = "
f5 4c 48 45                                      # 0    Magic
00 01                                            # 4    Version 1.0
84 00                                            # 6    FixedLength 132
88 00 00 00                                      # 8    Length 136
ff ff ff ff                                      # 12   Timeout 0xffffffff
05 00 00 00 00 00 00 00                          # 16   Id 5
01 02 03 04 05 06 07 08                          # 24   File 0x0807060504030201
00 00 00 00 00 00 00 00                          # 32   Directory
00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  # 40   its LeaseKey
4c 45 41 53 45 20 4b 45 59 20 4f 46 20 49 54 2e  # 56   LeaseKey LEASE KEY OF IT.
10 11 12 13 14 15 16 17 18 19 1a 1b 1c 1d 1e 1f  # 72   FileId 0x1716151413121110:0x1f1e1d1c1b1a1918
33 22 11 00 55 44 77 66 88 99 aa bb cc dd ee ff  # 88   CreateGuid 00112233-4455-6677-8899-aabbccddeeff
00 00 00 00                                      # 104  LeaseState
89 00 12 00                                      # 108  DesiredAccess 0x00120089
01 00 00 00                                      # 112  ShareAccess FILE_SHARE_READ
00 00 00 00                                      # 116  CreateOptions
00 00 00 00                                      # 120  Share nothing
00 00                                            # 124  Epoch 0, which is there
01                                               # 126  CreateDisposition FILE_OPEN
ff                                               # 127  OplockLevel LEASE
04                                               # 128  Promise resilient
00                                               # 129  Need application
06                                               # 130  Present CreateGuid, epoch
00                                               # 131  Due nothing
01 4a 9e f0                                      # 132  Checksum 0xf09e4a01
";

/// [`EVERYTHING`], and what a later minor version might add.
pub(crate) const LATER: &str = "
f5 4c 48 45                                      # 0    Magic
07 01                                            # 4    Version 1.7
8f 00                                            # 6    FixedLength 143
93 00 00 00                                      # 8    Length 147
e0 93 04 00                                      # 12   Timeout 300000
fe ff ff ff ff ff ff ff                          # 16   Id 0xfffffffffffffffe
80 90 a0 b0 c0 d0 e0 f0                          # 24   File 0xf0e0d0c0b0a09080
48 47 46 45 44 43 42 41                          # 32   Directory 0x4142434445464748
54 48 45 20 44 49 52 45 43 54 4f 52 59 27 53 2e  # 40   its LeaseKey THE DIRECTORY'S.
4c 45 41 53 45 20 4b 45 59 20 4f 46 20 49 54 2e  # 56   LeaseKey LEASE KEY OF IT.
28 27 26 25 24 23 22 21 38 37 36 35 34 33 32 31  # 72   FileId 0x2122232425262728:0x3132333435363738
04 03 02 01 06 05 08 07 09 0a 0b 0c 0d 0e 0f 10  # 88   CreateGuid 01020304-0506-0708-090a-0b0c0d0e0f10
07 00 00 00                                      # 104  LeaseState RWH
9f 01 12 00                                      # 108  DesiredAccess 0x0012019f
07 00 00 00                                      # 112  ShareAccess all
42 10 20 00                                      # 116  CreateOptions 0x00201042
04 00 00 00                                      # 120  Share continuously available
fe ff                                            # 124  Epoch 0xfffe
05                                               # 126  CreateDisposition FILE_OVERWRITE_IF
ff                                               # 127  OplockLevel LEASE
03                                               # 128  Promise persistent
01                                               # 129  Need write-back
07                                               # 130  Present directory, CreateGuid, epoch
03                                               # 131  Due flush, purge
de ad be ef 00 11 22 33 44 55 66                 # 132  eleven octets that version 1.7 added
9b 39 ae 50                                      # 143  Checksum 0x50ae399b
";

/// Two states of one open.
pub(crate) const TORN: &str = "
f5 4c 48 45                                      # 0    Magic
00 01                                            # 4    Version 1.0
84 00                                            # 6    FixedLength 132
88 00 00 00                                      # 8    Length 136
e0 93 04 00                                      # 12   Timeout 300000
fe ff ff ff ff ff ff ff                          # 16   Id 0xfffffffffffffffe
80 90 a0 b0 c0 d0 e0 f0                          # 24   File 0xf0e0d0c0b0a09080
48 47 46 45 44 43 42 41                          # 32   Directory 0x4142434445464748
54 48 45 20 44 49 52 45 43 54 4f 52 59 27 53 2e  # 40   its LeaseKey THE DIRECTORY'S.
4c 45 41 53 45 20 4b 45 59 20 4f 46 20 49 54 2e  # 56   LeaseKey LEASE KEY OF IT.
28 27 26 25 24 23 22 21 38 37 36 35 34 33 32 31  # 72   FileId 0x2122232425262728:0x3132333435363738
04 03 02 01 06 05 08 07 09 0a 0b 0c 0d 0e 0f 10  # 88   CreateGuid 01020304-0506-0708-090a-0b0c0d0e0f10
01 00 00 00                                      # 104  LeaseState R, with which the earlier state begins
9f 01 12 00                                      # 108  DesiredAccess 0x0012019f
07 00 00 00                                      # 112  ShareAccess all
42 10 20 00                                      # 116  CreateOptions 0x00201042
04 00 00 00                                      # 120  Share continuously available
fd ff                                            # 124  Epoch 0xfffd
05                                               # 126  CreateDisposition FILE_OVERWRITE_IF
ff                                               # 127  OplockLevel LEASE
03                                               # 128  Promise persistent
00                                               # 129  Need application
07                                               # 130  Present directory, CreateGuid, epoch
00                                               # 131  Due nothing
91 e5 d3 33                                      # 132  Checksum 0x33d3e591, that of the earlier state
";

/// [`OPLOCK`] under another name.
pub(crate) const FOREIGN: &str = "
f5 4c 48 45                                      # 0    Magic
00 01                                            # 4    Version 1.0
84 00                                            # 6    FixedLength 132
88 00 00 00                                      # 8    Length 136
60 ea 00 00                                      # 12   Timeout 60000
99 00 00 00 00 00 00 00                          # 16   Id 0x99
01 02 03 04 05 06 07 08                          # 24   File 0x0807060504030201
00 00 00 00 00 00 00 00                          # 32   Directory
00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  # 40   its LeaseKey
4c 45 41 53 45 20 4b 45 59 20 4f 46 20 49 54 2e  # 56   LeaseKey LEASE KEY OF IT.
10 11 12 13 14 15 16 17 18 19 1a 1b 1c 1d 1e 1f  # 72   FileId 0x1716151413121110:0x1f1e1d1c1b1a1918
33 22 11 00 55 44 77 66 88 99 aa bb cc dd ee ff  # 88   CreateGuid 00112233-4455-6677-8899-aabbccddeeff
00 00 00 00                                      # 104  LeaseState
9f 01 12 00                                      # 108  DesiredAccess 0x0012019f
00 00 00 00                                      # 112  ShareAccess
40 00 00 00                                      # 116  CreateOptions FILE_NON_DIRECTORY_FILE
02 00 00 00                                      # 120  Share scale-out
00 00                                            # 124  Epoch
02                                               # 126  CreateDisposition FILE_CREATE
09                                               # 127  OplockLevel BATCH
02                                               # 128  Promise DH2Q
02                                               # 129  Need nobody
02                                               # 130  Present CreateGuid
01                                               # 131  Due flush
02 0c 72 8b                                      # 132  Checksum 0x8b720c02
";

/// [`EVERYTHING`], sealed with the key 00 01 02 ... 1f.
#[cfg(feature = "seal")]
pub(crate) const SEALED: &str = "
f5 4c 48 53                                      # 0    Magic
00 01                                            # 4    Version 1.0
20 00                                            # 6    FixedLength 32
b8 00 00 00                                      # 8    Length 184
a0 a1 a2 a3 a4 a5 a6 a7 a8 a9 aa ab              # 12   Nonce
fe ff ff ff ff ff ff ff                          # 24   Id 0xfffffffffffffffe
13 54 34 68 45 ca 86 bf ea 65 87 d3 e7 e9 c4 de  # 32   ciphertext
8e 53 a6 ef 6d 48 bd 93 1c 9e 86 36 bf 7b 95 f1  # 48   ciphertext
9a 31 01 ba eb 61 11 7c 0b d4 41 e8 4d 33 d1 bc  # 64   ciphertext
04 4f 09 1a 3b f7 49 50 0d 1b 4a 0d e1 50 ce f5  # 80   ciphertext
ed 9c ca 29 10 ec b0 ce dc c5 d9 3d ab ed ee 9b  # 96   ciphertext
f5 3c 9d 91 f1 f2 ab 4b ea 76 3c 9b b7 9f 45 93  # 112  ciphertext
86 8e 20 a7 0e a0 80 8b 99 db 06 50 1a 89 ff 28  # 128  ciphertext
23 50 61 ae 9c 25 bb 3c 2b cf de a4 4a aa f7 b2  # 144  ciphertext
c6 10 b7 7c c6 c4 b3 1a                          # 160  ciphertext
07 d9 5b 4b 87 d2 7b 8a 0e b9 50 43 fb 47 8f b0  # 168  Tag
";
