//! `--help`.

use std::fmt::Write as _;

use sys::{Error, ErrorKind, Result};

const GLOBAL: &str = "\
  --root DIR                    where containers are recorded (/run/wharf-runtime)
  --log FILE                    append messages there, too
  --log-format text|json        how (text)
  --debug                       say what is done
  --timings                     tell how long each phase took
  --cgroup-manager NAME         cgroupfs, systemd or disabled (cgroupfs)
  --systemd-cgroup              the same as --cgroup-manager systemd
  --rootless auto|true|false    go on without a cgroup where none may be made (auto)
  --version                     print versions
";

const BRING: &str = "\
  -b, --bundle DIR              where the configuration is (.)
  -f, --config FILE             its name there (config.json)
  --pid-file FILE               write the pid of init there
  --console-socket SOCKET       send the terminal there
  --pidfd-socket SOCKET         send a pidfd of init there
  --preserve-fds N              hand on N descriptors from 3 on
  --no-pivot                    move the root over the old one: for a host in an initramfs
  --no-new-keyring              keep the caller's session keyring
";

/// Verb, what follows it, what it does, its options.
const VERBS: [(&str, &str, &str, &str); 17] = [
    (
        "create",
        "[OPTION...] ID",
        "make a container that waits to be started",
        BRING,
    ),
    (
        "run",
        "[OPTION...] ID",
        "create and start a container, and stay with it",
        "  -d, --detach                  leave it running
  --keep                        do not delete it when it ends
  and those of create
",
    ),
    ("start", "ID", "start what was created", ""),
    ("state", "ID", "print the state as JSON", ""),
    (
        "kill",
        "[--all] ID [SIGNAL]",
        "send a signal (TERM)",
        "  -a, --all                     to every process of the container
",
    ),
    (
        "delete",
        "[--force] ID",
        "delete a container that has ended",
        "  -f, --force                   kill it first
",
    ),
    (
        "exec",
        "[OPTION...] ID [PROGRAM [ARGUMENT...]]",
        "run one more process",
        "  -p, --process FILE            all of it as JSON
  -t, --tty                     with a terminal
  -d, --detach                  leave it running
  --cwd DIR                     working directory
  -e, --env NAME=VALUE          one more variable
  -u, --user UID[:GID]          user and group
  -g, --additional-gids GID     one more group
  -c, --cap CAP_NAME            one more capability
  --apparmor PROFILE            AppArmor profile
  --process-label LABEL         SELinux label
  --no-new-privs                set no_new_privs
  --cgroup [CONTROLLER,...:]PATH  a group below the container's
  --ignore-paused               wait in a paused container
  --preserve-fds N              hand on N descriptors from 3 on
  --pid-file FILE               write its pid there
  --console-socket SOCKET       send the terminal there
  --pidfd-socket SOCKET         send a pidfd there
",
    ),
    (
        "list",
        "[OPTION...]",
        "list containers",
        "  -f, --format table|json       (table)
  -q, --quiet                   ids alone
",
    ),
    (
        "ps",
        "[--format table|json] ID [PS-OPTION...]",
        "list the processes of a container",
        "  -f, --format table|json       a table by ps(1), or pids (table)
",
    ),
    (
        "pause",
        "ID",
        "stop all processes of a container for a while",
        "",
    ),
    ("resume", "ID", "let them go on", ""),
    (
        "checkpoint",
        "[OPTION...] ID",
        "write what the processes of a container are to disk, and end them",
        "  --image-path DIR              where to (checkpoint)
  --pre-dump                    it goes on; the one that counts comes later, with --parent-path
  --parent-path DIR             an earlier one, relative to --image-path: only what differs is stored
  --leave-running               let them go on
",
    ),
    (
        "restore",
        "[OPTION...] ID",
        "make a container whose processes go on where a checkpoint left them",
        "  --image-path DIR              where it is (checkpoint)
  -d, --detach                  leave it running
  and those of create
",
    ),
    (
        "update",
        "[OPTION...] ID",
        "change limits",
        "  -r, --resources FILE|-        linux.resources as JSON
  --memory SIZE                 --memory-swap SIZE        --memory-reservation SIZE
  --cpu-period US               --cpu-quota US            --cpu-burst US
  --cpu-share N                 --cpu-idle 0|1            --cpu-rt-period US
  --cpu-rt-runtime US           --cpuset-cpus LIST        --cpuset-mems LIST
  --pids-limit N                --blkio-weight N
  --l3-cache-schema SCHEMA      --mem-bw-schema SCHEMA
  A SIZE may have a unit (64m); -1 is unlimited.
",
    ),
    (
        "events",
        "[OPTION...] ID",
        "print statistics and news as JSON",
        "  --interval TIME               of the statistics (5s)
  --stats                       print them once and end
",
    ),
    (
        "spec",
        "[OPTION...]",
        "write a config.json to begin with",
        "  -b, --bundle DIR              where (.)
  --rootless                    for a user without rights
",
    ),
    ("features", "", "print what is supported as JSON", ""),
];

/// Of one verb, or of all.
pub(super) fn text(verb: Option<&str>) -> Result<String> {
    let Some(verb) = verb else {
        let mut text = format!("usage: wharf-runtime [OPTION...] VERB ...\n\n{GLOBAL}\nverbs:\n");
        for (name, _, what, _) in VERBS {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  {name:<10} {what}");
        }
        text.push_str("\nwharf-runtime help VERB tells a verb's options.\n");
        return Ok(text);
    };
    let found = VERBS.iter().find(|(name, ..)| *name == verb);
    let (name, rest, what, options) = found.ok_or_else(|| {
        Error::new(
            ErrorKind::InvalidInput,
            format!("no command is called {verb:?}"),
        )
    })?;
    Ok(format!(
        "usage: wharf-runtime {name} {rest}\n\n{what}\n\n{options}"
    ))
}
