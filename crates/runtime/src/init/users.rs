//! Who the program runs as. Names are looked up in the container's files,
//! which nobody vouches for.

use std::path::Path;

use spec::runtime::{Process, User};
use sys::{Error, ErrorKind, Result};

use crate::mounts::root::Root;

/// The most of /etc/passwd and /etc/group that is read.
const FILE_MAX: usize = 1 << 20;

/// Ids and home of the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
    pub(crate) home: String,
}

/// Reads what is needed of the container's files. `text` is `user[:group]`;
/// empty, the ids are those of `process.user`.
pub(crate) fn look_up(
    root: &Root,
    process: &Process,
    text: &str,
    groups: &[String],
) -> Result<Account> {
    let numeric = &process.user;
    let has_home = process.env.iter().any(|entry| entry.starts_with("HOME="));
    let read = |path: &str| -> Result<String> {
        let content = root.read_file(Path::new(path), FILE_MAX)?;
        Ok(content.map_or_else(String::new, |content| {
            String::from_utf8_lossy(&content).into_owned()
        }))
    };
    let numbers_say_it = text.is_empty() && groups.is_empty();
    let passwd = if numbers_say_it && has_home {
        String::new()
    } else {
        read("/etc/passwd")?
    };
    if numbers_say_it {
        return Ok(Account {
            uid: numeric.uid,
            gid: numeric.gid,
            groups: numeric.additional_gids.clone(),
            home: home_of(&passwd, numeric.uid),
        });
    }
    let group = read("/etc/group")?;
    resolve(
        numeric,
        text,
        groups,
        &Files {
            passwd: &passwd,
            group: &group,
        },
    )
}

struct Files<'a> {
    passwd: &'a str,
    group: &'a str,
}

struct PasswdLine<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

struct GroupLine<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

fn resolve(numeric: &User, text: &str, more: &[String], files: &Files<'_>) -> Result<Account> {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    if user.is_empty() && group.is_some_and(str::is_empty) {
        // Whoever wrote it meant somebody; root is nobody to guess.
        return Err(Error::new(
            ErrorKind::InvalidInput,
            format!("user {text:?} names neither a user nor a group"),
        ));
    }
    let mut account = if text.is_empty() {
        Account {
            uid: numeric.uid,
            gid: numeric.gid,
            groups: numeric.additional_gids.clone(),
            home: home_of(files.passwd, numeric.uid),
        }
    } else {
        find_user(user, group, files)?
    };
    if let Some(group) = group.filter(|group| !group.is_empty()) {
        account.gid = find_group(group, files)?;
    }
    for name in more {
        let gid = find_group(name, files)?;
        if !account.groups.contains(&gid) {
            account.groups.push(gid);
        }
    }
    Ok(account)
}

fn find_user(user: &str, group: Option<&str>, files: &Files<'_>) -> Result<Account> {
    let mut lines = passwd_lines(files.passwd);
    let line = match Name::parse(user)? {
        // `:group` alone is root in that group.
        Name::Empty => lines.find(|line| line.uid == 0),
        Name::Number(uid) => match lines.find(|line| line.uid == uid) {
            Some(line) => Some(line),
            None => {
                return Ok(Account {
                    uid,
                    gid: 0,
                    groups: Vec::new(),
                    home: "/".to_owned(),
                });
            }
        },
        Name::Text(name) => Some(lines.find(|line| line.name == name).ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "unable to find user {name}: no matching entry in the container's passwd file"
                ),
            )
        })?),
    };
    let Some(line) = line else {
        return Ok(Account {
            uid: 0,
            gid: 0,
            groups: Vec::new(),
            home: "/".to_owned(),
        });
    };
    // With a group of its own choice a user has no others, as in Docker.
    let groups = match group {
        Some(group) if !group.is_empty() => Vec::new(),
        _ => group_lines(files.group)
            .filter(|group| group.members.split(',').any(|member| member == line.name))
            .map(|group| group.gid)
            .collect(),
    };
    Ok(Account {
        uid: line.uid,
        gid: line.gid,
        groups,
        home: if line.home.is_empty() { "/" } else { line.home }.to_owned(),
    })
}

fn find_group(group: &str, files: &Files<'_>) -> Result<u32> {
    match Name::parse(group)? {
        Name::Number(gid) => Ok(gid),
        Name::Empty => Err(Error::new(ErrorKind::InvalidInput, "a group's name is empty")),
        Name::Text(name) => group_lines(files.group)
            .find(|line| line.name == name)
            .map(|line| line.gid)
            .ok_or_else(|| {
                Error::new(
                    ErrorKind::InvalidInput,
                    format!(
                        "unable to find group {name}: no matching entry in the container's group file"
                    ),
                )
            }),
    }
}

enum Name<'a> {
    Empty,
    Number(u32),
    Text(&'a str),
}

impl<'a> Name<'a> {
    /// Digits are a number and never a name; one that no id can be is refused.
    fn parse(text: &'a str) -> Result<Self> {
        if text.is_empty() {
            return Ok(Self::Empty);
        }
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            // The kernel's ids end at 2^31-1 for Docker and the other
            // runtimes; 2^32-1 means "no change" to it.
            return match text.parse::<u32>() {
                Ok(id) if id <= i32::MAX.cast_unsigned() => Ok(Self::Number(id)),
                _ => Err(Error::new(
                    ErrorKind::InvalidInput,
                    format!("id {text} is out of range: 0 to {}", i32::MAX),
                )),
            };
        }
        let bad = text
            .bytes()
            .any(|byte| byte.is_ascii_whitespace() || byte.is_ascii_control() || byte == b':');
        let signed = text.starts_with(['+', '-']);
        if bad || signed {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("{text:?} is neither a name nor a number"),
            ));
        }
        Ok(Self::Text(text))
    }
}

fn home_of(passwd: &str, uid: u32) -> String {
    passwd_lines(passwd)
        .find(|line| line.uid == uid && !line.home.is_empty())
        .map_or_else(|| "/".to_owned(), |line| line.home.to_owned())
}

/// Lines that are not what they should be are passed over.
fn passwd_lines(text: &str) -> impl Iterator<Item = PasswdLine<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        let home = fields.nth(1).unwrap_or_default();
        Some(PasswdLine {
            name,
            uid,
            gid,
            home,
        })
    })
}

fn group_lines(text: &str) -> impl Iterator<Item = GroupLine<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let gid = fields.nth(1)?.parse().ok()?;
        let members = fields.next().unwrap_or_default();
        Some(GroupLine { name, gid, members })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: Files<'_> = Files {
        passwd: "root:x:0:0:root:/root:/bin/sh\n\
                 broken\n\
                 1000:x:0:0::/trap:/bin/sh\n\
                 web:x:33:34::/var/www:/bin/sh\n",
        group: "root:x:0:\nweb:x:34:\nlog:x:4:web,other\nbig:x:99999999999:web\n",
    };

    fn resolved(text: &str) -> Result<Account> {
        resolve(&User::default(), text, &[], &FILES)
    }

    #[test]
    fn names_bring_their_groups_and_home() {
        let web = resolved("web").unwrap();
        assert_eq!(
            (web.uid, web.gid, web.groups.as_slice()),
            (33, 34, &[4][..])
        );
        assert_eq!(web.home, "/var/www");
        let chosen = resolved("web:log").unwrap();
        assert_eq!((chosen.uid, chosen.gid, chosen.groups.len()), (33, 4, 0));
        assert_eq!(resolved("33").unwrap().gid, 34);
        assert_eq!(resolved(":web").unwrap().gid, 34);
    }

    #[test]
    fn digits_are_never_a_name() {
        let account = resolved("1000").unwrap();
        assert_eq!((account.uid, account.gid), (1000, 0));
        assert_eq!(account.home, "/");
    }

    #[test]
    fn refuses_what_is_not_exactly_an_id_or_name() {
        for bad in [
            "4294967295",
            "2147483648",
            "99999999999999999999",
            "+1",
            "-1",
            " 1",
            "1 ",
            "nobody",
            "web:nogroup",
            "web:+3",
            "a\tb",
        ] {
            assert!(resolved(bad).is_err(), "{bad:?}");
        }
        assert_eq!(resolved("1:").unwrap().uid, 1);
        assert!(resolved("1abc").is_err());
    }
}
