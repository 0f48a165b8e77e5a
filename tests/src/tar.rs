//! Tar archives written by hand, so that a test can write the ones that no honest tool makes.

/// A tar archive in the making (ustar, with pax headers where a field is too small).
#[derive(Default, Clone)]
pub struct Tar(Vec<u8>);

/// What one member is; the rest has defaults that fit a file of root.
pub struct Member<'a> {
    pub name: &'a str,
    pub kind: u8,
    pub mode: u32,
    pub owner: u32,
    pub link: &'a str,
    pub device: (u32, u32),
    pub content: &'a [u8],
    /// Lied about in the header when set.
    pub size: Option<u64>,
}

impl Default for Member<'_> {
    fn default() -> Self {
        Self {
            name: "",
            kind: b'0',
            mode: 0o644,
            owner: 0,
            link: "",
            device: (0, 0),
            content: b"",
            size: None,
        }
    }
}

impl Tar {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn file(self, name: &str, mode: u32, content: impl AsRef<[u8]>) -> Self {
        self.member(&Member {
            name,
            mode,
            content: content.as_ref(),
            ..Member::default()
        })
    }

    pub fn directory(self, name: &str, mode: u32) -> Self {
        self.member(&Member {
            name,
            mode,
            kind: b'5',
            ..Member::default()
        })
    }

    pub fn symlink(self, name: &str, target: &str) -> Self {
        self.member(&Member {
            name,
            mode: 0o777,
            kind: b'2',
            link: target,
            ..Member::default()
        })
    }

    pub fn hard_link(self, name: &str, target: &str) -> Self {
        self.member(&Member {
            name,
            kind: b'1',
            link: target,
            ..Member::default()
        })
    }

    pub fn character_device(self, name: &str, major: u32, minor: u32) -> Self {
        self.member(&Member {
            name,
            mode: 0o666,
            kind: b'3',
            device: (major, minor),
            ..Member::default()
        })
    }

    pub fn fifo(self, name: &str) -> Self {
        self.member(&Member {
            name,
            kind: b'6',
            ..Member::default()
        })
    }

    /// A pax header for the next member.
    pub fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut body = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            // The length counts its own digits.
            let mut length = rest + 1;
            while length != rest + length.to_string().len() {
                length = rest + length.to_string().len();
            }
            body.extend_from_slice(format!("{length} {key}=").as_bytes());
            body.extend_from_slice(value);
            body.push(b'\n');
        }
        self.member(&Member {
            name: "PaxHeaders/x",
            kind: b'x',
            content: &body,
            ..Member::default()
        })
    }

    pub fn member(mut self, member: &Member) -> Self {
        if member.name.len() > 100 || member.link.len() > 100 {
            let mut records: Vec<(&str, &[u8])> = Vec::new();
            if member.name.len() > 100 {
                records.push(("path", member.name.as_bytes()));
            }
            if member.link.len() > 100 {
                records.push(("linkpath", member.link.as_bytes()));
            }
            self = self.pax(&records);
        }
        let mut header = [0_u8; 512];
        put(&mut header[0..100], member.name);
        put(&mut header[100..108], &format!("{:07o}", member.mode));
        put(&mut header[108..116], &format!("{:07o}", member.owner));
        put(&mut header[116..124], &format!("{:07o}", member.owner));
        put(
            &mut header[124..136],
            &format!(
                "{:011o}",
                member.size.unwrap_or(member.content.len() as u64)
            ),
        );
        put(&mut header[136..148], &format!("{:011o}", 1_700_000_000));
        header[148..156].fill(b' ');
        header[156] = member.kind;
        put(&mut header[157..257], member.link);
        header[257..265].copy_from_slice(b"ustar\x0000");
        put(&mut header[329..337], &format!("{:07o}", member.device.0));
        put(&mut header[337..345], &format!("{:07o}", member.device.1));
        let sum: u32 = header.iter().copied().map(u32::from).sum();
        put(&mut header[148..156], &format!("{sum:06o}\0 "));
        self.0.extend_from_slice(&header);
        self.0.extend_from_slice(member.content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    /// The whole archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }

    /// What there is without the end marker.
    pub fn unfinished(self) -> Vec<u8> {
        self.0
    }
}

fn put(field: &mut [u8], text: &str) {
    let length = text.len().min(field.len());
    field[..length].copy_from_slice(&text.as_bytes()[..length]);
}
