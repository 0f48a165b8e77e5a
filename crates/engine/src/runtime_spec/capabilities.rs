//! Which capabilities a container has: Docker's fourteen, changed by
//! `--cap-add` and `--cap-drop`.

use sys::caps::NAMES as ALL;
use sys::{Error, ErrorKind, Result};

const DEFAULT: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// The capabilities by their full names, in the kernel's order.
pub(crate) fn effective(privileged: bool, add: &[String], drop: &[String]) -> Result<Vec<String>> {
    let add = names(add)?;
    let drop = names(drop)?;
    let has = |list: &[&str], name: &str| list.contains(&name);
    if privileged {
        return Ok(ALL.iter().map(|name| (*name).to_owned()).collect());
    }
    let all_added = has(&add, "ALL");
    let all_dropped = has(&drop, "ALL");
    let wanted = |name: &&&str| {
        let dropped = has(&drop, name);
        // As Docker: a name that is added survives `--cap-drop ALL`, a name
        // that is dropped survives neither list.
        if all_dropped {
            (has(&add, name) || has(&add, "ALL")) && !dropped
        } else {
            (all_added || has(&DEFAULT, name) || has(&add, name)) && !dropped
        }
    };
    Ok(ALL
        .iter()
        .filter(wanted)
        .map(|name| (*name).to_owned())
        .collect())
}

/// `net_admin`, `CAP_NET_ADMIN` and `ALL` as the names above.
fn names(texts: &[String]) -> Result<Vec<&'static str>> {
    texts
        .iter()
        .map(|text| {
            let upper = text.trim().to_ascii_uppercase();
            if upper == "ALL" || upper == "CAP_ALL" {
                return Ok("ALL");
            }
            let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
            ALL.iter()
                .find(|name| &name[4..] == bare)
                .copied()
                .ok_or_else(|| {
                    let shown: String = text.chars().take(40).collect();
                    Error::new(
                        ErrorKind::InvalidInput,
                        format!("there is no capability called {shown:?}"),
                    )
                })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(privileged: bool, add: &[&str], drop: &[&str]) -> Vec<String> {
        let owned = |names: &[&str]| -> Vec<String> {
            names.iter().map(|name| (*name).to_owned()).collect()
        };
        effective(privileged, &owned(add), &owned(drop)).unwrap()
    }

    #[test]
    fn follows_dockers_rules() {
        assert_eq!(list(false, &[], &[]).len(), 14);
        assert_eq!(list(true, &[], &[]).len(), 41);
        assert_eq!(list(false, &["ALL"], &[]).len(), 41);
        assert_eq!(list(false, &["all"], &["CAP_SYS_ADMIN"]).len(), 40);
        assert_eq!(list(false, &[], &["ALL"]).len(), 0);
        assert_eq!(
            list(false, &["chown", "CAP_KILL"], &["all"]),
            ["CAP_CHOWN", "CAP_KILL"]
        );
        assert_eq!(list(false, &["NET_ADMIN"], &["NET_RAW"]).len(), 14);
        assert!(effective(false, &["WHAT".into()], &[]).is_err());
    }
}
