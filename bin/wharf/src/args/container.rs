//! Verbs about containers that exist.

use clap::{Arg, Command, builder::PossibleValuesParser};

use super::{
    flag, format_option, inspect_format, list, operand, operands, shape, short_flag, short_list,
    short_value, value, words,
};

const DETACH_KEYS: &str = "Keys that leave it running (default ctrl-p,ctrl-q)";

const EXEC_EXAMPLES: &str = "
Examples:
  wharf exec -it web sh                  a shell in a running container
  wharf exec -u postgres db psql -c 'select 1'
  wharf exec -e DEBUG=1 -w /srv web ./check
";

const COMMIT_EXAMPLES: &str = "
Examples:
  wharf commit db registry.example/db:v2
  wharf commit -c 'CMD [\"nginx\", \"-g\", \"daemon off;\"]' -c 'ENV A=b' web web:set-up
";

pub(crate) fn attach(command: Command) -> Command {
    shape(command, "[OPTIONS] CONTAINER")
        .arg(value("detach-keys", "KEYS", DETACH_KEYS))
        .arg(flag("no-stdin", "Do not attach stdin"))
        .arg(flag(
            "sig-proxy",
            "Pass signals on to the container (default true)",
        ))
        .arg(operand("CONTAINER"))
}

pub(crate) fn commit(command: Command) -> Command {
    shape(command, "[OPTIONS] CONTAINER [REPOSITORY[:TAG]]")
        .after_help(COMMIT_EXAMPLES)
        .arg(short_value(
            'a',
            "author",
            "AUTHOR",
            "Author, as \"Ann <ann@example.org>\"",
        ))
        .arg(short_list(
            'c',
            "change",
            "INSTRUCTION",
            "Apply a Dockerfile instruction",
        ))
        .arg(
            value("compression", "FORMAT", "gzip or zstd (default gzip)")
                .value_parser(PossibleValuesParser::new(["gzip", "zstd"]))
                .hide_possible_values(true),
        )
        .arg(flag(
            "memory",
            "With its memory and volumes: containers of the image start where it is",
        ))
        .arg(short_value('m', "message", "TEXT", "What was changed"))
        .arg(short_flag(
            'p',
            "pause",
            "Let it stand still meanwhile (default true)",
        ))
        .arg(operand("CONTAINER"))
        .arg(operand("NAME").required(false))
}

const CP_EXAMPLES: &str = "
Examples:
  wharf cp web:/etc/nginx/nginx.conf .     out of a container
  wharf cp -a site/. web:/srv/www          into it, with owners
  wharf cp db:/backup - | tar tv           as a tar
";

pub(crate) fn cp(command: Command) -> Command {
    shape(
        command,
        "[OPTIONS] CONTAINER:PATH PATH|-\n        wharf cp [OPTIONS] PATH|- CONTAINER:PATH",
    )
    .after_help(CP_EXAMPLES)
    .arg(short_flag('a', "archive", "Keep owners and attributes"))
    .arg(short_flag(
        'L',
        "follow-link",
        "Follow a link that is named as the source",
    ))
    .arg(short_flag('q', "quiet", "Do not tell what was copied"))
    .arg(operand("SOURCE").allow_hyphen_values(true))
    .arg(operand("TARGET").allow_hyphen_values(true))
}

pub(crate) fn export(command: Command) -> Command {
    shape(command, "[OPTIONS] CONTAINER")
        .arg(short_value(
            'o',
            "output",
            "FILE",
            "Write to a file instead of stdout",
        ))
        .arg(operand("CONTAINER"))
}

pub(crate) fn diff(command: Command) -> Command {
    shape(command, "CONTAINER").arg(operand("CONTAINER"))
}

pub(crate) fn exec(command: Command) -> Command {
    shape(command, "[OPTIONS] CONTAINER COMMAND [ARG...]")
        .after_help(EXEC_EXAMPLES)
        .arg(short_flag('d', "detach", "Run it in the background"))
        .arg(value("detach-keys", "KEYS", DETACH_KEYS))
        .arg(super::run::variables())
        .arg(super::run::variable_files())
        .arg(short_flag('i', "interactive", "Keep stdin open"))
        .arg(flag("privileged", "Give it every privilege"))
        .arg(short_flag('t', "tty", "Give it a terminal"))
        .arg(short_value(
            'u',
            "user",
            "USER[:GROUP]",
            "User by name or number",
        ))
        .arg(short_value('w', "workdir", "DIR", "Working directory"))
        .arg(words("CONTAINER", 1))
}

/// `wharf container inspect`.
pub(crate) fn inspect_container(command: Command) -> Command {
    shape(command, "[OPTIONS] CONTAINER [CONTAINER...]")
        .arg(inspect_format())
        .arg(short_flag(
            's',
            "size",
            "Show the size of the writable layer",
        ))
        .arg(operands("NAME"))
}

/// `wharf inspect`.
pub(crate) fn inspect(command: Command) -> Command {
    shape(command, "[OPTIONS] NAME|ID [NAME|ID...]")
        .arg(inspect_format())
        .arg(short_flag(
            's',
            "size",
            "Show the size of the writable layer",
        ))
        .arg(
            value("type", "TYPE", "container, image, volume or network")
                .value_parser(PossibleValuesParser::new([
                    "container",
                    "image",
                    "volume",
                    "network",
                ]))
                .hide_possible_values(true),
        )
        .arg(operands("NAME"))
}

pub(crate) fn kill(command: Command) -> Command {
    shape(command, "[OPTIONS] CONTAINER [CONTAINER...]")
        .arg(short_value(
            's',
            "signal",
            "SIGNAL",
            "Signal to send (default KILL)",
        ))
        .arg(operands("CONTAINER"))
}

pub(crate) fn logs(command: Command) -> Command {
    shape(command, "[OPTIONS] CONTAINER")
        .arg(flag(
            "details",
            "Show the labels and variables of --log-opt, too",
        ))
        .arg(short_flag('f', "follow", "Go on while the container runs"))
        .arg(value(
            "since",
            "TIME",
            "From a time (2026-01-31T12:00:00Z) or 42m ago on",
        ))
        .arg(short_value(
            'n',
            "tail",
            "LINES",
            "Only the last lines (default all)",
        ))
        .arg(short_flag(
            't',
            "timestamps",
            "Show when each line was written",
        ))
        .arg(value("until", "TIME", "Up to a time or 42m ago"))
        .arg(operand("CONTAINER"))
}

pub(crate) fn pause(command: Command) -> Command {
    shape(command, "CONTAINER [CONTAINER...]").arg(operands("CONTAINER"))
}

pub(crate) fn suspend(command: Command) -> Command {
    shape(command, "[OPTIONS] CONTAINER [CONTAINER...]")
        .arg(flag(
            "tcp-established",
            "TCP connections go on when it does, instead of being reset",
        ))
        .arg(operands("CONTAINER"))
}

pub(crate) fn port(command: Command) -> Command {
    shape(command, "CONTAINER [PORT[/PROTOCOL]]")
        .arg(operand("CONTAINER"))
        .arg(operand("PORT").required(false))
}

pub(crate) fn prune(command: Command) -> Command {
    shape(command, "[OPTIONS]")
        .arg(list(
            "filter",
            "KEY=VALUE",
            "Remove some only, as until=24h or label=KEY",
        ))
        .arg(short_flag('f', "force", "Do not ask"))
}

pub(crate) fn ps(command: Command) -> Command {
    shape(command, "[OPTIONS]")
        .arg(short_flag('a', "all", "Show those that do not run, too"))
        .arg(short_list(
            'f',
            "filter",
            "KEY=VALUE",
            "Show some only, as status=exited",
        ))
        .arg(format_option())
        .arg(short_value(
            'n',
            "last",
            "COUNT",
            "Show the newest, whether they run or not",
        ))
        .arg(short_flag('l', "latest", "Show the newest one"))
        .arg(flag("no-trunc", "Do not shorten"))
        .arg(short_flag('q', "quiet", "Only ids"))
        .arg(short_flag('s', "size", "Show sizes"))
        .arg(flag("tree", "Show clones below what they are clones of"))
}

pub(crate) fn rename(command: Command) -> Command {
    shape(command, "CONTAINER NEW_NAME")
        .arg(operand("CONTAINER"))
        .arg(operand("NEW_NAME"))
}

pub(crate) fn restart(command: Command) -> Command {
    shape(command, "[OPTIONS] CONTAINER [CONTAINER...]")
        .arg(stop_signal())
        .arg(stop_timeout())
        .arg(operands("CONTAINER"))
}

pub(crate) fn rm(command: Command) -> Command {
    shape(command, "[OPTIONS] CONTAINER [CONTAINER...]")
        .arg(short_flag(
            'f',
            "force",
            "Kill it first; fine if there is none",
        ))
        .arg(short_flag(
            'v',
            "volumes",
            "Remove its anonymous volumes, too",
        ))
        // Refused with a remedy: of Docker's legacy links nothing is here.
        .arg(short_flag('l', "link", "Not supported: remove a link").hide(true))
        .arg(operands("CONTAINER"))
}

pub(crate) fn start(command: Command) -> Command {
    shape(command, "[OPTIONS] CONTAINER [CONTAINER...]")
        .arg(short_flag(
            'a',
            "attach",
            "Attach stdout and stderr, pass signals on",
        ))
        .arg(value("detach-keys", "KEYS", DETACH_KEYS))
        .arg(short_flag('i', "interactive", "Attach stdin"))
        .arg(operands("CONTAINER"))
}

pub(crate) fn stats(command: Command) -> Command {
    shape(command, "[OPTIONS] [CONTAINER...]")
        .arg(short_flag('a', "all", "Show those that do not run, too"))
        .arg(format_option())
        .arg(flag("no-stream", "Show one look and end"))
        .arg(flag("no-trunc", "Do not shorten"))
        .arg(operands("CONTAINER").required(false))
}

pub(crate) fn stop(command: Command) -> Command {
    shape(command, "[OPTIONS] CONTAINER [CONTAINER...]")
        .arg(stop_signal())
        .arg(stop_timeout())
        .arg(operands("CONTAINER"))
}

fn stop_signal() -> Arg {
    short_value(
        's',
        "signal",
        "SIGNAL",
        "Signal to send first (default: its own)",
    )
}

fn stop_timeout() -> Arg {
    short_value(
        't',
        "timeout",
        "SECONDS",
        "Time before SIGKILL, -1 for ever (default: its own)",
    )
    .alias("time")
}

const TOP_KEYS: &str = "
Without a container: all that run, as it changes. Keys there:
  c m i p n   sort by CPU, memory, I/O, processes, name
  up, down    choose one (or k, j)
  l           what it prints; s stop it, r restart it (asks first)
  q           leave
";

pub(crate) fn top(command: Command) -> Command {
    shape(command, "[CONTAINER [PS_OPTION...]]")
        .after_help(TOP_KEYS)
        .arg(
            words("CONTAINER", 0)
                .required(false)
                .allow_hyphen_values(true),
        )
}

const UPDATE_EXAMPLES: &str = "
Examples:
  wharf update -m 512m --cpus 1.5 web    at once, without a restart
  wharf update --restart always db
  wharf update -p 8081:80 -v /srv/www:/www web       at once as well
  wharf update -e DEBUG=1 web            with its next start
  wharf recreate --snapshot -v /srv/www:/www web    now: stopped and started again
";

pub(crate) fn update(command: Command) -> Command {
    shape(command, "[OPTIONS] CONTAINER [CONTAINER...]")
        .after_help(UPDATE_EXAMPLES)
        .args(changes())
        .arg(flag("snapshot", "Take a snapshot of its files first"))
        .arg(operands("CONTAINER"))
}

pub(crate) fn recreate(command: Command) -> Command {
    shape(command, "[OPTIONS] CONTAINER [CONTAINER...]")
        .after_help(UPDATE_EXAMPLES)
        .args(changes())
        .arg(flag("snapshot", "Take a snapshot of its files first"))
        .arg(operands("CONTAINER"))
}

/// What `update` and `recreate` can change.
fn changes() -> Vec<Arg> {
    let mut all = Vec::from(super::run::changeable_limits());
    all.extend([
        super::run::restart_policy(),
        super::run::variables(),
        super::run::variable_files(),
        list("unsetenv", "NAME", "Take a variable away"),
        short_list(
            'p',
            "publish",
            "[[IP:]PORT:]PORT[/udp]",
            "Publish a port, in place of what was published of it",
        ),
        list(
            "unpublish",
            "PORT[/udp]",
            "Publish a port of the container no more",
        ),
        short_list(
            'v',
            "volume",
            "[SOURCE:]DIR[:ro]",
            "Mount a directory of the host or a volume",
        ),
        list(
            "mount",
            "MOUNT",
            "As type=bind,source=DIR,target=DIR or type=volume|tmpfs,…",
        ),
        list("tmpfs", "DIR[:OPTIONS]", "Mount a tmpfs"),
        list("unmount", "DIR", "Mount nothing there any more"),
    ]);
    all
}

pub(crate) fn wait(command: Command) -> Command {
    shape(command, "CONTAINER [CONTAINER...]").arg(operands("CONTAINER"))
}
